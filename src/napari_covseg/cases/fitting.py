"""Whether new labels fit their case: its grid, its versions, its slices."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from napari_covseg.cases.records import LabelVersion
from napari_covseg.cases.rows import find_version, version_record
from napari_covseg.cases.schema import CaseRow
from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.geometry import Geometry, Reorientation
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap

_MOST_AFFINE_MM = 0.05


def find_parent(session: Session, case: CaseRow, identity: str | None) -> LabelVersion | None:
    """The version of the case that new labels start from; None if from nothing.

    Raises
    ------
    InputError
        If there is no such version.
    UsageError
        If it is of another case.
    """
    if identity is None:
        return None
    row = find_version(session, identity)
    if row.case_id != case.id:
        raise UsageError(f"{case.name}: version {identity[:8]} is of another case")
    return version_record(row)


def on_grid(
    case: str, labels: LabelMap | NDArray[np.uint8], geometry: Geometry, to_native: Reorientation
) -> LabelMap:
    """The labels on the grid of the case's image (``geometry``).

    Raises
    ------
    InputError
        If they lie on another grid, or hold other values than `Label`.
    """
    array = labels.labels if isinstance(labels, LabelMap) else labels
    if array.shape != geometry.shape:
        here, there = (" x ".join(map(str, shape[::-1])) for shape in (array.shape, geometry.shape))
        raise InputError(
            f"{case}: the label map has {here} voxels (x, y, z), its image {there}; labels must "
            "lie on their image's grid"
        )
    if isinstance(labels, LabelMap) and not labels.geometry.same_as(geometry, _MOST_AFFINE_MM):
        apart = float(np.abs(labels.geometry.corners_mm() - geometry.corners_mm()).max())
        raise InputError(
            f"{case}: the label map lies up to {apart:.1f} mm beside its image; labels must lie on "
            "their image's grid"
        )
    if array.dtype != np.uint8 or (array.size and int(array.max()) > max(Label)):
        raise InputError(f"{case}: the label map holds other values than labels 0 to {max(Label)}")
    return LabelMap(np.ascontiguousarray(array), geometry, case, to_native)


def checked_slices(
    reviewed: Iterable[int] | None, before: LabelVersion | None, labels: LabelMap
) -> frozenset[int]:
    """The slices that a person has checked; without a word, those of the parent.

    Raises
    ------
    UsageError
        If the image has no such slice.
    """
    if reviewed is None:
        return before.reviewed if before else frozenset()
    slices = frozenset(int(one) for one in reviewed)
    count = labels.geometry.shape[0]
    wrong = sorted(one for one in slices if not 0 <= one < count)
    if wrong:
        raise UsageError(f"{labels.case}: there is no slice {wrong[0]}; it has 0 to {count - 1}")
    return slices
