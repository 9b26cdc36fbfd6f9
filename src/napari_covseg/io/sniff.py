"""What a file is, told by its first bytes: names lie, and users rename."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import NoReturn

from napari_covseg.domain.errors import InputError, ResourceError

_HEAD_BYTES = 1024
_PICTURES = (
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
)


class Kind(Enum):
    """The formats that are read; the value is the name a person knows."""

    NIFTI = "NIfTI"
    NRRD = "NRRD"
    METAIMAGE = "MetaImage"
    DICOM = "DICOM"


def sniff(path: Path) -> Kind:
    """The format of a file, or `Kind.DICOM` for a folder or zip.

    Raises
    ------
    InputError
        If there is no such file, it is empty, may not be read, or is no format that is read;
        pictures (PNG, JPEG, TIFF, BMP, GIF) are named as such.
    """
    if path.is_dir():
        return Kind.DICOM
    with readable(path):
        if path.exists() and not path.is_file():
            raise InputError(f"{path.name}: neither a file nor a folder; expected a CT")
        head = head_of(path)
    if not head:
        raise InputError(f"{path.name}: the file is empty (0 bytes)")
    kind = _kind_of(head)
    if kind is None and _is_dicom(path):
        kind = Kind.DICOM
    if kind is None:
        _refuse(path, head)
    return kind


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the operating system and zlib say while reading ``path`` into our errors."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path.name}: no such file or folder") from None
    except PermissionError:
        raise InputError(f"{path.name}: permission denied, the file may not be read") from None
    except MemoryError:
        raise ResourceError(f"{path.name}: not enough memory to read it") from None
    except (EOFError, zlib.error):
        raise InputError(
            f"{path.name}: truncated or damaged: its packed content ends early or is wrong"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path.name}: could not be read ({reason})") from None


def head_of(path: Path) -> bytes:
    """The first bytes of the content, unpacked if the file is gzip.

    Raises
    ------
    InputError
        If the gzip data is damaged.
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(4 * _HEAD_BYTES)
    if head[:2] != b"\x1f\x8b":
        return head
    try:
        inner = zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error:
        raise InputError(f"{path.name}: the gzip data is damaged") from None
    return inner or head


def _kind_of(head: bytes) -> Kind | None:
    if head[344:348] in (b"n+1\x00", b"ni1\x00") or head[4:8] in (b"n+2\x00", b"ni2\x00"):
        return Kind.NIFTI
    if head[:4] == b"NRRD":
        return Kind.NRRD
    if head[128:132] == b"DICM" or head[:4] == b"PK\x03\x04":
        return Kind.DICOM
    first_line = head[:200].split(b"\n")[0]
    if b"=" in first_line and b"NDims" in head and b"\x00" not in first_line:
        return Kind.METAIMAGE
    return None


def _is_dicom(path: Path) -> bool:
    from napari_covseg.io.dicom import is_dicom

    return is_dicom(path)


def _refuse(path: Path, head: bytes) -> NoReturn:
    for magic, name in _PICTURES:
        if head.startswith(magic):
            raise InputError(
                f"{path.name}: a {name} picture has no Hounsfield units and no geometry; expected "
                "a CT as DICOM, NIfTI, NRRD or MetaImage"
            )
    raise InputError(
        f"{path.name}: not a format that is read, or damaged; expected a CT as DICOM (folder, zip "
        "or file), NIfTI, NRRD or MetaImage"
    )
