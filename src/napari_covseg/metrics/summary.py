"""Means over patients: cases of one patient are averaged first, so each patient counts once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000
_SEED = 0


@dataclass(frozen=True, slots=True)
class PatientMean:
    """A figure over patients.

    ``std`` is over patients (n - 1 below the line), NaN for fewer than two; ``interval_95`` is
    the percentile bootstrap of the mean over patients, NaN likewise.
    """

    mean: float
    std: float
    interval_95: tuple[float, float]
    patients: int
    cases: int


def mean_over_patients(values: Mapping[str, float], patients: Mapping[str, str]) -> PatientMean:
    """Average case values within each patient, then over patients.

    Parameters
    ----------
    values
        Case to value; NaN and infinity (no value) are left out.
    patients
        Case to patient; a case that is not there is a patient of its own.
    """
    values = {case: value for case, value in values.items() if np.isfinite(value)}
    means = patient_means(values, patients)
    cases = len(values)
    if not means:
        nan = float("nan")
        return PatientMean(nan, nan, (nan, nan), 0, 0)
    std = float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")
    return PatientMean(float(np.mean(means)), std, bootstrap_interval(means), len(means), cases)


def patient_means(values: Mapping[str, float], patients: Mapping[str, str]) -> list[float]:
    """The mean of each patient's cases; ``patients`` as in `mean_over_patients`."""
    grouped: dict[tuple[str, str], list[float]] = {}
    for case, value in values.items():
        own = ("patient", patients[case]) if case in patients else ("case", case)
        grouped.setdefault(own, []).append(value)
    return [float(np.mean(group)) for group in grouped.values()]


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` by the percentile bootstrap, always the same.

    NaN for fewer than two values. Too narrow for fewer than about ten (Efron & Tibshirani 1993).
    """
    if len(values) < 2:
        return (float("nan"), float("nan"))
    random = np.random.default_rng(_SEED)
    drawn = random.choice(np.asarray(values), size=(_RESAMPLES, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return (float(low), float(high))
