import numpy as np
import pytest

from napari_covseg.preprocess.steps import (
    STEPS,
    Clahe,
    ClipHU,
    GreyLevels,
    Resample,
    Step,
    ZScore,
    step_from_dict,
    step_to_dict,
)

MM = (5.0, 1.0, 1.0)


def _volume(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1)


def test_clip_and_grey_levels() -> None:
    clipped, spacing = ClipHU().apply(_volume(-2000, -1250, -500, 250, 3000), MM)
    assert clipped.ravel().tolist() == [-1250, -1250, -500, 250, 250]
    assert spacing == MM
    grey, _ = GreyLevels().apply(clipped, MM)
    assert grey.ravel().tolist() == [0, 0, 128, 255, 255]
    assert GreyLevels().apply(_volume(-5000, 5000), MM)[0].ravel().tolist() == [0, 255]


def test_zscore_by_the_volume_by_given_numbers_and_of_a_constant() -> None:
    own, _ = ZScore().apply(_volume(1, 2, 3), MM)
    assert np.allclose(own.ravel(), [-(1.5**0.5), 0, 1.5**0.5])
    volume = np.random.default_rng(0).normal(80, 30, (5, 7, 11)).astype(np.float32)
    expected = (volume - volume.mean(dtype=float)) / volume.std(dtype=float)
    assert np.allclose(ZScore().apply(volume.copy(), MM)[0], expected, rtol=1e-6, atol=1e-6)
    fixed, _ = ZScore(100, 50).apply(_volume(0, 100, 200), MM)
    assert fixed.ravel().tolist() == [-2, 0, 2]
    assert ZScore().apply(_volume(7, 7), MM)[0].ravel().tolist() == [0, 0]


def test_resample_tells_the_spacing_it_reached() -> None:
    array, spacing = Resample((2.0, 2.0, 2.0)).apply(np.full((2, 11, 4), 3, np.float32), MM)
    assert array.shape == (5, 6, 2)
    assert np.allclose(spacing, (2.0, 11 / 6, 2.0))
    assert np.allclose(array, 3)


def test_clahe_spreads_a_narrow_histogram_slice_by_slice() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(60, 80, (64, 64)).astype(np.float32)
    other = rng.uniform(0, 255, (64, 64)).astype(np.float32)
    array, _ = Clahe(clip_limit=0.5).apply(np.stack([low, other]), MM)
    assert array[0].std() > 2 * low.std()
    assert array[0].min() >= 0
    assert array[0].max() <= 255
    alone, _ = Clahe(clip_limit=0.5).apply(low[None].copy(), MM)
    assert np.array_equal(alone[0], array[0])


def test_clahe_gives_the_same_tissue_the_same_grey_in_every_slice() -> None:
    tissue = np.random.default_rng(0).uniform(60, 80, (64, 64)).astype(np.float32)
    metal, air = tissue.copy(), tissue.copy()
    metal[:, 60:], air[:, 60:] = 255, 0
    array, _ = Clahe().apply(np.stack([tissue, metal, air]), MM)
    # The last of eight tiles reaches the middle of the one before it.
    far = slice(0, 64 - 8 - 4)
    assert np.array_equal(array[0][:, far], array[1][:, far])
    assert np.array_equal(array[0][:, far], array[2][:, far])
    assert not np.array_equal(array[0][:, 60:], array[1][:, 60:])


def test_clahe_of_a_known_histogram() -> None:
    two = np.array([[10, 10, 10, 200]], np.float32)[None]
    unlimited, _ = Clahe(tiles=1, clip_limit=1.0).apply(two.copy(), MM)
    assert np.allclose(unlimited[0], [[0.75 * 255] * 3 + [255]])
    # Half of the pixels is the most a level may hold: the last quarter goes to all 256 levels.
    limited, _ = Clahe(tiles=1, clip_limit=0.5).apply(two.copy(), MM)
    low, high = 0.5 + 0.25 * 11 / 256, 0.75 + 0.25 * 201 / 256
    assert np.allclose(limited[0], np.array([[low, low, low, high]]) * 255)


def test_clahe_is_that_of_scikit_image_but_for_its_stretching() -> None:
    from skimage.exposure import equalize_adapthist

    y, x = np.mgrid[:256, :192]
    noise = np.random.default_rng(1).normal(0, 25, y.shape)
    plane = (120 + 60 * np.sin(y / 9) * np.cos(x / 17) + noise).clip(0, 255)
    # Steps of 5, as their bins are not ours.
    plane = np.rint(plane / 5) * 5
    plane[0, 0], plane[0, 1] = 0, 255
    ours = Clahe(clip_limit=0.1).apply(plane[None].astype(np.float32), MM)[0][0]
    theirs = equalize_adapthist(plane / 255, (32, 24), 0.1) * 255
    slope, offset = np.polyfit(theirs.ravel(), ours.ravel(), 1)
    assert abs(slope - 1) < 0.01
    assert np.abs(ours - (slope * theirs + offset)).mean() < 1
    assert np.abs(ours - plane).mean() > 10


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 50), (1, 5, 64)])
def test_clahe_of_small_slices(shape: tuple[int, int, int]) -> None:
    array = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    equal, _ = Clahe().apply(array.copy(), MM)
    assert equal.shape == shape
    assert 0 <= equal.min() <= equal.max() <= 255


@pytest.mark.parametrize(
    "step",
    [ClipHU(-1000, 400), GreyLevels(), Clahe(4, 0.02, 128), Resample((5, 1, 1)), ZScore(3, 4)],
)
def test_steps_are_written_and_read(step: Step) -> None:
    fields = step_to_dict(step)
    assert step_from_dict(fields) == step
    assert step_from_dict({"step": fields["step"]}) == STEPS[fields["step"]]()
    with pytest.raises(ValueError, match="colour"):
        step_from_dict({**fields, "colour": 1})


@pytest.mark.parametrize(
    "fields",
    [
        {"step": "blur"},
        {"low": 1},
        {"step": "clip_hu", "low": 5, "high": 5},
        {"step": "grey_levels", "low": float("nan")},
        {"step": "resample", "spacing_mm": [1, 0, 1]},
        {"step": "resample", "spacing_mm": [1, 1]},
        {"step": "z_score", "mean": 1},
        {"step": "z_score", "mean": 1, "std": 0},
        {"step": "clahe", "tiles": 0},
        {"step": "clahe", "bins": 1},
    ],
)
def test_unusable_steps_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError):
        step_from_dict(fields)
