"""Agreement against published tables, and against pingouin 0.7, statsmodels and scikit-learn."""

import numpy as np
import pytest

from napari_covseg.domain.labels import Label
from napari_covseg.metrics.agreement import (
    bland_altman,
    cohens_kappa,
    icc_agreement,
    icc_consistency,
    mask_agreement,
    score_agreement,
)

# Shrout & Fleiss 1979, table 2: six cases, four readers.
SHROUT_FLEISS = [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7],
]
# fmt: off
FIRST = [0, 3, 0, 3, 1, 2, 4, 4, 2, 1, 1, 4, 2, 0, 4, 4, 4, 3, 4, 3,
         2, 4, 3, 3, 1, 3, 4, 0, 2, 1, 0, 0, 1, 0, 3, 1, 3, 4, 2, 0]
SECOND = [0, 2, 0, 3, 0, 3, 4, 4, 3, 2, 0, 3, 3, 0, 4, 4, 4, 2, 3, 4,
          2, 4, 2, 3, 0, 4, 4, 1, 1, 1, 0, 0, 2, 0, 2, 1, 3, 3, 3, 0]
VOLUMES = [
    [550.4, 550.4], [29.2, 7.3], [366.1, 341.3], [226.8, 210.3], [247.0, 246.2], [289.9, 273.1],
    [101.3, 85.7], [271.8, 287.1], [196.3, 200.1], [723.8, 721.0], [314.4, 323.0], [256.8, 239.2],
    [288.9, 277.9], [236.4, 231.5], [180.2, 169.1], [271.5, 237.4], [306.3, 362.4], [296.8, 221.5],
    [400.7, 428.7], [247.7, 285.9],
]
# fmt: on


def test_icc_of_shrout_and_fleiss():
    both = icc_agreement(SHROUT_FLEISS), icc_consistency(SHROUT_FLEISS)
    assert [one.value for one in both] == pytest.approx([0.289764, 0.714841], abs=1e-6)
    # pingouin gives two decimals; McGraw & Wong's intervals.
    assert both[0].interval_95 == pytest.approx((0.02, 0.76), abs=0.005)
    assert both[1].interval_95 == pytest.approx((0.34, 0.95), abs=0.005)


def test_icc_of_volumes():
    assert icc_agreement(VOLUMES).value == pytest.approx(0.9833888070673908, abs=1e-12)
    assert icc_consistency(VOLUMES).value == pytest.approx(0.9831385492660957, abs=1e-12)
    assert icc_agreement(VOLUMES).interval_95 == pytest.approx((0.96, 0.99), abs=0.005)


def test_a_fixed_bias_costs_agreement_but_not_consistency():
    ratings = [[1, 3], [2, 4], [5, 7], [9, 11]]
    assert icc_consistency(ratings).value == pytest.approx(1.0)
    assert icc_consistency(ratings).interval_95 == pytest.approx((1.0, 1.0))
    assert icc_agreement(ratings).value < 0.95
    assert icc_agreement([[1, 1], [2, 2], [5, 5]]).interval_95 == (1.0, 1.0)


@pytest.mark.parametrize("ratings", [[], [[1, 2]], [[1], [2]], [[3, 3], [3, 3]]])
def test_no_icc_where_nothing_differs_or_is_there(ratings):
    assert icc_agreement(ratings) is None
    assert icc_consistency(ratings) is None


def test_icc_refuses_holes():
    with pytest.raises(ValueError, match="finite"):
        icc_agreement([[1.0, np.nan], [2.0, 3.0]])


@pytest.mark.parametrize(
    ("weights", "value", "low", "high"),
    [
        (None, 0.3700787401574803, 0.1805941675204219, 0.5595633127945387),
        ("linear", 0.7012696041822255, 0.588430235474109, 0.814108972890342),
        ("quadratic", 0.8868778280542986, 0.8341349610923363, 0.9396206950162609),
    ],
)
def test_kappa_is_that_of_scikit_learn_with_the_interval_of_statsmodels(weights, value, low, high):
    found = cohens_kappa(FIRST, SECOND, weights)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.interval_95 == pytest.approx((low, high), abs=1e-9)


def test_kappa_of_cohen_1960():
    # Table 1: 200 cases, three categories; agreement 0.70 (or 140 cases), by chance 0.41.
    table = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
    pairs = [(i, j) for i in range(3) for j in range(3) for _ in range(table[i][j])]
    found = cohens_kappa(*zip(*pairs, strict=True))
    assert found.value == pytest.approx(0.492, abs=5e-4)


def test_weights_count_how_far_apart_scores_are():
    assert cohens_kappa([0, 0, 4, 4], [0, 2, 4, 4], "linear").value > (
        cohens_kappa([0, 0, 4, 4], [0, 4, 4, 4], "linear").value
    )
    # A score nobody gave does not bring others nearer: 0 and 4 are as far apart with gaps.
    assert cohens_kappa([0, 2, 4], [2, 2, 4], "linear").value == pytest.approx(
        cohens_kappa([0, 1, 2], [1, 1, 2], "linear").value
    )


def test_kappa_at_its_ends():
    assert cohens_kappa([0, 1, 2], [0, 1, 2]).value == pytest.approx(1.0)
    assert cohens_kappa([0, 1, 0, 1], [0, 0, 1, 1]).value == pytest.approx(0.0)
    assert cohens_kappa([], []) is None
    assert cohens_kappa([3, 3], [3, 3]) is None
    with pytest.raises(ValueError, match="pairs"):
        cohens_kappa([1], [1, 2])
    with pytest.raises(ValueError, match="whole"):
        cohens_kappa([1.5], [1])


def test_scores_by_case_are_paired_by_name():
    found = score_agreement({"a": 0, "b": 3, "c": 1}, {"c": 1, "b": 3, "d": 4})
    assert found["kappa"].value == pytest.approx(1.0)
    assert set(found) == {"kappa", "kappa_linear", "kappa_quadratic"}


def test_bland_altman_by_hand():
    found = bland_altman([10, 20, 30, 40], [12, 21, 33, 44])
    assert (found.n, found.bias) == (4, pytest.approx(2.5))
    assert found.sd == pytest.approx(1.2909944487)
    assert (found.lower, found.upper) == pytest.approx((-0.030303, 5.030303), abs=1e-5)
    # t on 3 degrees is 3.182446; the standard error of the bias is sd / 2.
    assert found.bias_95 == pytest.approx((2.5 - 2.054260, 2.5 + 2.054260), abs=1e-5)
    off = 3.182446 * 1.2909944 * np.sqrt(1 / 4 + 1.959964**2 / 6)
    assert found.upper_95 == pytest.approx((found.upper - off, found.upper + off), abs=1e-5)
    assert bland_altman([1, 2], [1, 2]) is None
    swapped = bland_altman([12, 21, 33, 44], [10, 20, 30, 40])
    assert swapped.bias == pytest.approx(-2.5)


def test_masks_of_two_readers():
    first = np.zeros((2, 10, 10), np.uint8)
    first[0] = Label.LEFT_LUNG
    second = first.copy()
    first[0, :4, :5] = Label.GGO  # 20 voxels
    second[0, 2:6, :5] = Label.GGO  # 20, 10 of them shared
    second[0, 9, 9] = Label.CONSOLIDATION
    found = mask_agreement(first, second, voxel_ml=0.5)
    assert found["ggo"].dice == pytest.approx(0.5)
    assert (found["ggo"].first_ml, found["ggo"].second_ml) == (10.0, 10.0)
    assert found["ggo"].difference_ml == 0.0
    assert found["lung"].dice == 1.0
    assert found["infection"].difference_ml == pytest.approx(0.5)
    assert found["infection"].difference_percent == pytest.approx(100 * 0.5 / 10.25)
    assert (found["consolidation"].dice, found["consolidation"].difference_percent) == (0.0, 200.0)


def test_masks_without_lesions_have_no_dice():
    lungs = np.full((1, 4, 4), Label.RIGHT_LUNG, np.uint8)
    found = mask_agreement(lungs, lungs, voxel_ml=1.0)
    assert (found["ggo"].dice, found["ggo"].difference_percent) == (None, None)
    assert found["lung"].dice == 1.0


def test_a_class_that_a_reader_left_open_is_left_out():
    lungs = np.full((1, 4, 4), Label.RIGHT_LUNG, np.uint8)
    vague = lungs.copy()
    vague[0, 0] = Label.INFECTION
    for one, other in ((lungs, vague), (vague, lungs)):
        assert "ggo" not in mask_agreement(one, other, voxel_ml=1.0)
        assert mask_agreement(one, other, voxel_ml=1.0)["infection"].dice == 0.0
