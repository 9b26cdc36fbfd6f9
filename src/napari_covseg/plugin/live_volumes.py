"""Volumes out of a tally, in the form that tables and reports know."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_covseg.editing.tally import Tally
    from napari_covseg.quantify.volumes import Measurements


def measurements_of(tally: Tally, voxel_ml: float) -> Measurements:
    """Volumes by side and class. What was painted outside the lungs counts for both only.

    `napari_covseg.quantify.volumes.measure` gives such lesions the nearest side, for which the
    whole volume has to be looked at.
    """
    from napari_covseg.quantify.volumes import Measurements, measure_side

    unknown, left, right = tally.by_side()
    both = unknown + left + right
    return Measurements(
        left=measure_side(left, voxel_ml),
        right=measure_side(right, voxel_ml),
        both=measure_side(both, voxel_ml),
        slice_with_most_lesion=None,
        voxel_ml=voxel_ml,
    )
