"""Average precision of detections, as MS COCO measures it (Lin et al. 2014), in numpy alone.

A detection is right if it overlaps a lesion of its class by enough (intersection over union, of
masks or of boxes) and no better scored detection has taken that lesion. What lies mostly where the
truth is unknown is neither right nor wrong, as COCO's crowds. The figures are those of pycocotools
(all areas, the 100 best detections a picture and class).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

THRESHOLDS: tuple[float, ...] = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 100
"""Detections of a class that count in one picture: those with the highest scores."""
Overlap = Literal["mask", "box"]


@dataclass(frozen=True, eq=False)
class Found:
    """Detections in a picture.

    ``boxes`` float ``(n, 4)`` are x0, y0, x1, y1 in pixels, ``labels`` ``(n,)`` whole numbers,
    ``scores`` ``(n,)``, ``masks`` bool ``(n, y, x)``.
    """

    boxes: NDArray
    labels: NDArray
    scores: NDArray
    masks: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """What there is in a picture, as in `Found`; in ``ignored``, bool ``(y, x)``, nobody knows."""

    boxes: NDArray
    labels: NDArray
    masks: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision at overlap 0.5, at 0.75, and the mean over 0.5:0.05:0.95.

    None where there is nothing to find. ``lesions`` is how many there are, ``detections`` how many
    were counted, whatever their score; ``recall`` is the share of lesions found at overlap 0.5.
    """

    ap50: float | None
    ap75: float | None
    ap: float | None
    recall: float | None
    lesions: int
    detections: int


@dataclass(frozen=True, eq=False)
class _Matches:
    """Of one picture and class: scores, and for each threshold and detection right and ignored."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    lesions: int


class DetectionScores:
    """Takes pictures one by one, keeps only what matched, and gives the figures.

    Parameters
    ----------
    labels
        The classes' numbers.
    overlap
        Of masks or of boxes.
    """

    def __init__(self, labels: Sequence[int], overlap: Overlap = "mask") -> None:
        self._labels, self._overlap = tuple(labels), overlap
        self._pictures: list[dict[int, _Matches]] = []

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, found: Found, truth: Truth) -> None:
        """Count a picture."""
        self._pictures.append(
            {label: _match(found, truth, label, self._overlap) for label in self._labels}
        )

    def result(self, pictures: Iterable[int] | None = None) -> dict[int, Precision]:
        """The figures of each class, over all pictures or over those of these numbers.

        A number may come several times, as in a bootstrap.
        """
        chosen = range(len(self)) if pictures is None else list(pictures)
        return {
            label: _precision([self._pictures[n][label] for n in chosen]) for label in self._labels
        }


def mean_precision(of_classes: Mapping[int, Precision]) -> Precision:
    """The mean over the classes that there are, lesions and detections summed."""
    known = [one for one in of_classes.values() if one.lesions]
    return Precision(
        ap50=_mean([one.ap50 for one in known]),
        ap75=_mean([one.ap75 for one in known]),
        ap=_mean([one.ap for one in known]),
        recall=_mean([one.recall for one in known]),
        lesions=sum(one.lesions for one in of_classes.values()),
        detections=sum(one.detections for one in of_classes.values()),
    )


def mask_overlaps(found: NDArray[np.bool_], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of masks ``(n, y, x)`` and ``(m, y, x)``: ``(n, m)``."""
    a = found.reshape(len(found), _size(found)).astype(np.float32)
    b = there.reshape(len(there), _size(there)).astype(np.float32)
    both = (a @ b.T).astype(np.float64)
    union = a.sum(axis=1)[:, None] + b.sum(axis=1)[None] - both
    return _ratio(both, union)


def box_overlaps(found: NDArray, there: NDArray) -> NDArray[np.float64]:
    """Intersection over union of boxes ``(n, 4)`` and ``(m, 4)``: ``(n, m)``."""
    a, b = np.asarray(found, float).reshape(-1, 4), np.asarray(there, float).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    union = _areas(a)[:, None] + _areas(b)[None] - both
    return _ratio(both, union)


def _size(masks: NDArray) -> int:
    return int(np.prod(masks.shape[1:]))


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0))


def _areas(boxes: NDArray) -> NDArray:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _unknown_share(found: Found, chosen: NDArray, ignored: NDArray, overlap: Overlap) -> NDArray:
    """The share of each detection that lies where the truth is unknown."""
    if not ignored.any():
        return np.zeros(len(chosen))
    if overlap == "mask":
        masks = found.masks[chosen]
        inside = np.array([np.count_nonzero(mask & ignored) for mask in masks], float)
        areas = np.array([np.count_nonzero(mask) for mask in masks], float)
    else:
        boxes = np.asarray(found.boxes, float)[chosen]
        inside, areas = np.array([_inside(box, ignored) for box in boxes], float), _areas(boxes)
    return _ratio(inside, areas)


def _inside(box: NDArray, where: NDArray[np.bool_]) -> float:
    """The area of a box that lies in a mask; a pixel that is cut counts by its part."""
    height, width = where.shape
    x0, y0, x1, y1 = box
    across = np.clip(np.minimum(np.arange(width) + 1, x1) - np.maximum(np.arange(width), x0), 0, 1)
    down = np.clip(np.minimum(np.arange(height) + 1, y1) - np.maximum(np.arange(height), y0), 0, 1)
    return float(down @ where @ across)


def _match(found: Found, truth: Truth, label: int, overlap: Overlap) -> _Matches:
    here = np.flatnonzero(np.asarray(found.labels) == label)
    scores = np.asarray(found.scores, np.float64)
    order = here[np.argsort(-scores[here], kind="stable")][:MOST]
    there = np.flatnonzero(np.asarray(truth.labels) == label)
    if overlap == "mask":
        overlaps = mask_overlaps(found.masks[order], truth.masks[there])
    else:
        overlaps = box_overlaps(found.boxes[order], truth.boxes[there])
    unknown = _unknown_share(found, order, truth.ignored, overlap)
    right = np.zeros((len(THRESHOLDS), len(order)), bool)
    ignored = np.zeros_like(right)
    for row, threshold in enumerate(THRESHOLDS):
        free = np.ones(len(there), bool)
        for column in range(len(order)):
            best = _best(overlaps[column], free, threshold)
            if best is not None:
                free[best], right[row, column] = False, True
            else:
                ignored[row, column] = unknown[column] >= threshold
    return _Matches(scores[order], right, ignored, len(there))


def _best(overlaps: NDArray, free: NDArray[np.bool_], threshold: float) -> int | None:
    """The free lesion that a detection overlaps most, if by enough; of equal ones the last."""
    best, most = None, min(threshold, 1 - 1e-10)
    for number in np.flatnonzero(free):
        if overlaps[number] >= most:
            best, most = int(number), float(overlaps[number])
    return best


def _precision(matches: Sequence[_Matches]) -> Precision:
    lesions = sum(one.lesions for one in matches)
    counted = sum(len(one.scores) for one in matches)
    if not lesions:
        return Precision(None, None, None, None, 0, counted)
    scores = np.concatenate([one.scores for one in matches])
    order = np.argsort(-scores, kind="stable")
    right = np.concatenate([one.right for one in matches], axis=1)[:, order]
    ignored = np.concatenate([one.ignored for one in matches], axis=1)[:, order]
    curves = [_area(r, i, lesions) for r, i in zip(right, ignored, strict=True)]
    return Precision(
        curves[0],
        curves[THRESHOLDS.index(min(THRESHOLDS, key=lambda t: abs(t - 0.75)))],
        float(np.mean(curves)),
        float(right[0].sum() / lesions),
        lesions,
        counted,
    )


def _area(right: NDArray[np.bool_], ignored: NDArray[np.bool_], lesions: int) -> float:
    """The mean over 101 recalls of the highest precision at that recall or beyond."""
    hits = np.cumsum(right).astype(float)
    misses = np.cumsum(~right & ~ignored).astype(float)
    recall = hits / lesions
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    reached = places < len(precision)
    at = np.zeros(len(RECALLS))
    at[reached] = precision[places[reached]]
    return float(at.mean())


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
