"""Average precision of detectors, with intervals over the patients measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_covseg.metrics.detection import DetectionScores, Precision, mean_precision
from napari_covseg.models.mask_rcnn import CLASSES

RESAMPLES = 1000
"""Of the patients measured, for the interval of a figure."""


def figures_of(scores: DetectionScores, patients: Sequence[str], seed: int) -> dict[str, Any]:
    """Average precision by class and over both, with 95 % intervals over resampled patients."""
    rows = {label.name.lower(): number for number, label in CLASSES.items()}
    result = scores.result()
    drawn = [scores.result(pictures) for pictures in _resamples(patients, seed)]
    figures = {
        name: _figure(result[number], [one[number] for one in drawn])
        for name, number in rows.items()
    }
    figures["mean"] = _figure(mean_precision(result), [mean_precision(one) for one in drawn])
    return {"slices": len(scores), "patients": len(set(patients)), **figures}


def _resamples(patients: Sequence[str], seed: int) -> list[list[int]]:
    of_patient: dict[str, list[int]] = {}
    for picture, patient in enumerate(patients):
        of_patient.setdefault(patient, []).append(picture)
    groups = list(of_patient.values())
    if len(groups) < 2:
        return []
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(groups), size=(RESAMPLES, len(groups)))
    return [[picture for group in draw for picture in groups[group]] for draw in draws]


def _figure(one: Precision, drawn: Sequence[Precision]) -> dict[str, Any]:
    content: dict[str, Any] = {"lesions": one.lesions, "recall50": one.recall}
    for name in ("ap", "ap50", "ap75"):
        values = [v for v in (getattr(other, name) for other in drawn) if v is not None]
        interval = [float(v) for v in np.percentile(values, (2.5, 97.5))] if values else None
        content[name] = {"value": getattr(one, name), "interval95": interval}
    return content
