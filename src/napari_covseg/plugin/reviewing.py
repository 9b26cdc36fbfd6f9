"""A second reader's work on a case store: what waits, a case with its changes, decisions. No Qt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.cases.records import (
    CaseRecord,
    CaseTaken,
    Decision,
    Difficulty,
    Kind,
    LabelVersion,
    NewVersion,
    OpenBranches,
    Review,
    State,
)
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import LabelMap
from napari_covseg.editing.consensus import Comparison, compare
from napari_covseg.plugin.desk import LoadedCase, load_steps
from napari_covseg.plugin.layers import join, split

if TYPE_CHECKING:
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.plugin.case_work import Held

CLASSES = ("infection", "ggo", "consolidation")
"""Of which the overlap with the prediction is told."""


class Shown(StrEnum):
    """Which cases a reader sees."""

    WAITING = "Waiting for review"
    FLAGGED = "Flagged"
    ACCEPTED = "Accepted"
    ALL = "All with labels"


@dataclass(frozen=True, slots=True)
class Listed:
    """A case, the version that would be reviewed, and those of others beside it."""

    record: CaseRecord
    version: LabelVersion
    beside: tuple[LabelVersion, ...]

    @property
    def readers(self) -> str:
        """Who drew the version and those beside it, the oldest first."""
        versions = sorted((self.version, *self.beside), key=lambda one: one.number)
        return " / ".join(dict.fromkeys(one.author for one in versions))


@dataclass(frozen=True, eq=False)
class Basis:
    """What a version was made from, and how far it went from there.

    Parameters
    ----------
    version
        The model's prediction; for labels that no model made, the version they began with.
    lungs, lesions
        Its two layers, uint8 ``(z, y, x)``.
    changes
        From it (first) to the reviewed version (second).
    edited
        How many voxels differ.
    dice
        Overlap of the two by class (`CLASSES`); None where neither has any.
    """

    version: LabelVersion
    lungs: NDArray[np.uint8]
    lesions: NDArray[np.uint8]
    changes: Comparison
    edited: int
    dice: Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class Opened:
    """A case to be reviewed.

    ``minutes`` were spent since the basis, ``note`` says what the reader should know: why it is not
    kept for him, or why there is no basis.
    """

    loaded: LoadedCase
    version: LabelVersion
    beside: tuple[LabelVersion, ...]
    basis: Basis | None
    history: tuple[LabelVersion, ...]
    reviews: tuple[Review, ...]
    minutes: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a reader decides.

    ``own`` is what he corrected himself, saved as his version before the decision; ``set_aside``
    are versions of others that the accepted one replaces.
    """

    decision: Decision
    reader: str
    comment: str = ""
    difficulty: Difficulty | None = None
    whole: bool = False
    set_aside: tuple[str, ...] = ()
    own: Held | None = None


@dataclass(frozen=True, eq=False)
class Decided:
    """What became of a decision.

    ``record`` is the case afterwards, ``version`` the one that it is about. If ``error`` is not
    None it was refused; the reader's own correction was saved all the same, and is ``version``.
    """

    verdict: Verdict
    record: CaseRecord
    version: LabelVersion
    error: CovsegError | None = None


def listing_steps(folder: Path, reader: str | None, shown: Shown) -> Steps[list[Listed]]:
    """The cases that a reader may look at, those first that come next. Runs in a thread.

    Waiting are cases that others corrected, and those where two readers' versions stand side by
    side, whoever they are.

    Raises
    ------
    InputError
        If the store is not there or damaged.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "reading the list of cases")
    store = CaseStore.open(folder)
    if shown is not Shown.WAITING:
        records = _candidates(store, shown)
        return _listed(records, store.histories())
    waiting, corrected = _waiting(store, reader), store.cases(states=[State.CORRECTED])
    # After the cases: what was saved meanwhile is in it.
    histories = store.histories()
    found = _listed(waiting, histories)
    if reader is not None:
        known = {one.record.name for one in found}
        found += [
            one for one in _forks(corrected, histories, reader) if one.record.name not in known
        ]
    return found


def _listed(
    records: Iterable[CaseRecord], histories: Mapping[str, Sequence[LabelVersion]]
) -> list[Listed]:
    """Those of the cases that a person has drawn; asks the store nothing, they may be many."""
    from napari_covseg.cases.branches import branches_among

    found = []
    for record in records:
        history = histories.get(record.name, ())
        version = _finished(history)
        if version is not None:
            found.append(Listed(record, version, tuple(branches_among(version, history))))
    return found


def _waiting(store: CaseStore, reader: str | None) -> list[CaseRecord]:
    from napari_covseg.cases.order import TO_REVIEW

    if reader is None:
        return store.cases(states=TO_REVIEW)
    return store.queue(reader, states=TO_REVIEW, second_reader=True)


def _candidates(store: CaseStore, shown: Shown) -> list[CaseRecord]:
    states = {Shown.FLAGGED: [State.FLAGGED], Shown.ACCEPTED: [State.ACCEPTED]}
    return store.cases(states=states.get(shown))


def _forks(
    corrected: Iterable[CaseRecord],
    histories: Mapping[str, Sequence[LabelVersion]],
    reader: str,
) -> list[Listed]:
    """Corrected cases of which two versions stand side by side."""
    free = [one for one in corrected if one.claimed_by in ("", reader)]
    return [one for one in _listed(free, histories) if one.beside]


def reviewable(store: CaseStore, case: str) -> LabelVersion | None:
    """The newest version of a case that a person finished; None if nobody did.

    Raises
    ------
    InputError
        If there is no such case.
    """
    return _finished(store.history(case))


def _finished(history: Sequence[LabelVersion]) -> LabelVersion | None:
    unfinished = (Kind.PREDICTION, Kind.DRAFT)
    people = (one for one in reversed(history) if one.kind not in unfinished and not one.set_aside)
    return next(people, None)


def next_steps(folder: Path, reader: str) -> Steps[Opened | None]:
    """Take the next case that others corrected; None if none waits. Runs in a thread.

    A store that may only be read hands it out, too; nothing can be decided then.

    Raises
    ------
    InputError
        If the store is not there, or a file of the case is gone or was changed.
    """
    from napari_covseg.cases.order import TO_REVIEW
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 3, "looking for the next case")
    store = CaseStore.open(folder)
    try:
        record = store.next_case(reader, states=TO_REVIEW, second_reader=True)
    except ResourceError:
        waiting = store.queue(reader, states=TO_REVIEW, second_reader=True)
        record = waiting[0] if waiting else None
    if record is None:
        return None
    return (yield from open_steps(folder, reader, record.name))


def open_steps(folder: Path, reader: str, case: str, version: str | None = None) -> Steps[Opened]:
    """Open a case for review and keep it for the reader. Runs in a thread.

    Raises
    ------
    InputError
        If the store or case is not there, nobody drew labels for it, or a file is gone or was
        changed; nobody keeps the case then.
    """
    from napari_covseg.cases.store import CaseStore

    store = CaseStore.open(folder)
    chosen = store.version(version) if version else reviewable(store, case)
    if chosen is None:
        raise InputError(f"{case}: nobody has drawn or corrected labels yet; nothing to review")
    note = _kept_for(store, case, reader)
    try:
        loaded = yield from load_steps(folder, case, chosen.id)
        return (yield from _described(store, loaded, chosen, note))
    except CovsegError:
        with suppress(CovsegError):
            store.release(case, reader)
        raise


def _kept_for(store: CaseStore, case: str, reader: str) -> str:
    try:
        store.claim(case, reader)
    except CaseTaken:
        return f"{store.case(case).claimed_by} has this case in work now."
    except ResourceError:
        return "The store may only be read: decisions cannot be saved."
    return ""


def _described(
    store: CaseStore, loaded: LoadedCase, version: LabelVersion, note: str
) -> Steps[Opened]:
    yield Progress(1, 2, "comparing with the prediction")
    history = tuple(store.history(loaded.record.name))
    minutes, start = version.minutes, _start(store, version)
    basis = None
    if start is not None:
        minutes = _minutes(version, start, history)
        labels = join([(data, arguments) for data, arguments, _ in loaded.layers[1:]])
        try:
            basis = _basis(store.labels(start.id), start, labels)
        except InputError as error:
            note = f"{note} {error}".strip()
    reviews = tuple(store.reviews(loaded.record.name))
    beside = store.branches(version.id)
    return Opened(loaded, version, beside, basis, history, reviews, minutes, note)


def _start(store: CaseStore, version: LabelVersion) -> LabelVersion | None:
    predicted = store.base_prediction(version.id)
    if predicted is not None and predicted.id != version.id:
        return predicted
    return store.version(version.parent) if version.parent else None


def _minutes(
    version: LabelVersion, start: LabelVersion, history: tuple[LabelVersion, ...]
) -> float:
    known = {one.id: one for one in history}
    total, here = 0.0, version
    while here.id != start.id:
        total += here.minutes
        if here.parent is None:
            break
        here = known[here.parent]
    return total


def _basis(before: LabelMap, version: LabelVersion, after: LabelMap) -> Basis:
    from napari_covseg.metrics.agreement import mask_agreement

    voxel_ml = before.geometry.voxel_ml
    lungs, lesions = split(before)
    agreement = mask_agreement(before.labels, after.labels, voxel_ml)
    return Basis(
        version,
        lungs,
        lesions,
        compare(before.labels, after.labels, voxel_ml),
        int(np.count_nonzero(before.labels != after.labels)),
        {name: agreement[name].dice for name in CLASSES if name in agreement},
    )


def decide_steps(folder: Path, version: LabelVersion, verdict: Verdict) -> Steps[Decided]:
    """Save what the reader corrected, then keep the decision. Runs in a thread.

    Raises
    ------
    CovsegError
        If the correction could not be saved, or a decision without one could not: nothing was
        changed then.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 2, "saving")
    store = CaseStore.open(folder)
    own, comment = verdict.own, verdict.comment
    if own is not None:
        labels = own.labels()
        with own.once(version.id):
            saved = store.save_version(
                version.case,
                labels,
                NewVersion(
                    author=verdict.reader,
                    kind=Kind.CORRECTION,
                    parent=version.id,
                    reviewed=own.reviewed,
                    minutes=own.seconds / 60,
                    comment=comment,
                ),
            )
        version = saved.version
    yield Progress(1, 2, "saving")
    refused: CovsegError | None = None
    try:
        _decide(store, version, verdict)
    except CovsegError as error:
        if own is None and not isinstance(error, OpenBranches):
            raise
        refused = error
    return Decided(verdict, store.case(version.case), version, refused)


def _decide(store: CaseStore, version: LabelVersion, verdict: Verdict) -> None:
    case, reader, comment = version.case, verdict.reader, verdict.comment
    if verdict.decision is Decision.ACCEPT:
        store.accept(
            version.id,
            reader=reader,
            whole=verdict.whole,
            instead_of=verdict.set_aside,
            comment=comment,
            difficulty=verdict.difficulty,
        )
        return
    if verdict.difficulty is not None and verdict.decision is not Decision.COMMENT:
        store.comment(case, reader=reader, comment="", difficulty=verdict.difficulty)
    if verdict.decision is Decision.SEND_BACK:
        store.send_back(case, reader=reader, comment=comment)
    elif verdict.decision is Decision.FLAG:
        store.flag(case, reader=reader, comment=comment)
    elif verdict.decision is Decision.UNFLAG:
        store.unflag(case, reader=reader, comment=comment)
    else:
        store.comment(case, reader=reader, comment=comment, difficulty=verdict.difficulty)
    if verdict.decision in (Decision.SEND_BACK, Decision.FLAG):
        store.release(case, reader)


def release_steps(folder: Path, case: str, reader: str) -> Steps[None]:
    """Give a case back without a decision. Runs in a thread.

    Raises
    ------
    InputError
        If the store or case is not there.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "giving the case back")
    # In a store that may only be read nothing was kept.
    with suppress(ResourceError):
        CaseStore.open(folder).release(case, reader)
