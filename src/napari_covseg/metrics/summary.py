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
        Case to value; NaN (no value) is left out.
    patients
        Case to patient; a case that is not there is a patient of its own.
    """
    grouped: dict[tuple[str, str], list[float]] = {}
    for case, value in values.items():
        if not np.isnan(value):
            own = ("patient", patients[case]) if case in patients else ("case", case)
            grouped.setdefault(own, []).append(value)
    means = [float(np.mean(group)) for group in grouped.values()]
    cases = sum(map(len, grouped.values()))
    if not means:
        nan = float("nan")
        return PatientMean(nan, nan, (nan, nan), 0, 0)
    std = float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")
    return PatientMean(float(np.mean(means)), std, _interval(means), len(means), cases)


def _interval(means: Sequence[float]) -> tuple[float, float]:
    if len(means) < 2:
        return (float("nan"), float("nan"))
    random = np.random.default_rng(_SEED)
    drawn = random.choice(np.asarray(means), size=(_RESAMPLES, len(means)))
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return (float(low), float(high))
