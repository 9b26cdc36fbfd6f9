"""Paired differences by hand and against scipy; honest words where there are few patients."""

import math

import numpy as np
import pytest

from napari_covseg.metrics.paired import FEWEST_FOR_TEST, paired_difference

NAN = float("nan")


def cases(values):
    return {f"c{i}": float(value) for i, value in enumerate(values)}


def test_cases_of_one_patient_are_averaged_first():
    first = {"a1": 0.5, "a2": 0.6, "b": 0.7}
    second = {"a1": 0.7, "a2": 0.6, "b": 0.4}
    found = paired_difference(first, second, {"a1": "a", "a2": "a"})
    assert found.first == pytest.approx((0.55 + 0.7) / 2)
    assert found.second == pytest.approx((0.65 + 0.4) / 2)
    assert found.difference == pytest.approx((0.1 - 0.3) / 2)
    assert (found.wins, found.losses, found.ties) == (1, 1, 0)
    assert (found.patients, found.cases) == (2, 3)
    assert found.difference != pytest.approx(paired_difference(first, second, {}).difference)


def test_the_test_is_the_signed_rank_test():
    rng = np.random.default_rng(3)
    first, gain = rng.uniform(0.5, 0.9, 12), rng.normal(0.02, 0.03, 12)
    found = paired_difference(cases(first), cases(first + gain), {})
    from scipy.stats import wilcoxon

    assert found.p == pytest.approx(wilcoxon(gain).pvalue)
    assert found.note == ""
    assert found.wins == (gain > 0).sum()
    assert found.interval_95[0] < found.difference < found.interval_95[1]
    half = 1.96 * gain.std(ddof=1) / math.sqrt(12)
    assert found.interval_95[1] - found.interval_95[0] == pytest.approx(2 * half, rel=0.15)


def test_the_smallest_number_that_can_find_a_difference():
    first = np.zeros(FEWEST_FOR_TEST)
    gain = np.arange(1, FEWEST_FOR_TEST + 1) / 10
    assert paired_difference(cases(first), cases(gain), {}).p == pytest.approx(2 / 2**6)
    fewer = paired_difference(cases(first[1:]), cases(gain[1:]), {})
    assert math.isnan(fewer.p)
    assert fewer.note.startswith("5 patients differ: no test, which needs 6")
    assert fewer.difference == pytest.approx(gain[1:].mean())
    assert fewer.interval_95[0] > 0


def test_patients_without_a_difference_are_ties_and_leave_the_test():
    gain = np.array([0, 0, 0.1, 0.2, -0.3, 0.4, 0.5, 0.6])
    found = paired_difference(cases(np.ones(8)), cases(1 + gain), {})
    from scipy.stats import wilcoxon

    assert (found.wins, found.losses, found.ties, found.patients) == (5, 1, 2, 8)
    assert found.p == pytest.approx(wilcoxon((1 + gain[2:]) - 1).pvalue)
    same = paired_difference(cases(gain), cases(gain), {})
    assert (same.ties, same.difference) == (8, 0)
    assert math.isnan(same.p)
    assert same.note == "the models do not differ for any patient"


def test_lower_may_be_better():
    first, second = cases([5, 5, 5]), cases([4, 3, 8])
    found = paired_difference(first, second, {}, lower_is_better=True)
    assert (found.wins, found.losses) == (2, 1)
    assert found.difference == 0
    assert paired_difference(first, second, {}).wins == 1


def test_only_cases_with_two_values_are_paired_and_the_others_counted():
    first = {"a": 0.5, "b": NAN, "c": NAN, "d": 3.0, "e": 0.5}
    second = {"a": 0.6, "b": 0.0, "c": NAN, "d": math.inf}
    found = paired_difference(first, second, {})
    assert (found.cases, found.cases_unpaired) == (1, 3)
    assert found.difference == pytest.approx(0.1)
    assert all(map(math.isnan, found.interval_95))
    assert found.note.startswith("1 patient differs: no test")


def test_nothing_in_common():
    found = paired_difference({"a": NAN}, {"b": 0.5}, {})
    assert math.isnan(found.difference)
    assert math.isnan(found.first)
    assert (found.patients, found.wins, found.cases_unpaired) == (0, 0, 1)
    assert found.note == "no patient has a value from both models"
