"""How much lung, ground-glass opacity and consolidation there is, on each side.

Needs nothing but the label map, so that a corrected map is measured as a fresh one is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import LESION_LABELS, LUNG_LABELS, Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.preprocess.coarse import CoarseGrid
from napari_covseg.preprocess.sides import split_sides


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
    sides = lesion_sides(labels)
    counts = np.zeros((3, len(Label)), np.int64)
    most, where = 0, None
    # Slice by slice: a histogram of the whole volume would copy it to eight bytes a voxel.
    for z, plane in enumerate(labels.labels):
        if not plane.any():
            continue
        joint = plane + len(Label) * sides[z]
        found = np.bincount(joint.ravel(), minlength=counts.size)[: counts.size]
        counts += found.reshape(counts.shape)
        lesions = int(sum(found.reshape(counts.shape)[:, label].sum() for label in LESION_LABELS))
        if lesions > most:
            most, where = lesions, z
    counts[1, Label.LEFT_LUNG] += counts[0, Label.LEFT_LUNG]
    counts[2, Label.RIGHT_LUNG] += counts[0, Label.RIGHT_LUNG]
    ml = labels.geometry.voxel_ml
    left, right = measure_side(counts[1], ml), measure_side(counts[2], ml)
    return Measurements(left, right, measure_side(counts[1] + counts[2], ml), where, ml)


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
    array = labels.labels
    sides = np.zeros_like(array)
    unsided = (array >= Label.GGO) & (array <= Label.LUNG)
    slices = np.flatnonzero(unsided.any(axis=(1, 2)))
    if len(slices) == 0:
        return sides
    grid, field = coarse_sides(labels)
    for z in slices:
        sides[z] = grid.slice_of(field, int(z)) * unsided[z]
    return sides


def coarse_sides(labels: LabelMap) -> tuple[CoarseGrid, NDArray[np.uint8]]:
    """The side (1 left, 2 right) of lung near each voxel of a coarse grid; all 0 without lung."""
    array, spacing_mm = labels.labels, labels.geometry.spacing_mm
    grid = CoarseGrid.of(array.shape, spacing_mm)
    coarse = grid.take(array)
    lung = (coarse > Label.BACKGROUND) & (coarse < Label.IGNORE)
    if not lung.any():
        grid = CoarseGrid.of(array.shape, spacing_mm, target_mm=0.0)
        coarse = array
        lung = (coarse > Label.BACKGROUND) & (coarse < Label.IGNORE)
    known = np.where(coarse <= Label.RIGHT_LUNG, coarse, np.uint8(0))
    sides = split_sides(lung, grid.spacing_mm, known=known)
    if not sides.any():
        return grid, sides
    # Lung so thin that it fell between the samples takes the side of its neighbour.
    nearest = ndimage.distance_transform_edt(
        sides == 0, sampling=grid.spacing_mm, return_distances=False, return_indices=True
    )
    return grid, sides[tuple(nearest)]
