import numpy as np
import pytest
import torch

from napari_covseg.preprocess.resample import (
    Slabs,
    resample_labels,
    resample_linear,
    resampled_shape,
)


@pytest.mark.parametrize("shape", [(1, 23, 17), (1, 61, 80), (1, 40, 33), (1, 40, 50)])
def test_linear_is_that_of_torch_with_antialiasing(shape: tuple[int, int, int]) -> None:
    array = np.random.default_rng(0).normal(size=(1, 40, 50)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(array)[None],
        size=shape[1:],
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0].numpy()
    assert np.abs(resample_linear(array, shape) - expected).max() < 1e-5
    assert np.abs(resample_linear(array[:, ::-1], shape) - expected).max() > 0.1


@pytest.mark.parametrize("shape", [(5, 20, 25), (5, 27, 33), (5, 61, 80), (2, 13, 50)])
def test_labels_stay_where_they_are(shape: tuple[int, int, int]) -> None:
    labels = np.zeros((5, 40, 50), np.uint8)
    labels[:, 10:30, 12:38] = 3
    labels[:, 16:24, 20:30] = 7
    small = resample_labels(labels, shape)
    assert small.dtype == np.uint8
    assert set(np.unique(small)) == {0, 3, 7}
    for label in (3, 7):
        assert np.allclose(_centre(small >= label), _centre(labels >= label), atol=0.005)


def test_edges_between_new_voxels_move_on_neither_side() -> None:
    labels = np.zeros((1, 1, 40), np.uint8)
    labels[..., 17:25] = 7
    assert np.flatnonzero(resample_labels(labels, (1, 1, 20))).tolist() == [9, 10, 11]
    nearest = labels[..., 1::2]
    assert np.flatnonzero(nearest).tolist() == [8, 9, 10, 11]


def _centre(mask: np.ndarray) -> np.ndarray:
    """As shares of the box."""
    return (np.argwhere(mask).mean(axis=0) + 0.5) / mask.shape


def test_labels_go_by_the_greatest_share_and_of_equal_ones_the_least() -> None:
    row = np.array([1, 1, 4, 2, 2, 2, 5, 4], np.uint8)[None, None]
    assert resample_labels(row, (1, 1, 8)).tolist() == row.tolist()
    for values, expected in (([2, 9], 2), ([9, 2], 2), ([9, 2, 9], 9), ([2, 9, 9], 9)):
        labels = np.array(values, np.uint8)[None, None]
        assert resample_labels(labels, (1, 1, 1)).item() == expected


@pytest.mark.parametrize("size", [7, 20, 33])
def test_a_ramp_keeps_its_places(size: int) -> None:
    centres = (np.arange(20) + 0.5) / 20
    ramp = np.broadcast_to(centres[:, None, None], (20, 3, 3))
    there = resample_linear(ramp, (size, 3, 3))[:, 1, 1]
    inside = slice(2, -2)
    # averaging by a sampled triangle moves a ramp by up to 0.04 of an old voxel, as in PyTorch;
    # aligned corner centres instead of edges would be 0.02 off here
    assert np.allclose(there[inside], ((np.arange(size) + 0.5) / size)[inside], atol=0.04 / 20)
    assert 0.02 < there[0] < 0.12
    assert np.isclose(there[0] + there[-1], 1, atol=1e-6)


def test_channels_are_resampled_each_for_itself() -> None:
    array = np.random.default_rng(0).normal(size=(2, 6, 7, 8)).astype(np.float32)
    both = resample_linear(array, (4, 9, 8))
    assert np.array_equal(both[1], resample_linear(array[1], (4, 9, 8)))
    assert not np.array_equal(both[0], both[1])


def test_shape_comes_nearest_to_the_spacing_and_one_slice_stays_one() -> None:
    assert resampled_shape((104, 512, 512), (1.0, 0.7, 0.8), (2.7, 1.58, 1.58)) == (39, 227, 259)
    assert resampled_shape((1, 100, 2), (8.0, 1.0, 0.01), (2.7, 1.58, 1.58)) == (1, 63, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "shape", [(23, 17, 19), (4, 30, 5), (9, 8, 7), (9, 20, 7), (5, 3, 2), (30, 20, 20)]
)
def test_slabs_are_the_whole_to_the_last_bit(shape, dtype):
    """Whichever axis grows most, so whenever the slices' turn comes."""
    array = np.random.default_rng(0).random((9, 8, 7)).astype(dtype)
    whole = resample_linear(array, shape)
    slabs = Slabs(array, shape)
    parts = [slabs[first : first + 4] for first in range(0, shape[0], 4)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(np.concatenate(parts), whole[::-1])
