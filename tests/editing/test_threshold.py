"""A range of HU: its volume for any range, its mask, labelling it."""

import numpy as np
import pytest

from napari_covseg.domain.progress import run_to_end
from napari_covseg.editing.edit import plane, whole
from napari_covseg.editing.threshold import densities, in_range, label_range


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_counts_are_those_of_the_mask_for_any_range(hu, lungs, kind):
    rng = np.random.default_rng(1)
    volume = (hu + rng.integers(-1000, 1500, hu.shape)).astype(kind)
    found = run_to_end(densities(volume, lungs))
    everywhere = run_to_end(densities(volume, None))
    for low, high in ((-700, -300), (-700.5, -299.5), (-1100, 1100), (0, 0), (300, 600)):
        mask = in_range(np.clip(volume, -1100, 1100), lungs, low, high)
        assert found.count(low, high) == mask.sum() > 0
        assert everywhere.count(low, high) > found.count(low, high)
    assert found.count(-300, -700) == 0
    assert found.count(-5000, 5000) == np.count_nonzero(lungs)
    assert found.count(2000, 3000) == found.count(-3000, -2000) == 0


def test_labelling_a_range_in_a_slice_and_everywhere(canvas_of, hu, lungs, after):
    hu[2:6, 10:14, :] = -500
    labels = np.zeros(hu.shape, np.uint8)
    labels[3, 10, :] = 4
    canvas = canvas_of(labels, inside_lung=True, locked=frozenset({4}))
    expected = (hu == -500) & (lungs > 0) & (labels == 0)
    everywhere = after(canvas, label_range(canvas, whole(hu.shape), -600, -400, 3))
    np.testing.assert_array_equal(everywhere == 3, expected)
    one = after(canvas, label_range(canvas, plane(hu.shape, 0, 3), -600, -400, 3))
    np.testing.assert_array_equal(one[3] == 3, expected[3])
    assert not (np.delete(one, 3, 0) == 3).any()
