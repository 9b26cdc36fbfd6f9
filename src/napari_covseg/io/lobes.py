"""A lobe file to a `LobeMap`, by the names of its lobes: numbers alone mean nothing here.

Schemes differ in their numbers (1 to 5 in one, 10 to 14 in another, which in a third are thirds of
the lungs), so names must come from a ``.seg.nrrd`` or from the user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.lobes import Lobe, LobeMap, lobe_by_name
from napari_covseg.io.raw import RawImage
from napari_covseg.io.read import read_raw
from napari_covseg.io.sniff import Kind, readable, sniff

_EXAMPLE = (
    '"left upper lobe=1,left lower lobe=2,right upper lobe=3,right middle lobe=4,'
    'right lower lobe=5"'
)


def parse_lobe_map(text: str) -> dict[int, Lobe]:
    """What ``NAME=ID[+ID],...`` says each number in a lobe file means, such as ``LUL=1,LLL=2``.

    Raises
    ------
    UsageError
        If a name is no lobe's, a number is not one, or a number is given twice.
    """
    mapping: dict[int, Lobe] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, numbers = part.partition("=")
        try:
            lobe = lobe_by_name(name)
        except KeyError:
            raise UsageError(f"lobes: {name.strip()!r} is no lobe; expected {_EXAMPLE}") from None
        for number in numbers.split("+"):
            if not number.strip().isdecimal() or int(number) == 0:
                raise UsageError(f"lobes {part!r}: expected NAME=ID with an ID of 1 or more")
            if mapping.setdefault(int(number), lobe) is not lobe:
                raise UsageError(f"lobes: {int(number)} is given two meanings")
    if not mapping:
        raise UsageError(f"no lobes are given: expected {_EXAMPLE}")
    return mapping


def read_lobes(path: str | Path, lobe_map: Mapping[int, Lobe] | None = None) -> LobeMap:
    """Read a lobe file; numbers without a lobe's name (vessels, airways) are no lobe.

    Parameters
    ----------
    path
        A NIfTI, NRRD (also ``.seg.nrrd``) or MetaImage file.
    lobe_map
        What its numbers mean (`parse_lobe_map`). Without it, the names in a ``.seg.nrrd`` say so.

    Raises
    ------
    InputError
        If the file cannot be read, says nothing about what its numbers mean, or holds no lobe.
    """
    path = Path(path)
    kind = sniff(path)
    if kind is Kind.DICOM:
        raise InputError(f"{path.name}: lobes in DICOM are not read; save them as NIfTI or NRRD")
    with readable(path):
        raw = read_raw(path, kind)
        named = lobe_map or _named(raw)
        if not named:
            raise InputError(
                f"{path.name}: it does not say which number is which lobe; say so, such as "
                f"{_EXAMPLE}"
            )
        lobes = np.zeros(raw.values.shape, np.uint8)
        for found, plane in zip(lobes, raw.values, strict=True):
            for value, lobe in named.items():
                found[plane * raw.slope + raw.inter == value] = lobe
    if not lobes.any():
        numbers = ", ".join(str(value) for value in sorted(named))
        raise InputError(f"{path.name}: none of the numbers {numbers} is in it, so no lobe is")
    return LobeMap(lobes, raw.geometry, raw.warnings, path.name)


def _named(raw: RawImage) -> dict[int, Lobe]:
    """The lobes that a ``.seg.nrrd`` (3D Slicer) names."""
    mapping: dict[int, Lobe] = {}
    for key, title in raw.fields.items():
        found = re.fullmatch(r"segment(\d+)_name", key)
        value = raw.fields.get(f"segment{found[1]}_labelvalue", "") if found else ""
        if not value.isdecimal():
            continue
        try:
            mapping[int(value)] = lobe_by_name(title)
        except KeyError:
            continue
    return mapping
