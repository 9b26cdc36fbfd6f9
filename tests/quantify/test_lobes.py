import numpy as np
import pytest

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import Lobe, LobeMap
from napari_covseg.preprocess.coarse import CoarseGrid
from napari_covseg.quantify.lobes import LOBE_SHARES, approximate_lobes, coarse_lobes
from napari_covseg.quantify.twenty import REGIONS, region_name, split_lobes


def box():
    lung = np.zeros((40, 40, 20), bool)
    lung[4:36, 4:36, 3:17] = True
    return lung


def where(mask):
    return np.array([axis.mean() for axis in np.nonzero(mask)])


@pytest.mark.parametrize("side", [Label.LEFT_LUNG, Label.RIGHT_LUNG])
def test_lobes_hold_the_published_shares_of_their_lung(side):
    lung = box()
    lobes = approximate_lobes(lung, side)
    own = [lobe for lobe in Lobe if lobe.side is side]
    assert np.array_equal(lobes > 0, lung)
    assert set(np.unique(lobes[lung])) == set(own)
    total = sum(LOBE_SHARES[lobe] for lobe in own)
    for lobe in own:
        assert (lobes == lobe).sum() / lung.sum() == pytest.approx(
            LOBE_SHARES[lobe] / total, abs=1e-3
        )


def test_lower_lobes_lie_behind_and_below_and_the_middle_lobe_in_front():
    right = approximate_lobes(box(), Label.RIGHT_LUNG)
    upper, middle, lower = (
        where(right == lobe) for lobe in (Lobe.RIGHT_UPPER, Lobe.RIGHT_MIDDLE, Lobe.RIGHT_LOWER)
    )
    assert lower[0] < upper[0]
    assert lower[1] > upper[1]
    assert middle[0] < upper[0]
    assert middle[1] < lower[1]
    # At the very back the lower lobe reaches higher than in front.
    assert right[4:36, 35, 10].tolist().count(Lobe.RIGHT_LOWER) > right[4:36, 5, 10].tolist().count(
        Lobe.RIGHT_LOWER
    )


def test_no_lung_has_no_lobes():
    assert not approximate_lobes(np.zeros((4, 5, 6), bool), Label.LEFT_LUNG).any()


def test_lobes_of_the_other_lung_are_left_out_of_a_map():
    lobes = np.full((2, 2, 4), Lobe.RIGHT_UPPER, np.uint8)
    lobes[..., 2:] = Lobe.LEFT_LOWER
    geometry = Geometry.from_spacing((2, 2, 4), (5.0, 5.0, 5.0))
    grid = CoarseGrid.of(geometry.shape, geometry.spacing_mm)
    found = coarse_lobes(LobeMap(lobes, geometry), grid, np.ones((2, 2, 4), bool), Label.LEFT_LUNG)
    assert found[0, 0].tolist() == [0, 0, Lobe.LEFT_LOWER, Lobe.LEFT_LOWER]


def test_twenty_regions_ten_a_lung():
    assert len(REGIONS) == 20
    assert sum(lobe.side is Label.LEFT_LUNG for lobe, _ in REGIONS) == 10
    assert region_name(1) == "right upper lobe, apical"
    assert region_name(20) == "left lower lobe, posterior basal"
    assert len({region_name(number) for number in range(1, 21)}) == 20


def test_regions_share_their_lobe_and_lie_where_they_should():
    lobes = approximate_lobes(box(), Label.RIGHT_LUNG)
    regions = split_lobes(lobes)
    at = {REGIONS[n - 1][1]: where(regions == n) for n in range(4, 11)}
    counts = np.bincount(regions.ravel(), minlength=21)
    for number, (lobe, _) in enumerate(REGIONS, start=1):
        parts = sum(owner is lobe for owner, _ in REGIONS)
        expected = (lobes == lobe).sum() / parts
        assert counts[number] == pytest.approx(expected, abs=2)
    # Right lung: the mediastinum is to the patient's left, at higher x.
    assert at["medial"][2] > at["lateral"][2]
    assert at["medial basal"][2] > at["lateral basal"][2]
    assert at["superior"][0] > at["posterior basal"][0]
    assert at["anterior basal"][1] < at["lateral basal"][1] < at["posterior basal"][1]


def test_in_the_left_lung_medial_is_to_the_right():
    regions = split_lobes(approximate_lobes(box(), Label.LEFT_LUNG))
    at = {REGIONS[n - 1][1]: where(regions == n) for n in range(11, 21)}
    assert at["medial basal"][2] < at["lateral basal"][2]
    assert at["apical"][0] > at["superior lingular"][0] > at["inferior lingular"][0]
    assert at["anterior"][1] < at["posterior"][1]
