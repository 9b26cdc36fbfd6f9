"""Scans of other datasets that models of a store trained on, known again by their voxels.

A scan that was replayed may be added to the store later, as a file that was written anew: its
bytes are others, its voxels in HU the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from napari_covseg.cases.files import sha256_of
from napari_covseg.cases.records import ModelRecord
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError
from napari_covseg.io.read import read_volume

REPLAYED_SCANS = "replayed_scans"
"""Field of a model's settings: ``shape`` (z, y, x) and ``sha256`` of each scan (`scan_of`)."""
_MOST_KEPT = 4096


def scan_of(path: Path) -> dict[str, Any]:
    """What a scan is known by; plain values. Its file's bytes where it cannot be read."""
    try:
        hu = read_volume(path).hu
    except InputError:
        return {"shape": [], "sha256": sha256_of(path)}
    digest = sha256(np.ascontiguousarray(hu).tobytes() + repr(hu.shape).encode())
    return {"shape": list(hu.shape), "sha256": digest.hexdigest()}


def replayed_patients(store: CaseStore, models: Iterable[ModelRecord]) -> frozenset[str]:
    """Patients of the store of whom one of these models trained on a scan by way of other data.

    Only scans of the same size are read, each once as long as its file stays as it is.
    """
    known: dict[tuple[int, ...], set[str]] = {}
    for model in models:
        for scan in model.settings.get(REPLAYED_SCANS, ()):
            known.setdefault(tuple(scan["shape"]), set()).add(scan["sha256"])
    if not known:
        return frozenset()
    return frozenset(
        case.patient
        for case in store.cases()
        if (alike := known.get(case.geometry.shape)) and _hash(store.image_path(case.name)) in alike
    )


def _hash(path: Path) -> str:
    try:
        held = path.stat()
    except OSError:
        return ""
    return _hash_of(path, held.st_mtime_ns, held.st_size)


@lru_cache(_MOST_KEPT)
def _hash_of(path: Path, _modified: int, _size: int) -> str:
    return str(scan_of(path)["sha256"])


def settings_of(scans: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The field of a model's settings; none without scans."""
    found = sorted(({**scan} for scan in scans), key=lambda scan: str(scan["sha256"]))
    return {REPLAYED_SCANS: found} if found else {}
