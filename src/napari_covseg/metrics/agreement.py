"""How far two readers, or a reader and a model, agree: volumes, scores and masks.

None stands for what does not exist: too few cases, or no difference between cases at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import Label
from napari_covseg.metrics.overlap import count_classes, joint_histogram

Interval = tuple[float, float]
Weights = Literal["linear", "quadratic"]
_CONFIDENCE = 0.95
_LIMIT = 1.959963984540054
"""97.5th percentile of the normal distribution."""
_LUNG_MASKS = (Label.LUNG, Label.LEFT_LUNG, Label.RIGHT_LUNG)


@dataclass(frozen=True, slots=True)
class MaskAgreement:
    """Two masks of one class.

    ``dice`` is ``2 |A & B| / (|A| + |B|)`` (Dice 1945), None if both are empty;
    ``difference_ml`` is second minus first; ``difference_percent`` is that over the mean of both
    (None if both are empty).
    """

    dice: float | None
    first_ml: float
    second_ml: float
    difference_ml: float
    difference_percent: float | None


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Limits of agreement of paired measurements; differences are second minus first.

    ``bias`` is the mean difference, ``sd`` its standard deviation (n - 1), ``lower`` and ``upper``
    the limits ``bias -+ 1.96 sd``, each with its 95 % interval.
    """

    n: int
    bias: float
    bias_95: Interval
    sd: float
    lower: float
    lower_95: Interval
    upper: float
    upper_95: Interval


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient of agreement with its 95 % interval."""

    value: float
    interval_95: Interval


def mask_agreement(
    first: NDArray[np.uint8], second: NDArray[np.uint8], voxel_ml: float
) -> dict[str, MaskAgreement]:
    """Agreement of two label maps class by class; a class that either leaves open is left out.

    Parameters
    ----------
    first, second
        `Label` of each voxel, ``(z, y, x)``, on one grid.
    voxel_ml
        Volume of a voxel.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not a `Label`.
    """
    joint = joint_histogram(first, second)
    lungs = all(joint.sum(axis=axis)[list(_LUNG_MASKS)].any() for axis in (0, 1))
    turned = count_classes(joint.T, lung_masks=lungs)
    found: dict[str, MaskAgreement] = {}
    for name, counts in count_classes(joint, lung_masks=lungs).items():
        if counts is None or turned[name] is None:
            continue
        one, other = counts.predicted * voxel_ml, counts.reference * voxel_ml
        found[name] = MaskAgreement(
            dice=None if counts.both_empty else counts.dice,
            first_ml=one,
            second_ml=other,
            difference_ml=other - one,
            difference_percent=100 * (other - one) / ((one + other) / 2) if one + other else None,
        )
    return found


def bland_altman(first: Sequence[float], second: Sequence[float]) -> BlandAltman | None:
    """Bias and limits of agreement; None for fewer than three pairs.

    Bland & Altman, Lancet 1986;327:307. Intervals with Student's t on n - 1 degrees; the variance
    of a limit is ``sd^2 (1 / n + 1.96^2 / (2 (n - 1)))`` (Bland & Altman, Stat Methods Med Res
    1999;8:135, section 2.3), which is good for some dozens of pairs and too narrow for few.

    Parameters
    ----------
    first, second
        Measurements of the same cases, in the same order and unit.

    Raises
    ------
    ValueError
        If they are not as many, or some are not finite.
    """
    pairs = _paired(first, second)
    n = len(pairs)
    if n < 3:
        return None
    from scipy.special import stdtrit

    differences = pairs[:, 1] - pairs[:, 0]
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    t = float(stdtrit(n - 1, 0.5 + _CONFIDENCE / 2))
    off_bias = t * sd / sqrt(n)
    off_limit = t * sd * sqrt(1 / n + _LIMIT**2 / (2 * (n - 1)))
    lower, upper = bias - _LIMIT * sd, bias + _LIMIT * sd
    return BlandAltman(
        n=n,
        bias=bias,
        bias_95=(bias - off_bias, bias + off_bias),
        sd=sd,
        lower=lower,
        lower_95=(lower - off_limit, lower + off_limit),
        upper=upper,
        upper_95=(upper - off_limit, upper + off_limit),
    )


def icc_agreement(ratings: Sequence[Sequence[float]]) -> Coefficient | None:
    """ICC(2,1): absolute agreement of single ratings, readers drawn at random.

    Shrout & Fleiss, Psychol Bull 1979;86:420; the interval as there and in McGraw & Wong, Psychol
    Methods 1996;1:30 (case 2). For readers who stand for others like them.

    Parameters
    ----------
    ratings
        A row for each case, a column for each reader, none missing.

    Returns
    -------
    Coefficient or None
        None for fewer than two cases or readers, or where all ratings are the same.

    Raises
    ------
    ValueError
        If rows differ in length or a rating is not finite.
    """
    found = _mean_squares(ratings)
    if found is None:
        return None
    from scipy.special import fdtri

    n, k, cases, readers, error = found
    whole = cases + (k - 1) * error + k * (readers - error) / n
    if whole <= 0:
        return None
    value = (cases - error) / whole
    if error == 0 and readers == 0:
        return Coefficient(value, (value, value))
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    spread = (a * readers) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    degrees = (a * readers + b * error) ** 2 / spread
    high = 0.5 + _CONFIDENCE / 2
    below = float(fdtri(n - 1, degrees, high))
    above = float(fdtri(degrees, n - 1, high))
    rest = k * readers + (k * n - k - n) * error
    lower = n * (cases - below * error) / (below * rest + n * cases)
    upper = n * (above * cases - error) / (rest + n * above * cases)
    return Coefficient(value, (lower, upper))


def icc_consistency(ratings: Sequence[Sequence[float]]) -> Coefficient | None:
    """ICC(3,1): consistency of single ratings of these very readers, a fixed bias forgiven.

    Shrout & Fleiss 1979; arguments, result and errors as in `icc_agreement`. None also where no
    rating differs from what case and reader alone explain and the cases do not differ.
    """
    found = _mean_squares(ratings)
    if found is None:
        return None
    from scipy.special import fdtri

    n, k, cases, _, error = found
    whole = cases + (k - 1) * error
    if whole <= 0:
        return None
    value = (cases - error) / whole
    if error == 0:
        return Coefficient(value, (value, value))
    ratio, rest, high = cases / error, (n - 1) * (k - 1), 0.5 + _CONFIDENCE / 2
    below = ratio / float(fdtri(n - 1, rest, high))
    above = ratio * float(fdtri(rest, n - 1, high))
    return Coefficient(value, ((below - 1) / (below + k - 1), (above - 1) / (above + k - 1)))


def cohens_kappa(
    first: Sequence[int], second: Sequence[int], weights: Weights | None = None
) -> Coefficient | None:
    """Cohen's kappa of two readers' scores, plain or weighted by how far apart they are.

    Plain: Cohen, Educ Psychol Meas 1960;20:37. Weighted: Cohen, Psychol Bull 1968;70:213, with
    weights ``1 - d / D`` (linear) or ``1 - (d / D)^2`` (quadratic), d the difference and D the
    largest one. The interval is that of large samples (Fleiss, Cohen & Everitt, Psychol Bull
    1969;72:323), too narrow for few cases.

    Parameters
    ----------
    first, second
        Scores of the same cases, in the same order. For weights, scores count as they are: 0 and
        4 are twice as far apart as 0 and 2, whether or not a score of 1 occurs.
    weights
        None, ``linear`` or ``quadratic``.

    Returns
    -------
    Coefficient or None
        None without cases, or where both readers only ever gave one and the same score.

    Raises
    ------
    ValueError
        If they are not as many, or a score is not a whole number.
    """
    pairs = _paired(first, second)
    if len(pairs) == 0:
        return None
    if (pairs != np.rint(pairs)).any():
        raise ValueError("expected whole numbers as scores")
    scores, index = np.unique(pairs, return_inverse=True)
    size = len(scores)
    index = index.reshape(pairs.shape)
    table = np.zeros((size, size))
    np.add.at(table, (index[:, 0], index[:, 1]), 1 / len(pairs))
    weight = _weights(scores, weights)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    by_chance = float((weight * np.outer(rows, columns)).sum())
    if 1 - by_chance < 1e-12:
        return None
    agreed = float((weight * table).sum())
    kappa = (agreed - by_chance) / (1 - by_chance)
    # Fleiss, Cohen & Everitt 1969, equation 14: mean weights of each row and column.
    expected = (weight @ columns)[:, None] + (rows @ weight)[None, :]
    terms = (table * (weight - expected * (1 - kappa)) ** 2).sum()
    variance = (terms - (kappa - by_chance * (1 - kappa)) ** 2) / len(pairs)
    off = _LIMIT * sqrt(max(0.0, float(variance))) / (1 - by_chance)
    return Coefficient(kappa, (kappa - off, min(1.0, kappa + off)))


def _weights(scores: NDArray[np.float64], kind: Weights | None) -> NDArray[np.float64]:
    apart = np.abs(scores[:, None] - scores[None, :])
    if kind is None:
        return np.asarray(apart == 0, dtype=np.float64)
    largest = max(float(apart.max()), 1e-300)
    return np.asarray(1 - (apart / largest) ** (1 if kind == "linear" else 2))


def _paired(first: Sequence[float], second: Sequence[float]) -> NDArray[np.float64]:
    """Shape ``(n, 2)``."""
    if len(first) != len(second):
        raise ValueError(f"expected pairs, got {len(first)} and {len(second)} values")
    pairs = np.array([first, second], dtype=np.float64).T
    if not np.isfinite(pairs).all():
        raise ValueError("expected finite values: leave out cases that miss one")
    return pairs


def _mean_squares(
    ratings: Sequence[Sequence[float]],
) -> tuple[int, int, float, float, float] | None:
    """Cases, readers, and the mean squares of cases, readers and the rest (two-way, no repeats)."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 and table.size:
        raise ValueError("expected a row of ratings for each case, all of one length")
    if not np.isfinite(table).all():
        raise ValueError("expected finite ratings: leave out cases that miss one")
    if table.ndim != 2 or min(table.shape) < 2:
        return None
    n, k = table.shape
    mean = table.mean()
    by_case, by_reader = table.mean(axis=1), table.mean(axis=0)
    rest = table - by_case[:, None] - by_reader[None, :] + mean
    # Rounding leaves a little where there is nothing.
    nothing = 1e-24 * max(1.0, float(np.abs(table).max()) ** 2)

    def square(total: float, degrees: int) -> float:
        return 0.0 if total <= nothing * table.size else total / degrees

    return (
        n,
        k,
        square(float(k * ((by_case - mean) ** 2).sum()), n - 1),
        square(float(n * ((by_reader - mean) ** 2).sum()), k - 1),
        square(float((rest**2).sum()), (n - 1) * (k - 1)),
    )


def score_agreement(
    first: Mapping[str, int], second: Mapping[str, int]
) -> dict[str, Coefficient | None]:
    """Kappa of two readers' scores by case, plain, linear and quadratic, over the cases of both."""
    cases = sorted(first.keys() & second.keys())
    one, other = [first[case] for case in cases], [second[case] for case in cases]
    kinds: tuple[tuple[str, Weights | None], ...] = (
        ("kappa", None),
        ("kappa_linear", "linear"),
        ("kappa_quadratic", "quadratic"),
    )
    return {name: cohens_kappa(one, other, kind) for name, kind in kinds}
