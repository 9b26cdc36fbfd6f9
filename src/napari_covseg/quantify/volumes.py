"""How much lung, ground-glass opacity and consolidation there is, on each side.

Needs nothing but the label map, so that a corrected map is measured as a fresh one is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import LESION_LABELS, LUNG_LABELS, Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.preprocess.coarse import CoarseGrid
from napari_covseg.preprocess.sides import split_sides

UNSIDED = (*LESION_LABELS, Label.LUNG)
"""Labels of lung that do not tell its side."""
SidePlanes = Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class SideMeasurements:
    """Volumes of one lung, or of both, in ml, and their share of that lung in percent.

    The lung's volume includes its lesions. ``lesions`` counts GGO, consolidation and infection of
    unknown class. Percentages are None where there is no lung to be a share of.
    """

    lung_ml: float
    ggo_ml: float
    consolidation_ml: float
    lesions_ml: float
    ggo_percent: float | None
    consolidation_percent: float | None
    lesions_percent: float | None


@dataclass(frozen=True, slots=True)
class Measurements:
    """What `measure` found.

    ``slice_with_most_lesion`` is the z index in the canonical array (0 is the lowest slice), None
    without lesions. ``voxel_ml`` is the volume of a voxel.
    """

    left: SideMeasurements
    right: SideMeasurements
    both: SideMeasurements
    slice_with_most_lesion: int | None
    voxel_ml: float

    @property
    def rows(self) -> tuple[tuple[str, SideMeasurements], ...]:
        """``(title, measurements)`` in a table's order: right (seen first), left, both."""
        return (("Right", self.right), ("Left", self.left), ("Both", self.both))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Measurements:
        """What `to_dict` wrote."""
        sides = {side: SideMeasurements(**content[side]) for side in ("left", "right", "both")}
        return cls(**{**content, **sides})


def measure(labels: LabelMap) -> Measurements:
    """Volumes and percentages by side and class.

    A lesion counts for the lung it lies in (`lesion_sides`). Voxels to be ignored count nowhere.
    """
    side_of = _side_planes(labels)
    counts = np.zeros((3, len(Label)), np.int64)
    most, where = 0, None
    # Slice by slice, in the processor's cache: the whole volume would go through memory each time.
    for z, plane in enumerate(labels.labels):
        found = _count(plane, side_of, z)
        counts += found
        lesions = int(found[:, LESION_LABELS].sum())
        if lesions > most:
            most, where = lesions, z
    counts[1, Label.LEFT_LUNG] += counts[0, Label.LEFT_LUNG]
    counts[2, Label.RIGHT_LUNG] += counts[0, Label.RIGHT_LUNG]
    ml = labels.geometry.voxel_ml
    left, right = measure_side(counts[1], ml), measure_side(counts[2], ml)
    return Measurements(left, right, measure_side(counts[1] + counts[2], ml), where, ml)


def _count(plane: NDArray[np.uint8], side_of: SidePlanes, z: int) -> NDArray[np.int64]:
    """Voxels of each label ``(side, label)``; side 0 for labels that tell it themselves."""
    counts = np.zeros((3, len(Label)), np.int64)
    if not plane.any():
        return counts
    counts[0] = count_labels(plane)
    unsided = [label for label in UNSIDED if counts[0, label]]
    if unsided:
        sides = side_of(z)
        for label in unsided:
            there = plane == label.value
            counts[1:, label] = [np.count_nonzero(there & (sides == side)) for side in (1, 2)]
            counts[0, label] -= counts[1:, label].sum()
    return counts


def count_labels(plane: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Voxels of each `Label` in a slice; several times faster than a histogram of it."""
    return np.array([np.count_nonzero(plane == label.value) for label in Label], np.int64)


def measure_side(counts: NDArray[np.int64], voxel_ml: float) -> SideMeasurements:
    """Volumes and percentages from the voxels of each `Label`, of a side or of both."""
    lung = int(sum(counts[label] for label in LUNG_LABELS))
    ggo, consolidation = int(counts[Label.GGO]), int(counts[Label.CONSOLIDATION])
    lesions = int(sum(counts[label] for label in LESION_LABELS))

    def percent(part: int) -> float | None:
        return 100.0 * part / lung if lung else None

    return SideMeasurements(
        lung_ml=lung * voxel_ml,
        ggo_ml=ggo * voxel_ml,
        consolidation_ml=consolidation * voxel_ml,
        lesions_ml=lesions * voxel_ml,
        ggo_percent=percent(ggo),
        consolidation_percent=percent(consolidation),
        lesions_percent=percent(lesions),
    )


def lesion_sides(labels: LabelMap) -> NDArray[np.uint8]:
    """The side (1 left, 2 right) of every lung voxel whose label does not tell it, else 0.

    These are lesions and lung of unknown side, uint8 ``(z, y, x)``. Found from the label map
    alone: the lungs' own labels are taken as known, and the rest is told apart by geometry.
    """
    sides = np.zeros_like(labels.labels)
    side_of = _side_planes(labels)
    for z, plane in enumerate(labels.labels):
        unsided = (plane >= Label.GGO.value) & (plane <= Label.LUNG.value)
        if unsided.any():
            np.multiply(side_of(z), unsided, out=sides[z])
    return sides


def _side_planes(labels: LabelMap) -> SidePlanes:
    """The side (1, 2) of lung near each voxel of a slice, found when first asked for."""

    @lru_cache(maxsize=1)
    def found() -> tuple[CoarseGrid, NDArray[np.uint8]]:
        return coarse_sides(labels)

    def side_of(z: int) -> NDArray[np.uint8]:
        grid, field = found()
        return grid.slice_of(field, z)

    return side_of


def coarse_sides(labels: LabelMap) -> tuple[CoarseGrid, NDArray[np.uint8]]:
    """The side (1 left, 2 right) of lung near each voxel of a coarse grid; all 0 without lung."""
    array, spacing_mm = labels.labels, labels.geometry.spacing_mm
    grid = CoarseGrid.of(array.shape, spacing_mm)
    coarse = grid.take(array)
    lung = (coarse > Label.BACKGROUND.value) & (coarse < Label.IGNORE.value)
    if not lung.any():
        grid = CoarseGrid.of(array.shape, spacing_mm, target_mm=0.0)
        coarse = array
        lung = (coarse > Label.BACKGROUND.value) & (coarse < Label.IGNORE.value)
    known = np.where(coarse <= Label.RIGHT_LUNG.value, coarse, np.uint8(0))
    sides = split_sides(lung, grid.spacing_mm, known=known)
    if not sides.any():
        return grid, sides
    # Lung so thin that it fell between the samples takes the side of its neighbour.
    nearest = ndimage.distance_transform_edt(
        sides == 0, sampling=grid.spacing_mm, return_distances=False, return_indices=True
    )
    return grid, sides[tuple(nearest)]
