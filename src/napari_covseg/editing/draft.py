"""The draft of a correction on disk: whole or not at all, found again by the CT it belongs to."""

from __future__ import annotations

import hashlib
import json
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.io.atomic import atomic_file

SUFFIX = ".covseg-draft"
_VERSION = 1
_HEADER_BYTES = 4096


@dataclass(frozen=True, eq=False)
class Draft:
    """What was corrected and not yet saved.

    Parameters
    ----------
    lungs, lesions
        ``(z, y, x)`` uint8; None for a layer that there was not.
    reviewed
        For each axial slice whether it was reviewed.
    seconds
        How long was worked on it.
    """

    lungs: NDArray[np.uint8] | None
    lesions: NDArray[np.uint8] | None
    reviewed: NDArray[np.bool_]
    seconds: float = 0.0


def fingerprint(hu: NDArray, geometry: Geometry) -> str:
    """Names a CT by its grid and a sample of its voxels; says nothing about the patient."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(repr((hu.shape, str(hu.dtype))).encode())
    digest.update(np.round(geometry.affine, 3).tobytes())
    digest.update(np.ascontiguousarray(hu[::4, ::4, ::4]).tobytes())
    return digest.hexdigest()


def write_draft(path: Path, draft: Draft) -> Path:
    """Write a draft; its folder is made.

    Raises
    ------
    ResourceError, InputError
        As `napari_covseg.io.atomic.atomic_file`.
    """
    arrays = {"reviewed": np.asarray(draft.reviewed, bool)}
    for name in ("lungs", "lesions"):
        array = getattr(draft, name)
        if array is not None:
            arrays[name] = np.asarray(array, np.uint8)
    header = json.dumps({"version": _VERSION, "seconds": draft.seconds})
    with suppress(OSError):  # atomic_file says what is wrong with the folder
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        np.savez_compressed(file, header=np.array(header), **arrays)  # type: ignore[arg-type]
    return path


def read_draft(path: Path, shape: tuple[int, ...]) -> Draft:
    """Read the draft of a CT of this shape.

    Raises
    ------
    InputError
        If it is not there, damaged, of a newer version, or of another shape.
    """
    try:
        _check_sizes(path, shape)
        with np.load(path, allow_pickle=False) as held:
            header = json.loads(str(held["header"]))
            if header["version"] != _VERSION:
                raise InputError(
                    f"{path.name}: this draft is of version {header['version']}, expected "
                    f"{_VERSION}; open it with the version of napari-covseg that wrote it"
                )
            arrays = {name: held[name] for name in held.files if name != "header"}
        seconds = float(header["seconds"])
        reviewed = arrays["reviewed"].astype(bool, casting="safe")
    except InputError:
        raise
    except Exception as error:  # zip, deflate, numpy and JSON raise many kinds on damaged files
        raise InputError(f"{path.name}: this draft cannot be read; discard it") from error
    labels = [arrays[name] for name in ("lungs", "lesions") if name in arrays]
    unlike = any(array.shape != shape or array.dtype != np.uint8 for array in labels)
    if unlike or reviewed.shape != shape[:1]:
        raise InputError(f"{path.name}: this draft is of another CT; discard it")
    return Draft(arrays.get("lungs"), arrays.get("lesions"), reviewed, seconds)


def _check_sizes(path: Path, shape: tuple[int, ...]) -> None:
    """A few packed bytes may claim to be any number: refused before memory is set aside."""
    with zipfile.ZipFile(path) as archive:
        largest = max((info.file_size for info in archive.infolist()), default=0)
    if largest > prod(shape) + _HEADER_BYTES:
        raise InputError(f"{path.name}: this draft is of another CT; discard it")
