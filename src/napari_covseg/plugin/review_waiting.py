"""What waits for a second reader in a case store. No Qt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.cases.records import (
    CaseRecord,
    Kind,
    LabelVersion,
    State,
)
from napari_covseg.domain.progress import Progress, Steps

if TYPE_CHECKING:
    from napari_covseg.cases.store import CaseStore


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
