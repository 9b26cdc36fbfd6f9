"""Two models on the same cases: the difference over patients, its interval, a signed-rank test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_covseg.metrics.summary import bootstrap_interval, patient_means

FEWEST_FOR_TEST = 6
"""With fewer pairs the smallest two-sided p of the signed-rank test, ``2 / 2**n``, is over 0.05."""
_SAME = 1e-12
"""Differences below this are rounding."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A figure of two models, over the patients for whom both have a value.

    ``first`` and ``second`` are means over these patients, ``difference`` is that of
    ``second - first``, ``interval_95`` its percentile bootstrap over patients, and ``p`` the
    two-sided Wilcoxon signed-rank test's (patients without a difference left out, as Wilcoxon
    1945 did). NaN stands for what cannot be given, and ``note`` says why, in words.

    ``wins``, ``losses`` and ``ties`` count patients for whom the second model is better, worse and
    the same. ``cases_unpaired`` are those where only one model has a value: a false lesion in a
    healthy chest gives a Dice of 0, no lesion gives none.
    """

    first: float
    second: float
    difference: float
    interval_95: tuple[float, float]
    p: float
    wins: int
    losses: int
    ties: int
    patients: int
    cases: int
    cases_unpaired: int
    note: str


def paired_difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    patients: Mapping[str, str],
    *,
    lower_is_better: bool = False,
) -> PairedDifference:
    """Compare a figure of two models; cases of one patient are averaged first.

    Parameters
    ----------
    first, second
        Case to value; NaN and infinity are no value.
    patients
        Case to patient; a case that is not there is a patient of its own.
    lower_is_better
        For distances and errors: what counts as a win.
    """
    ours = {case for case, value in first.items() if np.isfinite(value)}
    theirs = {case for case, value in second.items() if np.isfinite(value)}
    paired = sorted(ours & theirs)
    differences = patient_means({case: second[case] - first[case] for case in paired}, patients)
    changed = [value for value in differences if abs(value) > _SAME]
    better = sum((value < 0) == lower_is_better for value in changed)
    enough = len(changed) >= FEWEST_FOR_TEST
    return PairedDifference(
        first=_mean(patient_means({case: first[case] for case in paired}, patients)),
        second=_mean(patient_means({case: second[case] for case in paired}, patients)),
        difference=_mean(differences),
        interval_95=bootstrap_interval(differences),
        p=_signed_rank(changed) if enough else float("nan"),
        wins=better,
        losses=len(changed) - better,
        ties=len(differences) - len(changed),
        patients=len(differences),
        cases=len(paired),
        cases_unpaired=len(ours ^ theirs),
        note="" if enough else _why_no_test(len(differences), len(changed)),
    )


def _signed_rank(differences: Sequence[float]) -> float:
    # It takes half a second to import, which nobody else should pay.
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences).pvalue)


def _why_no_test(patients: int, changed: int) -> str:
    if not patients:
        return "no patient has a value from both models"
    if not changed:
        return "the models do not differ for any patient"
    several = "1 patient differs" if changed == 1 else f"{changed} patients differ"
    return (
        f"{several}: no test, which needs {FEWEST_FOR_TEST} to be able to find a difference "
        "(p < 0.05)"
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
