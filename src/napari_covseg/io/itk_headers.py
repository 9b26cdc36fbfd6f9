"""The text headers of NRRD and MetaImage: what must hold before the voxels are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Shape
from napari_covseg.io.raw import check_size

_HEADER_BYTES = 2**20
_NRRD_SPACES = {
    *("left-posterior-superior", "lps"),
    *("right-anterior-superior", "ras"),
    *("left-anterior-superior", "las"),
}
_ITEMSIZE = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "unsigned char", "uchar", "uint8"), 1),
    **dict.fromkeys(("uint8_t", "met_char", "met_uchar"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16"), 2),
    **dict.fromkeys(("int16_t", "ushort", "unsigned short", "unsigned short int", "uint16"), 2),
    **dict.fromkeys(("uint16_t", "met_short", "met_ushort"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int"), 4),
    **dict.fromkeys(("uint32", "uint32_t", "float", "met_int", "met_uint", "met_float"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), 8),
    **dict.fromkeys(("signed long long int", "int64", "int64_t", "ulonglong", "double"), 8),
    **dict.fromkeys(("unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
    **dict.fromkeys(("met_long_long", "met_ulong_long", "met_double", "met_long", "met_ulong"), 8),
}
_PACKED_BY = {"gzip": 1032, "gz": 1032, "zlib": 1032, "bzip2": 50_000, "bz2": 50_000}
"""The most bytes that one packed byte can become, by encoding."""


@dataclass(frozen=True, slots=True)
class TextHeader:
    """The sizes, ``(z, y, x)``, and every field by its name as written (keys lower case)."""

    shape: Shape
    fields: Mapping[str, str]


def read_nrrd_header(path: Path) -> TextHeader:
    """The header of an NRRD file (attached or detached), checked.

    Raises
    ------
    InputError
        If it is damaged, not 3D, has no orientation in patient space, or its voxels are missing.
    """
    name = path.name
    fields = _nrrd_fields(path)
    sizes = _whole_numbers(name, fields.get("sizes", ""))
    if len(sizes) == 4 and "list" in fields.get("kinds", ""):
        raise InputError(
            f"{name}: overlapping segments in several layers; expected one layer, so export it "
            "as a label map"
        )
    shape = _three(name, sizes)
    space = fields.get("space", "").lower()
    if space not in _NRRD_SPACES or "none" in fields.get("space directions", "none"):
        raise InputError(
            f"{name}: no orientation (space and space directions), so left and right cannot be "
            "told; save it with its patient orientation"
        )
    itemsize = _itemsize(name, fields.get("type", ""))
    data = _data_file(path, fields.get("data file") or fields.get("datafile") or "LOCAL")
    ratio = _PACKED_BY.get(fields.get("encoding", "raw").lower(), 1)
    check_size(name, shape, itemsize, data.stat().st_size * ratio)
    return TextHeader(shape, fields)


def read_metaimage_header(path: Path) -> TextHeader:
    """The header of an MHA or MHD file, checked.

    Raises
    ------
    InputError
        If it is damaged, not 3D, colour, states no orientation or spacing, or its voxels are
        missing.
    """
    name = path.name
    fields = _metaimage_fields(path)
    shape = _three(name, _whole_numbers(name, fields.get("dimsize", "")))
    if fields.get("elementnumberofchannels", "1").strip() != "1":
        raise InputError(f"{name}: several values a voxel; expected one grey value (HU) a voxel")
    turned = {"transformmatrix", "rotation", "orientation"} & fields.keys()
    spaced = {"elementspacing", "elementsize"} & fields.keys()
    if not turned or not spaced:
        missing = "TransformMatrix" if not turned else "ElementSpacing"
        raise InputError(
            f"{name}: its header has no {missing}, so its geometry is unknown; save it with its "
            "patient orientation and spacing"
        )
    itemsize = _itemsize(name, fields.get("elementtype", ""))
    data = _data_file(path, fields["elementdatafile"])
    size = data.stat().st_size
    packed = fields.get("compresseddata", "false").lower() == "true"
    claimed = fields.get("compresseddatasize", "0")
    if packed and claimed.isdecimal() and int(claimed) > size:
        raise InputError(f"{name}: truncated: {claimed} bytes of voxels promised, {size} are there")
    check_size(name, shape, itemsize, size * (_PACKED_BY["zlib"] if packed else 1))
    return TextHeader(shape, fields)


def _nrrd_fields(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", start)
    text = (start[: end.start()] if end else start).decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        field = re.match(r"([^#:][^:]*?)\s*:=?\s?(.*)$", line)
        if field:
            fields[field[1].strip().lower()] = field[2].strip()
    if "sizes" not in fields:
        raise InputError(f"{path.name}: truncated or damaged: its NRRD header has no sizes")
    return fields


def _metaimage_fields(path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    for line in start.split(b"\n"):
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals:
            break
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            return fields
    raise InputError(f"{path.name}: truncated or damaged: its MetaImage header has no end")


def _whole_numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split())
    except ValueError:
        raise InputError(f"{name}: its header is damaged (sizes: {text!r})") from None


def _three(name: str, sizes: tuple[int, ...]) -> Shape:
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if len(sizes) != 3 or min(sizes) < 1:
        text = " x ".join(map(str, sizes)) or "no sizes"
        raise InputError(f"{name}: {len(sizes)}D ({text}); expected one 3D volume of grey values")
    x, y, z = sizes
    return (z, y, x)


def _itemsize(name: str, kind: str) -> int:
    try:
        return _ITEMSIZE[kind.lower()]
    except KeyError:
        raise InputError(f"{name}: voxels of type {kind!r}; expected numbers") from None


def _data_file(path: Path, named: str) -> Path:
    """The file that holds the voxels: ``path`` itself, or its one companion."""
    if named.upper() == "LOCAL":
        return path
    if named.upper().startswith("LIST") or "%" in named:
        raise InputError(f"{path.name}: its voxels are spread over several files; save it as one")
    data = path.parent / named
    if not data.is_file():
        raise InputError(f"{path.name}: its voxels should be in {data.name}, which is missing")
    return data
