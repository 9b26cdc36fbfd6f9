"""What the gate judges by: a model's figures on frozen cases, as a user would get them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_covseg.cases.encoding import ranges_from
from napari_covseg.cases.gate import JUDGED, CaseFigures, ClassFigures
from napari_covseg.cases.held_out import FrozenCase, reference, trained_patients
from napari_covseg.cases.records import ModelRecord
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Steps
from napari_covseg.domain.volume import LabelMap
from napari_covseg.metrics.overlap import count_classes, joint_histogram
from napari_covseg.workflows.segment import segment
from napari_covseg.workflows.segment_settings import SegmentSettings
from napari_covseg.workflows.store_models import model_source

CASES = "cases"
FOLD, MODEL = "fold", "model"


@dataclass(frozen=True)
class Measured:
    """Figures by case, and by what they were measured: the model, or one that left them out."""

    figures: Mapping[str, CaseFigures] = field(default_factory=dict)
    by: str = MODEL

    def to_metrics(self, cases: Iterable[FrozenCase]) -> dict[str, Any]:
        """Plain values for `ModelRecord.metrics`, with the labels they were measured against."""
        return {
            one.case: {
                "labels": one.sha256,
                "slices": ranges_from(one.slices),
                "by": self.by,
                "classes": {n: f.to_dict() for n, f in self.figures[one.case].items()},
            }
            for one in cases
            if one.case in self.figures
        }


def measure(
    store: CaseStore, source: str, cases: Iterable[FrozenCase], device: str
) -> Steps[dict[str, CaseFigures]]:
    """Segment each case with a model, as `covseg segment` does, and hold it against its labels.

    Raises
    ------
    InputError
        If a label file or an image is gone or was changed.
    ModelError, ResourceError
        If the model cannot be used or memory ran out.
    """
    found: dict[str, CaseFigures] = {}
    todo = list(cases)
    for done, one in enumerate(todo, 1):
        expected = reference(store, one)
        settings = SegmentSettings(model=source, device=device)
        steps = segment(store.image(one.case), settings)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                found[one.case] = class_figures(end.value.labels, expected)
                break
            yield replace(step, message=f"measuring case {done} of {len(todo)}, {step.message}")
    return found


def class_figures(labels: LabelMap, expected: LabelMap) -> CaseFigures:
    """A prediction's figures in the slices that were reviewed."""
    known = [not (plane == Label.IGNORE.value).all() for plane in expected.labels]
    counts = count_classes(
        joint_histogram(
            np.ascontiguousarray(labels.labels[known]),
            np.ascontiguousarray(expected.labels[known]),
        )
    )
    ml = expected.geometry.voxel_ml
    return {
        name: ClassFigures(one.dice, (one.predicted - one.reference) * ml, one.reference * ml)
        for name in JUDGED
        if (one := counts[name]) is not None
    }


def figures_of(
    store: CaseStore, model: ModelRecord | None, cases: Iterable[FrozenCase], device: str
) -> Steps[dict[str, CaseFigures]]:
    """A model's figures on cases whose patients it has not trained on (None: the shipped one).

    For the others there are figures if its own training had left each of them out in turn, and
    against the same labels; else none.

    Raises
    ------
    InputError, ModelError, ResourceError
        As `measure`.
    """
    cases = list(cases)
    seen = trained_patients(store, model)
    unseen = [one for one in cases if one.patient not in seen]
    source = model_source(store, model.sha256 if model else None)
    figures = yield from measure(store, source, unseen, device)
    recorded = model.metrics.get(CASES, {}) if model else {}
    for one in cases:
        kept = recorded.get(one.case)
        if one.patient in seen and kept and kept["by"] == FOLD and _same_labels(kept, one):
            read = {n: ClassFigures.from_dict(f) for n, f in kept["classes"].items()}
            figures[one.case] = read
    return figures


def _same_labels(kept: Mapping[str, Any], one: FrozenCase) -> bool:
    return bool(kept["labels"] == one.sha256 and kept["slices"] == ranges_from(one.slices))
