"""NRRD (attached or detached header): voxels with an LPS affine.

Read here and not by ITK, which gives a file that states no orientation an identity one and does
not compare the checksum of packed voxels. Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Affine
from napari_covseg.io.raw import (
    RawImage,
    check_size,
    companion,
    native_geometry,
    numbers,
    three_sizes,
    to_canonical,
)
from napari_covseg.io.sniff import readable
from napari_covseg.io.stored import Inflater, read_voxels

_HEADER_BYTES = 2**20
_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
}
"""What turns each space into LPS."""
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(
        ("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"
    ),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"
    ),
    **dict.fromkeys(
        ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"
    ),
    "float": "f4",
    "double": "f8",
}
_PACKED_BY = {"raw": 1, "gzip": 1032, "gz": 1032, "bzip2": 50_000, "bz2": 50_000}
"""The encodings that are read, and the most bytes that one stored byte can become."""


def read_nrrd(path: Path) -> RawImage:
    """The voxels and grid; ``fields`` are the header's (names in lower case).

    Raises
    ------
    InputError
        If the file is damaged, truncated, not 3D, states no orientation in patient space, or is
        in an encoding that is not read.
    """
    with readable(path):
        fields, end = _fields(path)
        sizes, vectors = _axes(path.name, fields)
        shape = three_sizes(path.name, sizes)
        grid = native_geometry(path.name, shape, _affine(path.name, fields, vectors))
        values = _voxels(path, fields, grid.shape, end)
    turned, canonical, to_native = to_canonical(values, grid)
    return RawImage(turned, canonical, to_native, "NRRD", fields=fields)


def read_nrrd_layers(path: Path) -> list[RawImage]:
    """As `read_nrrd`, one image for each layer that overlapping segments of 3D Slicer need.

    Layers are the entries of a first axis of kind ``list``; a file without one has one layer.

    Raises
    ------
    InputError
        As `read_nrrd`.
    """
    with readable(path):
        fields, end = _fields(path)
        kinds = fields.get("kinds", "").split()
        sizes = fields["sizes"].split()
        if len(sizes) != 4 or kinds[:1] != ["list"] or sizes[0] == "1":
            return [read_nrrd(path)]
        counts = [int(size) for size in numbers(path.name, fields["sizes"], whole=True)]
        vectors = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
        shape = three_sizes(path.name, counts[1:])
        grid = native_geometry(path.name, shape, _affine(path.name, fields, vectors[1:]))
        values = _voxels(path, fields, (*grid.shape, counts[0]), end)
    layers = []
    for number in range(counts[0]):
        turned, canonical, to_native = to_canonical(values[..., number], grid)
        layers.append(RawImage(turned, canonical, to_native, "NRRD", fields=fields))
    return layers


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Every field and key by its name, and where the header ends."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", start)
    text = (start[: end.start()] if end else start).decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        field = re.match(r"([^#:][^:]*?)\s*:=?\s?(.*)$", line)
        if field:
            fields[field[1].strip().lower()] = field[2].strip()
    if not {"sizes", "type"} <= fields.keys():
        raise InputError(f"{path.name}: truncated or damaged: its NRRD header is incomplete")
    return fields, end.end() if end else len(start)


def _axes(name: str, fields: Mapping[str, str]) -> tuple[list[int], list[str]]:
    """Sizes and direction vectors of the axes, less axes of one entry outside space."""
    sizes = [int(size) for size in numbers(name, fields["sizes"], whole=True)]
    vectors = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    if len(vectors) != len(sizes):
        return sizes, []
    kept = [i for i, vector in enumerate(vectors) if vector != "none" or sizes[i] > 1]
    if len(kept) == 4 and "none" in vectors and "list" in fields.get("kinds", ""):
        raise InputError(
            f"{name}: overlapping segments in several layers; expected one layer, so export it "
            "as a label map"
        )
    return [sizes[i] for i in kept], [vectors[i] for i in kept]


def _affine(name: str, fields: Mapping[str, str], vectors: list[str]) -> Affine:
    turn = _SPACES.get(fields.get("space", "").lower())
    columns = [numbers(name, vector.strip("()").replace(",", " ")) for vector in vectors]
    if turn is None or len(columns) < 3 or any(len(column) != 3 for column in columns):
        raise InputError(
            f"{name}: no orientation (space and space directions), so left and right cannot be "
            "told; save it with its patient orientation"
        )
    affine = np.eye(4)
    affine[:3, :3] = np.transpose(columns[:3])
    origin = numbers(name, fields.get("space origin", "(0,0,0)").strip("()").replace(",", " "))
    affine[:3, 3] = origin if len(origin) == 3 else np.nan
    return np.asarray(np.diag([*turn, 1.0]) @ affine)


def _voxels(path: Path, fields: Mapping[str, str], shape: tuple[int, ...], end: int) -> NDArray:
    name = path.name
    dtype = _dtype(name, fields)
    encoding = fields.get("encoding", "raw").lower()
    if encoding not in _PACKED_BY:
        raise InputError(f"{name}: encoding {encoding!r} is not read; save it as raw or gzip")
    if fields.get("line skip", "0") != "0":
        raise InputError(f"{name}: a line skip is not read; save it with an attached header")
    named = fields.get("data file") or fields.get("datafile")
    data = companion(path, named) if named else path
    size, offset = data.stat().st_size, 0 if named else end
    wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
    check_size(name, shape, dtype.itemsize, (size - offset) * _PACKED_BY[encoding])
    skip = int(numbers(name, fields.get("byte skip", "0"), whole=True)[0])
    with data.open("rb") as file:
        if encoding == "raw":
            file.seek(size - wanted if skip == -1 else offset + skip)
            return read_voxels(file, name, shape, dtype)
        file.seek(offset)
        packed = bz2.BZ2File(file) if encoding.startswith("bz") else Inflater(file)
        packed.read(max(0, skip))
        try:
            return read_voxels(packed, name, shape, dtype)
        except OSError:
            raise InputError(f"{name}: damaged: its packed voxels cannot be read") from None


def _dtype(name: str, fields: Mapping[str, str]) -> np.dtype:
    kind = _TYPES.get(fields["type"].lower())
    if kind is None:
        raise InputError(f"{name}: voxels of type {fields['type']!r}; expected numbers")
    return np.dtype((">" if fields.get("endian", "").lower() == "big" else "<") + kind)
