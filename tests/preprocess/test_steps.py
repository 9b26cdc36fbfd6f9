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
    flat = np.full((64, 64), 90, np.float32)
    array, _ = Clahe(clip_limit=0.5).apply(np.stack([low, flat]), MM)
    assert array[0].std() > 2 * low.std()
    assert array[0].min() >= 0
    assert array[0].max() <= 255
    assert np.array_equal(array[1], flat)
    alone, _ = Clahe(clip_limit=0.5).apply(low[None].copy(), MM)
    assert np.array_equal(alone[0], array[0])


@pytest.mark.parametrize(
    "step", [ClipHU(-1000, 400), GreyLevels(), Clahe(4, 0.02), Resample((5, 1, 1)), ZScore(3, 4)]
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
    ],
)
def test_unusable_steps_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError):
        step_from_dict(fields)
