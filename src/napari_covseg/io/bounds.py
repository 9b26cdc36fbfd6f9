"""How much a file may ask for: packed data that never ends, and more memory than there is."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

from napari_covseg.domain.errors import InputError, ResourceError

MAX_RATIO = 200
"""CT slices shrink 2 to 10 times, empty ones about 100 times; bombs 1000 times."""
RATIO_FREE_BYTES = 64 * 2**20
MAX_ZIP_DIRECTORY = 16 * 2**20
"""A table of contents of some 100,000 files; a CT study has thousands."""

_CHUNK = 2**20
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_HEAD = 2**14
_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
_GIVEN_BACK = ("inactive_file", "active_file", "slab_reclaimable")


def expands_too_far(packed: int, unpacked: int) -> bool:
    """Whether so many bytes cannot have come from a CT that was packed into so few."""
    return unpacked > RATIO_FREE_BYTES and unpacked > MAX_RATIO * max(1, packed)


def check_fits(name: str, wanted_bytes: int) -> None:
    """Refuse to begin what the memory of this machine cannot hold.

    Linux promises more than it has, and kills the program that takes it at its word. Where the
    system does not say what is free nothing is refused.

    Raises
    ------
    ResourceError
        If less is free.
    """
    free = _free_bytes() if wanted_bytes > RATIO_FREE_BYTES else None
    if free is not None and wanted_bytes > free:
        raise ResourceError(
            f"{name}: not enough memory to read it: its voxels need {wanted_bytes / 2**30:.1f} "
            f"GiB, {free / 2**30:.1f} GiB are free; close other programs or use a larger machine"
        )


def check_deflated(file: BinaryIO, name: str) -> None:
    """Refuse a deflated DICOM file that expands as none does; the file is back at its start.

    Raises
    ------
    InputError
        If it does.
    """
    head = file.read(_META_HEAD)
    if _DEFLATED not in head or head[128:132] != b"DICM":
        file.seek(0)
        return
    file.seek(_end_of_meta(head))
    engine, packed, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0
    while data := engine.unconsumed_tail or file.read(_CHUNK):
        packed += 0 if engine.unconsumed_tail else len(data)
        try:
            unpacked += len(engine.decompress(data, _CHUNK))
        except zlib.error:
            break
        if expands_too_far(packed, unpacked):
            raise InputError(
                f"{name}: refused, its deflated content unpacks to more than {MAX_RATIO} times its "
                "size; a CT does not"
            )
    file.seek(0)


def _end_of_meta(head: bytes) -> int:
    """Where the file meta, elements of group 2 that are never deflated, ends."""
    at = 132
    while head[at : at + 2] == b"\x02\x00":
        long = head[at + 4 : at + 6] in (b"OB", b"UN")
        length = head[at + 8 : at + 12] if long else head[at + 6 : at + 8]
        at += (12 if long else 8) + int.from_bytes(length, "little")
    return at


def zip_directory_bytes(file: BinaryIO) -> int:
    """How long a zip says its table of contents is; it is read whole before anything else."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 2**17))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    told = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    long = tail.rfind(b"PK\x06\x06")
    if told == 2**32 - 1 and long >= 0:
        told = int.from_bytes(tail[long + 40 : long + 48], "little")
    return told


def _free_bytes() -> int | None:
    """Memory that can be had, swap included, in this control group; None if unknown."""
    try:
        lines = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
        free = sum(int(lines[key].split()[0]) * 1024 for key in ("MemAvailable", "SwapFree"))
    except (OSError, ValueError, KeyError, IndexError):
        return None
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        kept = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        # Files that were read are kept in memory until something else needs it.
        free = min(free, limit - used + sum(int(kept[key]) for key in _GIVEN_BACK))
    except (OSError, ValueError, KeyError):
        pass
    return max(0, free)
