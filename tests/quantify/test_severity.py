import numpy as np
import pytest

from napari_covseg.quantify.figures import LOBES, TWENTY, Amount, RegionFigures
from napari_covseg.quantify.severity import (
    five_points,
    half_points,
    lobe_scores,
    quarter_points,
    region_score,
)

TINY = 1e-9


def part(percent, dense=0.0, found=None):
    """A lobe with so many percent of it diseased."""
    none = Amount(0.0, 0.0, None)
    return RegionFigures(
        100.0, none, none, Amount(percent, percent, found), Amount(dense, dense, found)
    )


@pytest.mark.parametrize(
    ("percent", "points"),
    [
        *((0.0, 0), (TINY, 1), (1.0, 1), (25.0, 1), (25 + TINY, 2), (50.0, 2), (50 + TINY, 3)),
        *((75.0, 3), (75 + TINY, 4), (100.0, 4)),
    ],
)
def test_quarters(percent, points):
    assert quarter_points(percent) == points


@pytest.mark.parametrize(
    ("percent", "points"),
    [
        *((0.0, 0), (TINY, 1), (5 - TINY, 1), (5.0, 2), (25.0, 2), (25 + TINY, 3), (26.0, 3)),
        *((49.0, 3), (50 - TINY, 3), (50.0, 4), (75.0, 4), (75 + TINY, 5), (100.0, 5)),
    ],
)
def test_twenty_five_points(percent, points):
    assert five_points(percent) == points


@pytest.mark.parametrize(
    ("percent", "points"), [(0.0, 0), (TINY, 1), (50 - TINY, 1), (50.0, 2), (100.0, 2)]
)
def test_halves(percent, points):
    assert half_points(percent) == points


def test_numbers_of_numpy_score_alike():
    for points in (quarter_points, five_points, half_points):
        for percent in (0.0, 3.0, 30.0, 60.0, 90.0):
            assert points(np.float64(percent)) == points(percent)


def test_scores_sum_their_lobes():
    shares = dict(zip(LOBES, (0.0, 4.0, 30.0, 60.0, 80.0), strict=True))
    scores = lobe_scores({name: part(share, share / 2) for name, share in shares.items()}, False)
    assert scores["lung_severity_score"].value == 0 + 1 + 2 + 3 + 4
    assert scores["total_severity_score"].value == 10
    assert scores["lung_high_opacity_score"].value == 0 + 1 + 1 + 2 + 2
    assert scores["ct_score_25"].value == 0 + 1 + 3 + 4 + 5
    assert [score.maximum for score in scores.values()] == [20, 20, 25, 20]
    assert scores["ct_score_25"].parts["right_lower"] == 3
    assert not scores["ct_score_25"].approximate


def test_the_most_is_the_maximum():
    scores = lobe_scores({name: part(100.0, 100.0) for name in LOBES}, True)
    assert all(score.value == score.maximum for score in scores.values())
    assert all(score.approximate for score in scores.values())
    regions = region_score({name: part(100.0) for name in TWENTY})
    assert (regions.value, regions.maximum) == (40, 40)
    assert region_score({name: part(0.0) for name in TWENTY}).value == 0
    assert region_score({name: part(49.9) for name in TWENTY}).value == 20


def test_a_missing_lobe_gives_no_score_and_says_so():
    lobes = {name: part(10.0) for name in LOBES}
    lobes["right_middle"] = part(None)
    score = lobe_scores(lobes, False)["ct_score_25"]
    assert (score.value, score.value_range) == (None, None)
    assert score.note == "no lung was found in: right middle"
    assert score.parts["left_upper"] == 2


def test_without_a_ct_there_is_no_high_opacity_score():
    none = Amount(0.0, 0.0, None)
    lobes = {name: RegionFigures(1.0, none, none, none, None) for name in LOBES}
    scores = lobe_scores(lobes, False)
    assert scores["lung_high_opacity_score"].value is None
    assert "CT" in scores["lung_high_opacity_score"].note
    assert scores["lung_severity_score"].value == 0


def test_intervals_of_scores():
    lobes = {name: part(30.0, 30.0, (20.0, 60.0)) for name in LOBES}
    score = lobe_scores(lobes, False)["lung_severity_score"]
    assert (score.value, score.value_range) == (10, (5, 15))


def test_a_reason_stands_in_place_of_lobes():
    assert region_score({}, "no left lung was found").note == "no left lung was found"
    assert lobe_scores({}, True, "why")["ct_score_25"].value is None
