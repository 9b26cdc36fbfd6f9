"""Let the live model look at the cases of a store: predicted labels, and where it is unsure."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.cases.order import TO_ANNOTATE
from napari_covseg.cases.records import CaseRecord, Kind, NewVersion, Score
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import (
    CovsegError,
    InputError,
    ModelError,
    ResourceError,
    UsageError,
)
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.workflows.segment import SegmentResult, segment
from napari_covseg.workflows.segment_settings import SegmentSettings
from napari_covseg.workflows.store_models import hash_of, model_source
from napari_covseg.workflows.uncertainty import case_uncertainty, keep_map, uncertainty_map


@dataclass(frozen=True)
class PredictRequest:
    """Which cases to predict, by which model.

    Parameters
    ----------
    store
        The store's folder.
    author
        Who runs the model.
    cases
        Names; none: every case that waits to be annotated.
    model
        SHA-256 of a model of the store, or its beginning; None: the live one, else the shipped one.
    device
        As for `SegmentSettings`.
    uncertainty
        Also find out where the model is unsure; the queue goes by that.
    flips
        Mirrored views to average. What they contradict each other in adds to the uncertainty.
    """

    store: Path
    author: str
    cases: tuple[str, ...] = ()
    model: str | None = None
    device: str = "auto"
    uncertainty: bool = True
    flips: str = "left-right"


@dataclass(frozen=True, slots=True)
class Predicted:
    """What became of a case.

    ``version`` is the number of the predicted label version, None where none was saved; ``score``
    is new, or None. With neither, nothing was left to do. ``error`` says why it failed.
    """

    case: str
    version: int | None = None
    score: Score | None = None
    warnings: tuple[str, ...] = ()
    error: CovsegError | None = None

    @property
    def done(self) -> bool:
        """Whether anything was computed."""
        return self.version is not None or self.score is not None


@dataclass(frozen=True)
class PredictResult:
    """What became of each case, and by which model (its SHA-256)."""

    model: str
    cases: tuple[Predicted, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a case still lacks under the model."""

    labels: bool
    score: bool


def predict_cases(request: PredictRequest) -> Steps[PredictResult]:
    """Predict the labels of cases that nobody has drawn, and score the uncertainty of all.

    What is there already is not computed again, so an interrupted run goes on where it stopped and
    a second one does nothing. What a person drew stays a case's newest version: such cases get a
    score and no labels. A case that fails stops no other.

    Raises
    ------
    InputError
        If there is no store, or no such case or model.
    ModelError
        If the model cannot be used.
    ResourceError
        If the store may not be written to or the disk is full.
    UsageError
        If there is no author, or the device asked for is not there.
    """
    yield Progress(0, 1, "opening the case store")
    store = CaseStore.open(request.store)
    model = _model(store, request.model)
    settings = SegmentSettings(model_source(store, model), request.device, request.flips)
    scores = store.scores(model)
    todo = _cases(store, request.cases)
    done: list[Predicted] = []
    for number, case in enumerate(todo, 1):
        wanted = _wanted(store, case, model, request.uncertainty and case.name not in scores)
        if not (wanted.labels or wanted.score):
            done.append(Predicted(case.name))
            continue
        told = f"case {number} of {len(todo)}"
        try:
            result = yield from _segmented(store, case.name, settings, wanted.score, told)
            yield Progress(0, 1, f"{told}: saving")
        except (ModelError, UsageError):
            raise
        except CovsegError as error:
            done.append(Predicted(case.name, error=error))
            continue
        done.append(_keep(store, case.name, model, result, request.author))
    return PredictResult(model, tuple(done))


def map_of_case(
    folder: Path, case: str, volume: CTVolume, device: str = "auto"
) -> Steps[NDArray[np.uint8]]:
    """Where the live model is unsure of a case, uint8 ``(z, y, x)`` with 255 for 1.

    Taken from the store if it is there; else computed, and kept with its score if the store may be
    written to. ``volume`` is the case's CT.

    Raises
    ------
    InputError, ModelError, ResourceError, UsageError
        As `predict_cases`.
    """
    yield Progress(0, 1, "opening the case store")
    store = CaseStore.open(folder)
    model = _model(store, None)
    kept = uncertainty_map(store, case, model)
    if kept is not None:
        return kept
    settings = SegmentSettings(model_source(store, model), device, PredictRequest.flips)
    result = yield from segment(volume, settings, True)
    assert result.unsure is not None
    with suppress(InputError, ResourceError):
        _score(store, case, model, result.unsure, result.labels)
    return result.unsure


def _model(store: CaseStore, told: str | None) -> str:
    model = hash_of(store, told)
    if model is None:
        raise ModelError("no model ships with this installation: name one of the store (--model)")
    return model


def _cases(store: CaseStore, names: Iterable[str]) -> list[CaseRecord]:
    named = [store.case(name) for name in dict.fromkeys(names)]
    return named or store.cases(states=TO_ANNOTATE)


def _wanted(store: CaseStore, case: CaseRecord, model: str, score: bool) -> _Wanted:
    """What to compute; labels only where nobody drew any and this model has not yet."""
    versions = store.history(case.name) if case.versions else []
    known = any(one.kind is not Kind.PREDICTION or one.model == model for one in versions)
    return _Wanted(labels=not known, score=score)


def _segmented(
    store: CaseStore, case: str, settings: SegmentSettings, uncertainty: bool, told: str
) -> Steps[SegmentResult]:
    yield Progress(0, 1, f"{told}: reading")
    steps = segment(store.image(case), settings, uncertainty)
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            yield replace(step, message=f"{told}: {step.message}")
    finally:
        steps.close()


def _keep(store: CaseStore, case: str, model: str, result: SegmentResult, author: str) -> Predicted:
    """Keep labels and score; someone may have drawn labels while the model was at it."""
    number = score = None
    if _wanted(store, store.case(case), model, score=False).labels:
        labels = result.labels.labels
        saved = store.save_version(
            case, labels, NewVersion(author=author, kind=Kind.PREDICTION, model=model)
        )
        number = saved.version.number
    if result.unsure is not None:
        score = _score(store, case, model, result.unsure, result.labels)
    return Predicted(case, number, score, result.warnings)


def _score(
    store: CaseStore, case: str, model: str, unsure: NDArray[np.uint8], labels: LabelMap
) -> Score:
    """Keep a case's map, then its score: a score says that all is there."""
    keep_map(store, case, model, unsure, labels)
    score = case_uncertainty(unsure, labels).score(case, model)
    store.record_scores([score])
    return score
