"""How good and how sure a classifier of pictures is.

Recall, precision, specificity and F1 are those of the positive class where one is named, else the
plain mean over the classes (macro). All take probabilities ``(n, classes)`` whose rows sum to 1 and
true codes ``(n,)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError

Floats = NDArray[np.float64]
_BINS = 10


@dataclass(frozen=True, slots=True)
class ClassificationFigures:
    """Fractions of 1; NaN where nothing decides a figure (no picture of a class, say)."""

    accuracy: float
    f1: float
    recall: float
    precision: float
    specificity: float
    auc: float


def figures(
    probabilities: NDArray, truth: NDArray, positive: int | None = None
) -> ClassificationFigures:
    """The six figures; ``positive`` is the code of the class they are about, None for the mean.

    Singh & Krishna, equations 3 to 7; AUC is the chance that a picture of the class has a higher
    probability of it than one of the others, ties counting half (Hanley & McNeil 1982).

    Raises
    ------
    InputError
        If the shapes do not fit or there is no picture.
    """
    probabilities, truth = _checked(probabilities, truth)
    said = probabilities.argmax(axis=1)
    codes = [positive] if positive is not None else range(probabilities.shape[1])
    rows = [_of_class(probabilities[:, code], said == code, truth == code) for code in codes]
    recall, precision, specificity, f1, area = (_mean(column) for column in zip(*rows, strict=True))
    return ClassificationFigures(
        float(np.mean(said == truth)), f1, recall, precision, specificity, area
    )


def auc(scores: NDArray, positive: NDArray) -> float:
    """Area under the receiver operating characteristic; NaN if one side is empty."""
    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes or not no:
        return float("nan")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[places]
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def entropy(probabilities: NDArray) -> Floats:
    """``-sum p log p`` of each row, in nats: 0 for a certain answer, log(classes) for none at all.

    Of the mean over an ensemble's distributions it is the uncertainty of Singh & Krishna (equation
    2, with the sign that it lacks there).
    """
    p = np.asarray(probabilities, np.float64)
    return np.asarray(-np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=-1))


@dataclass(frozen=True, eq=False, slots=True)
class RiskCoverage:
    """Error among the surest pictures: ``coverage`` and ``risk`` ``(n,)``, from few to all.

    ``area`` is the mean risk over all coverages: lower is better, and an uncertainty that knows
    nothing has the overall error.
    """

    coverage: Floats
    risk: Floats
    area: float


def risk_coverage(probabilities: NDArray, truth: NDArray, unsure: NDArray) -> RiskCoverage:
    """Errors when only pictures with the least ``unsure`` ``(n,)`` are answered.

    Pictures that are equally unsure are answered together, with their mean error.
    """
    probabilities, truth = _checked(probabilities, truth)
    wrong = (probabilities.argmax(axis=1) != truth).astype(np.float64)
    _, places, counts = np.unique(unsure, return_inverse=True, return_counts=True)
    means = np.bincount(places, weights=wrong) / counts
    order = np.argsort(unsure, kind="stable")
    n = np.arange(1, len(wrong) + 1)
    risk = np.cumsum(means[places][order]) / n
    return RiskCoverage(n / len(wrong), risk, float(risk.mean()))


@dataclass(frozen=True, eq=False, slots=True)
class Calibration:
    """How often answers of a stated probability are right.

    ``stated`` and ``right`` are means over the pictures of each bin that holds some, ``counts``
    how many; ``error`` is the expected calibration error (Guo et al. 2017).
    """

    stated: Floats
    right: Floats
    counts: NDArray[np.int64]
    error: float


def calibration(probabilities: NDArray, truth: NDArray, bins: int = _BINS) -> Calibration:
    """Of the probability of the class that is named, in ``bins`` of equal width from 0 to 1."""
    probabilities, truth = _checked(probabilities, truth)
    stated = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.minimum((stated * bins).astype(np.intp), bins - 1)
    counts = np.bincount(place, minlength=bins)
    held = counts > 0
    means = [
        np.bincount(place, weights=v, minlength=bins)[held] / counts[held] for v in (stated, right)
    ]
    error = float((np.abs(means[0] - means[1]) * counts[held]).sum() / len(truth))
    return Calibration(means[0], means[1], counts[held], error)


def _checked(probabilities: NDArray, truth: NDArray) -> tuple[Floats, NDArray]:
    probabilities, truth = np.asarray(probabilities, np.float64), np.asarray(truth)
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1] or not len(truth):
        raise InputError(
            f"expected probabilities (n, classes) and codes (n,), got {probabilities.shape} and "
            f"{truth.shape}"
        )
    return probabilities, truth


def _of_class(score: Floats, said: NDArray, true: NDArray) -> tuple[float, ...]:
    hit, missed = int((said & true).sum()), int((~said & true).sum())
    false, rejected = int((said & ~true).sum()), int((~said & ~true).sum())
    return (
        _share(hit, hit + missed),
        _share(hit, hit + false),
        _share(rejected, rejected + false),
        _share(2 * hit, 2 * hit + missed + false),
        auc(score, true),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _mean(values: tuple[float, ...]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
