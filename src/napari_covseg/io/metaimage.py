"""MetaImage (``.mha``, ``.mhd`` with its raw file): voxels with an LPS affine.

Read here and not by ITK, which takes an identity orientation where none is stated and does not
compare the checksum of packed voxels. Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

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

_HEADER_BYTES = 2**16
_DEFLATE_BEST = 1032
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def read_metaimage(path: Path) -> RawImage:
    """The voxels and grid; ``fields`` are the header's (names in lower case).

    Raises
    ------
    InputError
        If the file is damaged, truncated, not 3D, has several values a voxel, or states no
        orientation or spacing.
    """
    with readable(path):
        fields, end = _fields(path)
        shape = three_sizes(path.name, numbers(path.name, fields.get("dimsize", ""), whole=True))
        if fields.get("elementnumberofchannels", "1") != "1":
            raise InputError(
                f"{path.name}: several values a voxel; expected one grey value (HU) a voxel"
            )
        grid = native_geometry(path.name, shape, _affine(path.name, fields))
        values = _voxels(path, fields, shape, end)
    turned, canonical, to_native = to_canonical(values, grid)
    return RawImage(turned, canonical, to_native, "MetaImage", fields=fields)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Every field by its name, and where the header ends."""
    fields: dict[str, str] = {}
    end = 0
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    for line in start.splitlines(keepends=True):
        end += len(line)
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals:
            break
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile" and line.endswith(b"\n"):
            return fields, end
    raise InputError(f"{path.name}: truncated or damaged: its MetaImage header has no end")


def _affine(name: str, fields: Mapping[str, str]) -> Affine:
    matrix = _first(fields, "transformmatrix", "rotation", "orientation")
    spacing = _first(fields, "elementspacing", "elementsize")
    if not matrix or not spacing:
        missing = "ElementSpacing" if matrix else "TransformMatrix"
        raise InputError(
            f"{name}: its header has no {missing}, so its geometry is unknown; save it with its "
            "patient orientation and spacing"
        )
    columns, steps = numbers(name, matrix), numbers(name, spacing)
    origin = numbers(name, _first(fields, "offset", "position", "origin") or "0 0 0")
    if (len(columns), len(steps), len(origin)) != (9, 3, 3):
        raise InputError(f"{name}: its header is damaged: its geometry is not that of 3D")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(columns, (3, 3)).T * np.array(steps)
    affine[:3, 3] = origin
    return affine


def _voxels(
    path: Path, fields: Mapping[str, str], shape: tuple[int, int, int], end: int
) -> NDArray:
    name = path.name
    kind = _TYPES.get(fields.get("elementtype", "").upper())
    if kind is None or not _yes(fields, "binarydata", True):
        raise InputError(
            f"{name}: voxels of type {fields.get('elementtype')!r}; expected binary numbers"
        )
    big = _yes(fields, "binarydatabyteordermsb") or _yes(fields, "elementbyteordermsb")
    dtype = np.dtype((">" if big else "<") + kind)
    local = fields["elementdatafile"].upper() == "LOCAL"
    data = path if local else companion(path, fields["elementdatafile"])
    size, offset = data.stat().st_size, end if local else 0
    packed = _yes(fields, "compresseddata")
    check_size(name, shape, dtype.itemsize, (size - offset) * (_DEFLATE_BEST if packed else 1))
    skip = int(numbers(name, fields.get("headersize", "0"), whole=True)[0])
    if skip:
        wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
        offset = size - wanted if skip == -1 else skip
    with data.open("rb") as file:
        file.seek(offset)
        return read_voxels(Inflater(file) if packed else file, name, shape, dtype)


def _first(fields: Mapping[str, str], *names: str) -> str | None:
    return next((fields[name] for name in names if name in fields), None)


def _yes(fields: Mapping[str, str], name: str, default: bool = False) -> bool:
    return fields.get(name, str(default)).lower() in ("true", "1", "yes")
