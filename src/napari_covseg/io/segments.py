"""What segments of other programs are, by name and code, and how they become one label map.

A segment is a part of the body that may overlap others: of a DICOM SEG, a structure of an RTSTRUCT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import LESION_LABELS, Label

_LUNG_WORDS = {"lung", "lungs", "pulmonary"}
_SIDES = {
    "left": Label.LEFT_LUNG,
    "right": Label.RIGHT_LUNG,
    # As radiotherapy names them (AAPM TG-263): Lung_L, Lung_R.
    "l": Label.LEFT_LUNG,
    "r": Label.RIGHT_LUNG,
    "lt": Label.LEFT_LUNG,
    "rt": Label.RIGHT_LUNG,
}
_LUNG_FILLERS = {
    "lobe", "lobes", "upper", "middle", "lower", "of", "the", "structure", "parenchyma", "whole",
    "entire", "both", "mask", "region",
}  # fmt: skip
_LESIONS = (
    ({"ggo"}, Label.GGO),
    ({"ground", "glass"}, Label.GGO),
    ({"groundglass"}, Label.GGO),
    ({"consolidation"}, Label.CONSOLIDATION),
    ({"consolidations"}, Label.CONSOLIDATION),
    ({"infection"}, Label.INFECTION),
    ({"pneumonia"}, Label.INFECTION),
    ({"covid", "lesion"}, Label.INFECTION),
)
_RIVALS = {
    Label.LEFT_LUNG: Label.RIGHT_LUNG,
    Label.RIGHT_LUNG: Label.LEFT_LUNG,
    Label.GGO: Label.CONSOLIDATION,
    Label.CONSOLIDATION: Label.GGO,
}
"""What a voxel cannot be at once; any other two agree, the more particular of them says more."""


def label_of_segment(texts: Sequence[str]) -> Label | None:
    """The label that one of a segment's names stands for, None if none is known.

    Lungs and their lobes go by side; ``lung nodule`` or ``liver`` have no label.
    """
    for text in texts:
        words = set(re.findall(r"[a-z]+", text.lower()))
        for needed, label in _LESIONS:
            if needed <= words:
                return label
        if words & _LUNG_WORDS and words <= _LUNG_WORDS | _LUNG_FILLERS | set(_SIDES):
            sides = {label for side, label in _SIDES.items() if side in words}
            return sides.pop() if len(sides) == 1 else Label.LUNG
    return None


def labels_of_segments(
    texts: Mapping[int, Sequence[str]],
    label_map: Mapping[int, Label] | None,
    name: str,
    kind: str = "segment",
) -> tuple[dict[int, int], list[str]]:
    """Segment number to the value its voxels get, and notes on what is left out.

    Parameters
    ----------
    texts
        What each segment calls itself, its name first.
    label_map
        Segment number to label; without it every segment must be known by a name.
    name
        The file's, for errors.
    kind
        What the file calls a segment.

    Raises
    ------
    InputError
        If the label map names a segment that is not there, or a segment has no label here.
    """
    titles = {number: f"{number} {own[0]!r}" for number, own in texts.items()}
    listing = ", ".join(titles.values())
    if label_map is not None:
        if strange := sorted(set(label_map) - set(texts)):
            raise InputError(f"{name}: no {kind} {strange[0]}; it has {listing}")
        left_out = [title for number, title in titles.items() if number not in label_map]
        notes = [f"{kind}s not in the label map were left out: {', '.join(left_out)}"]
        return {n: int(label) for n, label in label_map.items()}, notes if left_out else []
    told = {number: label_of_segment(own) for number, own in texts.items()}
    known = {number: int(label) for number, label in told.items() if label is not None}
    if len(known) < len(told):
        raise InputError(
            f"{name}: not all {kind}s are lungs or lesions: {listing}; say what they are with "
            "--label-map NAME=NUMBER, such as --label-map ggo=1,consolidation=2"
        )
    return known, []


def general_first(values: Mapping[int, int]) -> list[int]:
    """Segment numbers in the order to paint them, so that the most particular label stays."""

    def rank(number: int) -> tuple[bool, bool, int]:
        label = values[number]
        return label in LESION_LABELS, label not in (Label.LUNG, Label.INFECTION), number

    return sorted(values, key=rank)


def paint(labels: NDArray[np.uint8], mask: NDArray[np.bool_], value: int) -> int:
    """Give a segment's voxels its label; how many had one that contradicts it."""
    rival = _RIVALS.get(Label(value))
    contradicted = 0 if rival is None else int(np.count_nonzero(labels[mask] == rival))
    labels[mask] = value
    return contradicted


def overlap_note(voxels: int, kind: str = "segment") -> str:
    """That segments contradict each other, and what became of it."""
    many = "1 voxel" if voxels == 1 else f"{voxels} voxels"
    return f"{kind}s overlap in {many}: the later {kind} was kept there"
