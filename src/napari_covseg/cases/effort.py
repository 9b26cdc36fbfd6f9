"""What the accepted cases of a store cost: minutes, changed voxels, and how good predictions were.

A case's effort is counted from the model's prediction that its accepted labels go back to. Both
label maps never change, so what was counted once is kept, in ``cache/effort.json`` of the store,
which may be deleted at any time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from napari_covseg.cases.effort_records import CaseEffort, Effort, Generation, PersonEffort
from napari_covseg.cases.encoding import ranges_from
from napari_covseg.cases.gate import JUDGED
from napari_covseg.cases.histograms import Histograms
from napari_covseg.cases.records import CaseRecord, Kind, LabelVersion, Review
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.metrics.overlap import count_classes, joint_histogram

CLASSES = JUDGED
"""Of what Dice is told."""
_CERTAIN = [label for label in Label if label is not Label.IGNORE]


def effort_of(store: CaseStore) -> Steps[Effort]:
    """What the accepted cases cost; yields progress after each.

    Reads the label maps of cases that were not compared before, seconds each; what was counted is
    kept also if this is cancelled, where the store may be written to.
    """
    yield Progress(0, 1, "reading the case store")
    # Cases first: a case or version that another program adds meanwhile is in what is read later.
    cases = [one for one in store.cases() if one.accepted]
    histories, acceptances = store.histories(), store.acceptances()
    by_name = {one.name: one for one in cases}
    # In the order in which they were accepted, not by clocks, which are set back now and then.
    accepted = [by_name[name] for name in acceptances if name in by_name]
    known = Histograms(store.folder)
    found: list[CaseEffort] = []
    try:
        for done, record in enumerate(accepted):
            yield Progress(done, len(accepted), f"comparing {record.name}")
            history, review = histories[record.name], acceptances[record.name]
            found.append(_case(store, known, record, history, review))
    finally:
        known.keep(complete=len(found) == len(accepted))
    names = {one.sha256: one.name for one in store.models()}
    return Effort(tuple(found), _people(accepted, histories, acceptances), _grouped(found, names))


def _case(
    store: CaseStore,
    known: Histograms,
    record: CaseRecord,
    history: Sequence[LabelVersion],
    review: Review,
) -> CaseEffort:
    by_id = {one.id: one for one in history}
    labels = by_id[record.accepted or ""]
    prediction = _prediction(labels, by_id)
    drawn = _drawn(history, review)
    minutes = sum(one.minutes for one in drawn)
    histogram, problem = None, ""
    if prediction is not None:
        key = f"{prediction.sha256}-{labels.sha256}-{ranges_from(record.accepted_slices)}"
        try:
            histogram = known.get(key, lambda: _compared(store, prediction, labels, record))
        except InputError as error:
            problem = str(error)
    edited = None if histogram is None else _edited(histogram)
    return CaseEffort(
        case=record.name,
        patient=record.patient,
        accepted=review.created,
        by=review.reader,
        people=tuple(dict.fromkeys(one.author for one in drawn)),
        model=prediction.model if prediction else None,
        minutes=minutes or None,
        slices=len(record.accepted_slices),
        edited_voxels=edited,
        edited_ml=None if edited is None else edited * record.geometry.voxel_ml,
        dice={} if histogram is None else _dice(histogram),
        problem=problem,
    )


def _prediction(version: LabelVersion, by_id: Mapping[str, LabelVersion]) -> LabelVersion | None:
    """The prediction that a version goes back to."""
    one: LabelVersion | None = version
    while one is not None and one.kind is not Kind.PREDICTION:
        one = by_id.get(one.parent or "")
    return one


def _drawn(history: Iterable[LabelVersion], review: Review) -> list[LabelVersion]:
    """What people drew until the case was accepted."""
    return [
        one for one in history if one.kind is not Kind.PREDICTION and one.created <= review.created
    ]


def _compared(
    store: CaseStore, prediction: LabelVersion, labels: LabelVersion, record: CaseRecord
) -> NDArray[np.int64]:
    slices = sorted(record.accepted_slices)
    first = store.labels(prediction.id).labels[slices]
    return joint_histogram(first, store.labels(labels.id).labels[slices])


def _edited(histogram: NDArray[np.int64]) -> int:
    """Voxels that differ, where the accepted labels say anything."""
    certain = histogram[:, _CERTAIN]
    return int(certain.sum() - histogram[_CERTAIN, _CERTAIN].sum())


def _dice(histogram: NDArray[np.int64]) -> dict[str, float]:
    counts = count_classes(histogram)
    dice = {name: one.dice for name in CLASSES if (one := counts[name]) is not None}
    return {name: value for name, value in dice.items() if math.isfinite(value)}


def _people(
    cases: Iterable[CaseRecord],
    histories: Mapping[str, Sequence[LabelVersion]],
    acceptances: Mapping[str, Review],
) -> tuple[PersonEffort, ...]:
    found: dict[str, list[tuple[CaseRecord, LabelVersion, int]]] = {}
    for record in cases:
        history = histories[record.name]
        reviewed = {one.id: one.reviewed for one in history}
        for one in _drawn(history, acceptances[record.name]):
            before = [reviewed[key] for key in (one.parent, one.merged) if key in reviewed]
            new = len(one.reviewed.difference(*before))
            found.setdefault(one.author, []).append((record, one, new))
    return tuple(
        PersonEffort(
            person=person,
            cases=len({record.name for record, _, _ in work}),
            minutes=sum(one.minutes for _, one, _ in work),
            slices=sum(new for _, _, new in work),
            edited_voxels=sum(one.edited_voxels for _, one, _ in work),
            edited_ml=sum(one.edited_voxels * r.geometry.voxel_ml for r, one, _ in work),
        )
        for person, work in sorted(found.items())
    )


def _grouped(cases: Iterable[CaseEffort], names: Mapping[str, str]) -> tuple[Generation, ...]:
    groups: dict[str | None, list[CaseEffort]] = {}
    for one in cases:
        groups.setdefault(one.model, []).append(one)
    return tuple(_generation(model, group, names) for model, group in groups.items())


def _generation(
    model: str | None, cases: Sequence[CaseEffort], names: Mapping[str, str]
) -> Generation:
    timed = [one for one in cases if one.minutes is not None]
    name = "no prediction" if model is None else names.get(model, model[:8])
    dice = {n: _mean(one.dice[n] for one in cases if n in one.dice) for n in CLASSES}
    return Generation(
        model=model,
        name=name,
        cases=len(cases),
        timed=len(timed),
        minutes=_mean(one.minutes for one in timed),
        seconds_per_slice=_mean(
            60 * one.minutes / one.slices for one in timed if one.minutes and one.slices
        ),
        edited_ml=_mean(one.edited_ml for one in cases),
        dice={n: value for n, value in dice.items() if value is not None},
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
