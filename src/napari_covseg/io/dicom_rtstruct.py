"""DICOM RT Structure Sets to a `LabelMap`: contours filled on the slices they were drawn on.

A structure set has no voxels of its own, so it is read onto its CT. What its structures are is
told as for segments of a DICOM SEG: by name and code, or by a map given for the file at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.contours import Filled, filled
from napari_covseg.io.dicom_rtstruct_file import (
    CLOSED,
    Structure,
    StructureSet,
    load_structures,
)
from napari_covseg.io.dicom_rtstruct_planes import Misplaced, NotOnSlices, Planes
from napari_covseg.io.dicom_source import open_source
from napari_covseg.io.dicom_values import text
from napari_covseg.io.segments import (
    general_first,
    label_of_segment,
    labels_of_segments,
    overlap_note,
    paint,
)
from napari_covseg.io.sniff import Kind, sniff

_OTHER_SERIES = "the contours were drawn on another series of this frame of reference"
_NO_FRAME = (
    "no frame of reference is told, and the contours do not name this series: that they are of "
    "this scan is not checked"
)
_WHY: Mapping[Misplaced, str] = {
    "outside": "its contours lie outside the slices of the scan",
    "between": "its contours lie between the slices of the scan, or across them",
    "beside": "its contours lie beside the pictures of the scan",
}


@dataclass(frozen=True, slots=True, eq=False)
class ScanGrid:
    """The CT that contours are read onto.

    ``geometry`` is its canonical grid; ``path`` and ``series`` (a UID) are where it was read from,
    as far as that is known: a DICOM series also says which frame of reference it lies in.
    """

    geometry: Geometry
    path: Path | None = None
    series: str | None = None


def read_rtstruct(
    path: str | Path,
    scan: ScanGrid,
    label_map: Mapping[int, Label] | None = None,
    *,
    known_only: bool = False,
) -> LabelMap:
    """The structures of an RTSTRUCT as labels on the grid of a scan.

    A pixel belongs to a structure if its centre lies inside its contours, or on their line. Where
    several contours of a structure cover a pixel, an even number of them makes a hole, as
    CLOSEDPLANAR_XOR means and most programs take CLOSED_PLANAR; a keyhole is a hole as well.
    Structures that overlap become labels as segments of a SEG do.

    Parameters
    ----------
    path
        The RTSTRUCT file.
    scan
        The CT. If it is DICOM, contours are laid on its slices as they were acquired (tilted and
        uneven ones too) and must be of its frame of reference. Else they must lie on the slices of
        its grid, which a warning tells to be all that could be checked.
    label_map
        Number of a structure to label; those it does not name are left out, with a warning.
        Without it all structures that have contours must be known by name or code.
    known_only
        Leave out structures of unknown names, with a warning, if any is known: for looking, not
        for measuring.

    Raises
    ------
    InputError
        If it cannot be read, a structure has no label here, it was drawn in another frame of
        reference, or contours lie off the slices.
    """
    path = Path(path)
    structures = load_structures(path)
    values, notes = _values(structures, label_map, known_only)
    chosen = [one for one in structures.structures if one.number in values]
    planes, case, more = _planes(structures, chosen, scan)
    labels, further = _painted(structures.name, chosen, values, planes)
    grid = planes.to_grid(labels)
    warnings = (*notes, *more, *further)
    return LabelMap(np.ascontiguousarray(grid), planes.geometry, case, warnings=warnings)


def _values(
    found: StructureSet, label_map: Mapping[int, Label] | None, known_only: bool
) -> tuple[dict[int, int], list[str]]:
    """Number of a structure to the value its voxels get, and notes."""
    texts = {one.number: one.texts for one in found.structures}
    notes: list[str] = []
    if label_map is None:
        drawn = {one.number for one in found.structures if one.contours}
        if not drawn:
            raise InputError(f"{found.name}: none of its structures has a closed contour")
        empty = {number: own for number, own in texts.items() if number not in drawn}
        texts = {number: own for number, own in texts.items() if number in drawn}
        notes = _not_drawn(empty)
        known = {number for number, own in texts.items() if label_of_segment(own) is not None}
        if known_only and known:
            others = [f"{own[0]!r}" for number, own in texts.items() if number not in known]
            notes += [f"structures left out: {', '.join(others)}"] if others else []
            texts = {number: texts[number] for number in known}
    values, more = labels_of_segments(texts, label_map, found.name, "structure")
    return values, notes + more


def _not_drawn(empty: Mapping[int, tuple[str, ...]]) -> list[str]:
    """That a lung or lesion is named but not drawn: nobody may take that for none found."""
    named = [f"{own[0]!r}" for own in empty.values() if label_of_segment(own) is not None]
    return [f"structures without a closed contour: {', '.join(named)}"] if named else []


def _planes(
    found: StructureSet, chosen: list[Structure], scan: ScanGrid
) -> tuple[Planes, str, list[str]]:
    """The slices to fill contours on, the case, and notes."""
    if scan.path is None or sniff(scan.path) is not Kind.DICOM:
        points = [points for one in chosen for _, points in one.contours]
        note = "the scan is no DICOM series: that the contours are of this patient is not checked"
        return Planes.of_grid(scan.geometry, points), found.case, [note]
    source = open_source(
        scan.path, scan.geometry, series=scan.series, case=found.case, referable=False
    )
    own = text(source.header, "FrameOfReferenceUID")
    _check_frame(found, chosen, own, source.name)
    notes = []
    if source.case != found.case:
        told = own and all(one.frame_of_reference for one in chosen)
        if not told:
            notes = [_NO_FRAME]
        elif found.series:
            notes = [_OTHER_SERIES]
    return Planes.of_series(source), source.case, notes


def _check_frame(found: StructureSet, chosen: list[Structure], own: str, scan: str) -> None:
    for one in chosen:
        if one.contours and own and one.frame_of_reference not in ("", own):
            raise InputError(
                f"{found.name}: its contours lie in another frame of reference than "
                f"{scan}: they are of another scan or patient; name the CT they were "
                "drawn on"
            )


def _painted(
    name: str, chosen: list[Structure], values: Mapping[int, int], planes: Planes
) -> tuple[NDArray[np.uint8], list[str]]:
    """Labels ``(slices, rows, columns)``, and notes."""
    labels = np.zeros((len(planes.origins), *planes.size), np.uint8)
    by_number = {one.number: one for one in chosen}
    contradicted = doubled = 0
    for number in general_first(values):
        masks, covered = structure_masks(name, by_number[number], planes)
        doubled += covered
        for k, mask in masks.items():
            contradicted += paint(labels[k], mask, values[number])
    notes = []
    if left_out := sum(one.left_out for one in chosen):
        notes.append(f"{left_out} points or open lines are no contours: left out")
    if doubled:
        notes.append(
            f"contours of one structure lie over one another in {doubled} places of slices: what "
            "two of them cover counts as a hole"
        )
    if contradicted:
        notes.append(overlap_note(contradicted, "structure"))
    return labels, notes


def structure_masks(
    name: str, structure: Structure, planes: Planes
) -> tuple[dict[int, NDArray[np.bool_]], int]:
    """The pixels inside a structure on each slice it is on; how many plain contours overlapped.

    Raises
    ------
    InputError
        If a contour lies off the slices.
    """
    masks: dict[int, NDArray[np.bool_]] = {}
    borders: list[tuple[int, Filled]] = []
    doubled = 0
    for kind, points in structure.contours:
        try:
            k, pixels = planes.place(points)
        except NotOnSlices as problem:
            raise InputError(
                f"{name}: structure {structure.number} {structure.texts[0]!r}: "
                f"{_WHY[problem.why]}; name the CT they were drawn on"
            ) from None
        found = filled(pixels, planes.size)
        if k not in masks:
            masks[k] = np.zeros(planes.size, np.bool_)
        part = masks[k][found.where]
        doubled += kind == CLOSED and bool((part & found.inside).any())
        part ^= found.inside
        borders.append((k, found))
    # A line belongs to the structure, that of a hole too: those who draw along pixels do so there.
    for k, found in borders:
        masks[k][found.where] |= found.border
    return masks, doubled
