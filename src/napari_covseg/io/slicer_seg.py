"""Segmentations of 3D Slicer (``.seg.nrrd``): named segments, also overlapping or cropped.

Written by `write_labels`. Format: the comments of vtkMRMLSegmentationStorageNode.h in Slicer's
source. A segment is where its layer has its label value; Slicer crops files to what is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label, label_by_name
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.inputs import case_name
from napari_covseg.io.nrrd import read_nrrd_layers
from napari_covseg.io.raw import RawImage
from napari_covseg.io.segments import label_of_segment

_RANK: Mapping[Label, int] = {
    Label.BACKGROUND: -1,
    Label.LUNG: 0,
    Label.LEFT_LUNG: 1,
    Label.RIGHT_LUNG: 1,
    Label.INFECTION: 2,
    Label.GGO: 3,
    Label.CONSOLIDATION: 3,
    Label.IGNORE: 4,
}
"""Which of two overlapping segments wins: a lesion over its lung, a side over both lungs."""
_TOLERANCE = 0.05
"""Of a voxel, at the far end of the grid."""
_HEADER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as its file has it; ``number`` counts from 1."""

    number: int
    name: str
    layer: int
    value: int


def is_slicer_seg(path: Path) -> bool:
    """Whether the header of an NRRD names segments, as 3D Slicer does."""
    with path.open("rb") as file:
        return bool(re.search(rb"^Segment\d+_Name:=", file.read(_HEADER_BYTES), re.M))


def read_slicer_seg(
    path: Path, *, grid: Geometry | None = None, label_map: Mapping[int, Label] | None = None
) -> LabelMap:
    """A ``.seg.nrrd`` as labels.

    Where segments overlap, lesions win over lungs, a side over both lungs, GGO and consolidation
    over infection; where they contradict each other the later one wins, with a warning.

    Parameters
    ----------
    path
        The file.
    grid
        The CT's grid, to which a cropped segmentation is put back; else the file's own.
    label_map
        Label value to label or, for a file of several layers, the number of the segment from 1.
        Without it the segments' names say what they are.

    Raises
    ------
    InputError
        If the file is damaged, has segments without a meaning, or does not lie on the grid.
    """
    layers = read_nrrd_layers(path)
    segments = _drawn(path.name, layers, find_segments(layers))
    meaning = _meaning(path.name, segments, len(layers), label_map)
    first = layers[0]
    labels, notes = _painted(layers, segments, meaning)
    made = LabelMap(
        labels,
        first.geometry,
        case_name(path),
        first.to_native,
        (*first.warnings, *notes),
    )
    return made if grid is None or made.geometry.same_as(grid) else _placed(path.name, made, grid)


def find_segments(layers: Sequence[RawImage]) -> list[Segment]:
    """The segments that a header names, in order; none where the file is not Slicer's."""
    fields = layers[0].fields
    found = []
    numbers = sorted(
        int(match[1]) for key in fields if (match := re.fullmatch(r"segment(\d+)_name", key))
    )
    for place, index in enumerate(numbers):
        # Before Slicer 4.11 each segment was a layer of its own, without saying so.
        layer = fields.get(f"segment{index}_layer", str(place if len(layers) > 1 else 0))
        value = fields.get(f"segment{index}_labelvalue", "1")
        if layer.isdecimal() and value.isdecimal() and int(layer) < len(layers):
            name = fields[f"segment{index}_name"]
            found.append(Segment(place + 1, name, int(layer), int(value)))
    return found


def _drawn(name: str, layers: Sequence[RawImage], segments: list[Segment]) -> list[Segment]:
    """The segments that have voxels; voxels without a segment would be lost without a word."""
    found: set[tuple[int, int]] = set()
    for number, layer in enumerate(layers):
        present = {int(value) for value in np.unique(layer.values) if value}
        unknown = present - {s.value for s in segments if s.layer == number}
        if unknown:
            raise InputError(
                f"{name}: voxels of value {min(unknown)} belong to no segment; save it again from "
                "3D Slicer"
            )
        found |= {(number, value) for value in present}
    return [s for s in segments if (s.layer, s.value) in found]


def _meaning(
    name: str, segments: list[Segment], layers: int, label_map: Mapping[int, Label] | None
) -> dict[int, Label]:
    """The label of each segment, by its number."""
    if label_map is not None:
        keys = {s.number: s.number if layers > 1 else s.value for s in segments}
        lost = [s for s in segments if keys[s.number] not in label_map]
        meaning = {s.number: label_map[keys[s.number]] for s in segments if s not in lost}
    else:
        told = {s.number: _label_of(s.name) for s in segments}
        lost = [s for s in segments if told[s.number] is None]
        meaning = {number: label for number, label in told.items() if label is not None}
    if lost:
        listed = ", ".join(f"{s.number if layers > 1 else s.value} {s.name!r}" for s in lost)
        raise InputError(
            f"{name}: not all segments are lungs or lesions: {listed}; say what they are with "
            "--label-map NAME=ID, such as ggo=1,background=2"
        )
    return meaning


def _label_of(title: str) -> Label | None:
    try:
        return label_by_name(title)
    except KeyError:
        return label_of_segment((title,))


def _painted(
    layers: Sequence[RawImage], segments: list[Segment], meaning: Mapping[int, Label]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    labels = np.zeros(layers[0].geometry.shape, np.uint8)
    ranks = np.full(labels.shape, -1, np.int8)
    contradictions, notes = 0, list[str]()
    for segment in sorted(segments, key=lambda s: (_RANK[meaning[s.number]], s.number)):
        label = meaning[segment.number]
        if label is Label.BACKGROUND:
            notes.append(f"segment {segment.number} of the file counts as background")
            continue
        where = layers[segment.layer].values == segment.value
        contradictions += int(np.count_nonzero(where & (ranks == _RANK[label]) & (labels != label)))
        labels[where], ranks[where] = label, _RANK[label]
    if contradictions:
        notes.append(
            f"segments contradict each other in {contradictions} voxels: the later one was taken"
        )
    return labels, tuple(notes)


def _placed(name: str, labels: LabelMap, grid: Geometry) -> LabelMap:
    """Labels drawn in a part of the grid, or a little beyond it, on the whole of it."""
    offset = _offset(labels.geometry, grid)
    if offset is None:
        raise InputError(
            f"{name}: it was drawn on another grid than the CT's; in 3D Slicer choose the CT as "
            "the segmentation's source volume (Specify geometry) and save it again"
        )
    whole = np.zeros(grid.shape, np.uint8)
    inside = [slice(max(0, o), max(0, min(n, o + m))) for o, n, m in _axes(offset, labels, grid)]
    source = tuple(slice(s.start - o, s.stop - o) for s, o in zip(inside, offset, strict=True))
    whole[tuple(inside)] = labels.labels[source]
    if np.count_nonzero(whole) != np.count_nonzero(labels.labels):
        raise InputError(f"{name}: some of it lies outside the CT; is it of another scan?")
    return LabelMap(whole, grid, labels.case, labels.to_native, labels.warnings)


def _axes(
    offset: tuple[int, int, int], labels: LabelMap, grid: Geometry
) -> list[tuple[int, int, int]]:
    return list(zip(offset, grid.shape, labels.geometry.shape, strict=True))


def _offset(part: Geometry, grid: Geometry) -> tuple[int, int, int] | None:
    """The ``(z, y, x)`` index in ``grid`` of the first voxel of ``part``; None if voxels differ."""
    between = np.linalg.inv(grid.affine) @ part.affine
    longest = max(part.shape)
    if np.abs(between[:3, :3] - np.eye(3)).max() * longest > _TOLERANCE:
        return None
    x, y, z = between[:3, 3]
    whole = tuple(round(float(value)) for value in (z, y, x))
    if max(abs(w - v) for w, v in zip(whole, (z, y, x), strict=True)) > _TOLERANCE:
        return None
    return whole[0], whole[1], whole[2]
