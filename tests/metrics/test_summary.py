"""Means over patients, not over cases."""

import math

import numpy as np
import pytest

from napari_covseg.metrics.summary import mean_over_patients

NAN = float("nan")


def test_cases_of_one_patient_are_averaged_first():
    values = {"a1": 0.9, "a2": 0.7, "a3": 0.8, "b": 0.4}
    mean = mean_over_patients(values, {"a1": "a", "a2": "a", "a3": "a"})
    assert mean.mean == pytest.approx(0.6)
    assert mean.std == pytest.approx(np.std([0.8, 0.4], ddof=1))
    assert (mean.patients, mean.cases) == (2, 4)
    assert mean_over_patients(values, {}).mean == pytest.approx(0.7)


def test_no_value_is_left_out():
    mean = mean_over_patients({"a": 0.5, "b": NAN, "c": 0.7, "d": math.inf}, {})
    assert mean.mean == pytest.approx(0.6)
    assert (mean.patients, mean.cases) == (2, 2)


def test_nothing_and_one():
    nothing = mean_over_patients({"a": NAN}, {})
    assert math.isnan(nothing.mean)
    assert (nothing.patients, nothing.cases) == (0, 0)
    one = mean_over_patients({"a": 0.5}, {})
    assert one.mean == 0.5
    assert math.isnan(one.std)
    assert all(map(math.isnan, one.interval_95))


def test_the_interval_is_the_bootstraps_and_always_the_same():
    values = {str(i): float(v) for i, v in enumerate(np.random.default_rng(1).normal(0.7, 0.1, 40))}
    first, again = mean_over_patients(values, {}), mean_over_patients(values, {})
    assert first == again
    half = 1.96 * first.std / math.sqrt(40)
    assert first.interval_95[0] == pytest.approx(first.mean - half, abs=0.01)
    assert first.interval_95[1] == pytest.approx(first.mean + half, abs=0.01)


def test_a_case_named_like_a_patient_is_not_that_patient():
    assert mean_over_patients({"x": 0.0, "y": 1.0}, {"y": "x"}).patients == 2
