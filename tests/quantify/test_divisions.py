import numpy as np
import pytest

from napari_covseg.io.read import read_raw
from napari_covseg.io.sniff import Kind
from napari_covseg.quantify.divisions import equal_cuts, part_of_each, rind, split_by_rank


def test_thirds_hold_equal_volumes_not_equal_heights():
    profile = np.array([10, 10, 10, 10, 10, 10, 30, 30])
    assert equal_cuts(profile, 3) == (4, 7)
    assert [profile[:4].sum(), profile[4:7].sum(), profile[7:].sum()] == [40, 50, 30]
    assert part_of_each(8, (4, 7)).tolist() == [0, 0, 0, 0, 1, 1, 1, 2]


def test_halves_of_an_empty_profile_are_cut_at_its_start():
    assert equal_cuts(np.zeros(5, int), 2) == (0,)


@pytest.mark.real_data
def test_thirds_are_those_of_the_chest_imaging_platform(data_dir):
    """Its label map marks thirds of the lungs: regions 9 and 12 upper, 10 and 13, 11 and 14."""
    path = data_dir / "volumes" / "cip_ct64" / "lm-64.nrrd"
    region = read_raw(path, Kind.NRRD).values & 255
    lung = (region >= 9) & (region <= 14)
    third = part_of_each(len(lung), equal_cuts(lung.sum(axis=(1, 2)), 3))
    expected = 2 - (region.astype(int) - 9) % 3
    assert np.array_equal(np.broadcast_to(third[:, None, None], lung.shape)[lung], expected[lung])


def test_ranks_keep_shares_even_among_equal_values():
    parts = split_by_rank(np.array([5, 1, 1, 1, 1, 1, 1, 9]), (1, 2, 1))
    assert np.bincount(parts).tolist() == [2, 4, 2]
    assert parts[0] == parts[-1] == 2
    assert split_by_rank(np.zeros(0), (1, 1)).tolist() == []


def test_rind_is_the_outer_half():
    lung = np.zeros((44, 44, 44), bool)
    lung[2:42, 2:42, 2:42] = True
    outer = rind(lung, (2.0, 2.0, 2.0))
    assert outer.sum() / lung.sum() == pytest.approx(0.5, abs=0.1)
    assert outer[2, 20, 20]
    assert outer[20, 41, 20]
    assert not outer[22, 22, 22]
    assert not outer[~lung].any()


def test_a_vessel_is_no_surface_but_a_large_hole_is():
    lung = np.zeros((44, 44, 44), bool)
    lung[2:42, 2:42, 2:42] = True
    vessel, cavity = lung.copy(), lung.copy()
    vessel[2:42, 20:22, 20:22] = False
    cavity[2:42, 14:30, 14:30] = False
    assert not rind(vessel, (2.0, 2.0, 2.0))[22, 19, 21]
    assert rind(cavity, (2.0, 2.0, 2.0))[22, 13, 21]


def test_no_lung_has_no_rind():
    assert not rind(np.zeros((3, 4, 5), bool), (1.0, 1.0, 1.0)).any()
