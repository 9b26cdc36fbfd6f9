"""How a label map came about, as the JSON tells that stands beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_covseg.domain.volume import LabelMap

VOXELS_KEY = "labels_voxels_sha256"
"""Where the JSON beside a label map keeps `voxels_hash`."""
_SAME = 1e-6


@dataclass(frozen=True)
class Origin:
    """What is known of a label map.

    ``known`` is false where nothing stands beside it; ``changed`` says that it is no longer what
    the model drew. ``model`` holds ``name``, ``version`` and ``sha256``, ``provenance`` and
    ``warnings`` are those of the JSON.
    """

    known: bool = False
    changed: bool = False
    model: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def origin_of(path: Path, case: str, labels: LabelMap) -> Origin:
    """Read ``<case>.json`` beside a label file.

    The hash in it tells whether one voxel of ``labels`` was changed since; or it says itself that
    they had been edited before they were saved. Files from before there was a hash are told by
    their volumes.
    """
    report = report_beside(path, case)
    provenance = mapping(report, "provenance")
    model = {key: str(value) for key, value in mapping(provenance, "model").items()}
    if not model:
        return Origin()
    changed = bool(provenance.get("edited")) or not _unchanged(report, labels)
    warnings = report.get("warnings")
    lines = tuple(map(str, warnings)) if isinstance(warnings, list) else ()
    return Origin(True, changed, model, provenance, lines)


def voxels_hash(labels: LabelMap) -> str:
    """SHA-256 of the canonical voxels (uint8; z, y, x); the affine, which files round, is out."""
    digest = hashlib.sha256(f"uint8 {labels.geometry.shape}".encode())
    for plane in labels.labels:
        digest.update(plane.tobytes())
    return digest.hexdigest()


def mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A mapping in what was read from JSON; empty where there is none."""
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def report_beside(path: Path, case: str) -> Mapping[str, Any]:
    """What ``<case>.json`` beside a label file says; empty without one that can be read."""
    try:
        report = json.loads((path.parent / f"{case}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def _unchanged(report: Mapping[str, Any], labels: LabelMap) -> bool:
    told = report.get(VOXELS_KEY)
    if isinstance(told, str):
        return told == voxels_hash(labels)
    return _same_volumes(mapping(report, "measurements"), labels)


def _same_volumes(reported: Mapping[str, Any], labels: LabelMap) -> bool:
    """Whether volumes are those of the report, to the voxel."""
    from napari_covseg.quantify.volumes import measure

    now = measure(labels).to_dict()
    for side in ("left", "right"):
        before = mapping(reported, side)
        for name, value in now[side].items():
            if not name.endswith("_ml"):
                continue
            told = before.get(name)
            if not isinstance(told, int | float) or abs(told - value) > _SAME * max(1.0, value):
                return False
    return True
