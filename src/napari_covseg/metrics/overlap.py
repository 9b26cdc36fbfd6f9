"""Overlap of two label maps, class by class, from one joint histogram.

A class is a set of labels. Voxels whose label leaves open whether they belong to the class, in
either map, leave its count: ``IGNORE`` for every class, and, say, infection of unknown kind for
GGO. A reference that only holds such voxels, and none of the class, has nothing to say about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import LESION_LABELS, LUNG_LABELS, Label

_N = len(Label)
_LUNG_MASKS = (Label.LUNG, Label.LEFT_LUNG, Label.RIGHT_LUNG)


@dataclass(frozen=True)
class EvaluatedClass:
    """Which labels belong to a class, and which may (``IGNORE`` always may)."""

    name: str
    inside: tuple[Label, ...]
    perhaps: tuple[Label, ...] = ()
    needs_lung_masks: bool = False
    """Whether a reference without any lung mask says nothing about it."""

    @property
    def is_inside(self) -> NDArray[np.bool_]:
        """For each label, shape ``(8,)``: whether it belongs to the class."""
        return _among(self.inside)

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """For each label, shape ``(8,)``: whether it says if the voxel belongs to the class."""
        return ~_among((*self.perhaps, Label.IGNORE))


CLASSES: tuple[EvaluatedClass, ...] = (
    EvaluatedClass("lung", LUNG_LABELS, needs_lung_masks=True),
    EvaluatedClass("infection", LESION_LABELS),
    EvaluatedClass("ggo", (Label.GGO,), (Label.INFECTION,)),
    EvaluatedClass("consolidation", (Label.CONSOLIDATION,), (Label.INFECTION,)),
    EvaluatedClass(
        "left_lung", (Label.LEFT_LUNG,), (Label.LUNG, *LESION_LABELS), needs_lung_masks=True
    ),
    EvaluatedClass(
        "right_lung", (Label.RIGHT_LUNG,), (Label.LUNG, *LESION_LABELS), needs_lung_masks=True
    ),
)
"""What is measured. A lesion's side is not in its label, so it leaves the count of either lung."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Voxels of one class: in both maps, in the prediction only, in the reference only, in neither.

    Together they are the voxels of the image of which both maps say whether they belong to the
    class. ``neither`` matters to `specificity` and `accuracy` only.
    """

    both: int
    predicted_only: int
    reference_only: int
    neither: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.both + other.both,
            self.predicted_only + other.predicted_only,
            self.reference_only + other.reference_only,
            self.neither + other.neither,
        )

    @property
    def predicted(self) -> int:
        """Voxels in the prediction."""
        return self.both + self.predicted_only

    @property
    def reference(self) -> int:
        """Voxels in the reference."""
        return self.both + self.reference_only

    @property
    def both_empty(self) -> bool:
        """Whether the class is in neither map, so that no overlap is defined."""
        return self.predicted + self.reference == 0

    @property
    def dice(self) -> float:
        """``2 |P & R| / (|P| + |R|)``; NaN if both are empty (Dice 1945)."""
        return _ratio(2 * self.both, self.predicted + self.reference)

    @property
    def iou(self) -> float:
        """``|P & R| / |P | R|``; NaN if both are empty (Jaccard 1901)."""
        return _ratio(self.both, self.both + self.predicted_only + self.reference_only)

    @property
    def sensitivity(self) -> float:
        """``|P & R| / |R|``; NaN if the reference is empty."""
        return _ratio(self.both, self.reference)

    @property
    def precision(self) -> float:
        """``|P & R| / |P|``; NaN if the prediction is empty."""
        return _ratio(self.both, self.predicted)

    @property
    def specificity(self) -> float:
        """``|neither| / (|all| - |R|)`` over all counted voxels; NaN if all are in the reference.

        Most of a CT is neither, so it is near 1 for any small class, and falls when the image is
        cropped: compare it only between results on the same images.
        """
        return _ratio(self.neither, self.neither + self.predicted_only)

    @property
    def accuracy(self) -> float:
        """``(|P & R| + |neither|) / |all|`` over all counted voxels; see `specificity`."""
        right = self.both + self.neither
        return _ratio(right, right + self.predicted_only + self.reference_only)


def joint_histogram(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """How often each pair of labels meets, shape ``(8, 8)``: rows prediction, columns reference.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not a `Label`.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {reference.shape}")
    counts = np.zeros(_N * _N, dtype=np.int64)
    for predicted, expected in zip(prediction, reference, strict=True):
        if max(predicted.max(), expected.max()) >= _N:
            raise ValueError("expected labels from 0 to 7")
        counts += np.bincount((predicted * np.uint8(_N) + expected).reshape(-1), minlength=_N * _N)
    return counts.reshape(_N, _N)


def count_classes(
    histogram: NDArray[np.int64], lung_masks: bool | None = None
) -> Mapping[str, Counts | None]:
    """Counts for each of `CLASSES`; None where the reference says nothing about the class.

    Parameters
    ----------
    histogram
        From `joint_histogram`.
    lung_masks
        Whether the reference marks healthy lung; None finds out: it does if any voxel is lung,
        left lung or right lung.
    """
    expected = histogram.sum(axis=0)
    if lung_masks is None:
        lung_masks = bool(expected[list(_LUNG_MASKS)].sum())
    return {
        one.name: None
        if one.needs_lung_masks and not lung_masks
        else _count(histogram, expected, one)
        for one in CLASSES
    }


def _count(
    histogram: NDArray[np.int64], expected: NDArray[np.int64], one: EvaluatedClass
) -> Counts | None:
    if one.perhaps and not expected[list(one.inside)].sum() and expected[list(one.perhaps)].sum():
        return None
    inside = one.is_inside
    outside = one.is_known & ~inside
    return Counts(
        both=int(histogram[np.ix_(inside, inside)].sum()),
        predicted_only=int(histogram[np.ix_(inside, outside)].sum()),
        reference_only=int(histogram[np.ix_(outside, inside)].sum()),
        neither=int(histogram[np.ix_(outside, outside)].sum()),
    )


def _among(labels: tuple[Label, ...]) -> NDArray[np.bool_]:
    return np.isin(np.arange(_N), labels)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
