"""Slices far from the lungs are left out, and nothing else is."""

import numpy as np
import pytest

from napari_covseg.inference.scout import SCOUT_MM, near_lung, scouts


@pytest.mark.parametrize(("count", "slice_mm"), [(300, 1.0), (1000, 0.3), (7, 1.25), (1, 1.0)])
def test_scouts_stand_at_most_so_far_apart_and_from_the_ends(count, slice_mm):
    looked_at = scouts(count, slice_mm)
    gaps = np.diff(np.concatenate([[-1], looked_at, [count]])) * slice_mm
    assert gaps[1:-1].max(initial=0) <= SCOUT_MM
    assert gaps[0] <= SCOUT_MM
    assert gaps[-1] <= SCOUT_MM + slice_mm


@pytest.mark.parametrize("slice_mm", [5.0, 8.0, 10.0])
def test_of_thick_slices_every_one_is_looked_at(slice_mm):
    assert scouts(45, slice_mm).tolist() == list(range(45))


def test_slices_up_to_the_second_scout_beyond_the_lung_are_looked_at():
    looked_at = scouts(80, 1.0)
    assert looked_at.tolist() == [4, 12, 20, 28, 36, 44, 52, 60, 68, 76]
    found = np.isin(looked_at, [36, 44])
    others = near_lung(80, looked_at, found)
    assert set(others) == set(range(21, 60)) - set(looked_at)


def test_lung_at_an_end_is_looked_at_up_to_that_end():
    looked_at = scouts(80, 1.0)
    for seen, expected in ((4, range(20)), (76, range(61, 80))):
        others = near_lung(80, looked_at, looked_at == seen)
        assert set(others) == set(expected) - set(looked_at)


def test_where_no_scout_found_lung_every_slice_is_looked_at():
    looked_at = scouts(30, 1.0)
    others = near_lung(30, looked_at, np.zeros(len(looked_at), bool))
    assert sorted([*others, *looked_at]) == list(range(30))
