"""Volumes out of a tally, in the form that tables and reports know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import LESION_LABELS, LUNG_LABELS, Label

if TYPE_CHECKING:
    from napari_covseg.editing.tally import Tally
    from napari_covseg.quantify.volumes import Measurements, SideMeasurements


def measurements_of(tally: Tally, voxel_ml: float) -> Measurements:
    """Volumes by side and class. What was painted outside the lungs counts for both only.

    `napari_covseg.quantify.volumes.measure` gives such lesions the nearest side, for which the
    whole volume has to be looked at.
    """
    from napari_covseg.quantify.volumes import Measurements

    unknown, left, right = tally.by_side()
    both = unknown + left + right
    return Measurements(
        left=_side(left, voxel_ml),
        right=_side(right, voxel_ml),
        both=_side(both, voxel_ml),
        slice_with_most_lesion=None,
        voxel_ml=voxel_ml,
    )


def _side(counts: NDArray[np.int64], voxel_ml: float) -> SideMeasurements:
    from napari_covseg.quantify.volumes import SideMeasurements

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
