"""Prepared cases on disk, found by what went into them: never stale, never half there.

An entry is two ``.npy`` files, which are mapped into memory and not read whole, and a ``.json``
with their checksums. The JSON is written last: without it, or where it does not fit, there is no
entry and the case is prepared again.

Several processes may fill one folder, as folds beside one another do: the same key stands for the
same bytes, every file appears whole, and what one has finished no other replaces or removes.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import ResourceError
from napari_covseg.io.atomic import atomic_file, write_json
from napari_covseg.io.nnunet import RawCase
from napari_covseg.io.sniff import readable

FORMAT = 2
"""Changes whenever the same files and settings would give other arrays."""
_ARRAYS = ("image", "codes")


@dataclass(frozen=True, eq=False)
class Entry:
    """What is kept of a case: arrays ``(z, y, x)``, their spacing in mm, and notes for the user."""

    image: NDArray
    codes: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    warnings: tuple[str, ...] = ()


def content_key(case: RawCase, settings: Mapping[str, Any]) -> str:
    """A hash of the bytes of both files and of everything else that decides the result.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, settings], sort_keys=True).encode())
    for file in (case.image, case.labels):
        with readable(file), file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def read_entry(folder: Path, key: str) -> Entry | None:
    """The entry, its arrays mapped into memory; None if there is none or it is damaged."""
    try:
        about = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        image, codes = (_mapped(_array_file(folder, key, name), about[name]) for name in _ARRAYS)
        z, y, x = about["spacing_mm"]
        return Entry(image, codes, (float(z), float(y), float(x)), tuple(about["warnings"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def write_entry(folder: Path, key: str, entry: Entry) -> Entry:
    """Write an entry and read it back, mapped; on an error nothing of it stays.

    Where another process has written it in the meantime, that one is taken.

    Raises
    ------
    ResourceError
        If the disk is full or the folder cannot be written to.
    """
    if (found := read_entry(folder, key)) is not None:
        return found
    about: dict[str, Any] = {"spacing_mm": entry.spacing_mm, "warnings": entry.warnings}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            array = np.ascontiguousarray(getattr(entry, name))
            _write_array(_array_file(folder, key, name), array)
            about[name] = _checksum(array)
        write_json(folder / f"{key}.json", about)
    except BaseException as error:
        found = read_entry(folder, key)
        if found is not None and isinstance(error, Exception):
            # Of another process; Windows, say, replaces no file that is mapped there.
            return found
        if found is None:
            for name in _ARRAYS:
                with suppress(OSError):
                    _array_file(folder, key, name).unlink()
        if isinstance(error, OSError | ResourceError):
            # The name of the entry, a hash, says nothing to anybody.
            reason = error.strerror if isinstance(error, OSError) else _reason(error)
            raise ResourceError(
                f"{folder.name}: the cache cannot be written ({reason or error}); make room, or "
                "choose another folder"
            ) from None
        raise
    return read_entry(folder, key) or entry


def _reason(error: ResourceError) -> str:
    """The middle of the line: after the file's name, before what to do."""
    return str(error).partition(": ")[2].partition(";")[0]


def _array_file(folder: Path, key: str, name: str) -> Path:
    return folder / f"{key}.{name}.npy"


def _write_array(path: Path, array: NDArray) -> None:
    with atomic_file(path) as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        # numpy's own writer hides the reason where the disk is full.
        file.write(array.data)


def _mapped(path: Path, checksum: int) -> NDArray:
    array: NDArray = np.load(path, mmap_mode="r", allow_pickle=False)
    if _checksum(array) != checksum:
        raise ValueError("damaged")
    return array


def _checksum(array: NDArray) -> int:
    return zlib.crc32(np.asarray(array).view(np.uint8).data)
