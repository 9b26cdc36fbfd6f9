"""An annotator's steps on a case store: look, take a case, read its history. No Qt.

All of it runs in a worker's thread: a store may lie on a slow share.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_covseg.cases.place import written_by_a_save
from napari_covseg.cases.queue import Order
from napari_covseg.cases.records import (
    CaseRecord,
    LabelVersion,
    SavedVersion,
    Score,
    State,
)
from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.labels import LESION_LABELS
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.models.zoo import DEFAULT
from napari_covseg.plugin.desk import LoadedCase, load_steps
from napari_covseg.workflows.store_models import live_hash

if TYPE_CHECKING:
    from napari_covseg.cases.store import CaseStore


@dataclass(frozen=True, eq=False)
class Line:
    """A case in the list; ``score`` is that under the live model, if it was computed."""

    record: CaseRecord
    score: Score | None


@dataclass(frozen=True, eq=False)
class Overview:
    """What a store holds now, as one annotator sees it.

    ``lines`` begins with the cases that wait for them, the next one first; ``waiting`` is how many
    those are, ``unscored`` lists the cases to work on that have no score under the live model.
    """

    folder: Path
    lines: tuple[Line, ...]
    waiting: int
    unscored: tuple[str, ...]
    model: str
    writable: bool

    @property
    def next(self) -> Line | None:
        """The case that comes next."""
        return self.lines[0] if self.waiting else None

    @property
    def counts(self) -> dict[State, int]:
        """How many cases are in each state."""
        states = [line.record.state for line in self.lines]
        return {state: states.count(state) for state in State}


@dataclass(frozen=True, eq=False)
class Opened:
    """A case ready for the viewer: where to begin (canonical z), and what there is to say of it.

    ``minutes`` is what its versions took so far, ``note`` why it cannot be worked on as usual.
    """

    loaded: LoadedCase
    start: int | None
    minutes: float
    note: str = ""


def live_model(store: CaseStore) -> tuple[str, str | None]:
    """Name and SHA-256 of the model whose scores count: the live one, else the shipped one."""
    live = store.live_model()
    return (live.name if live is not None else DEFAULT), live_hash(store)


def overview_steps(folder: Path, author: str, order: Order) -> Steps[Overview]:
    """Look at a store; without an author every case that nobody has in work waits.

    Raises
    ------
    InputError
        If there is no store, it is damaged, or it is of a newer version.
    ResourceError
        If it is locked for long.
    """
    from napari_covseg.cases.order import TO_ANNOTATE
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "reading the case store")
    store = CaseStore.open(folder)
    name, model = live_model(store)
    scores = store.scores(model) if model else {}
    queue = store.queue(author or "?", order=order, model=model)
    waiting = {record.name for record in queue}
    others = [record for record in store.cases() if record.name not in waiting]
    return Overview(
        folder,
        tuple(Line(record, scores.get(record.name)) for record in (*queue, *others)),
        len(queue),
        tuple(
            record.name
            for record in (*queue, *others)
            if record.state in TO_ANNOTATE and (record.name not in scores or record.newest is None)
        ),
        name,
        all(os.access(path, os.W_OK) for path in written_by_a_save(folder)),
    )


def create_steps(folder: Path, author: str) -> Steps[Path]:
    """Make a new store.

    Raises
    ------
    UsageError, ResourceError
        As `CaseStore.create`.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "making the case store")
    return CaseStore.create(folder, author=author).folder


def next_steps(folder: Path, author: str, order: Order) -> Steps[Opened | None]:
    """Take the next case into work and read it; None if none waits.

    Raises
    ------
    InputError, ResourceError
        As `CaseStore.next_case` and `load_steps`; a case that cannot be read is given back.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 3, "taking the next case")
    store = CaseStore.open(folder)
    _, model = live_model(store)
    try:
        record = store.next_case(author, order=order, model=model)
    except ResourceError as error:
        first = next(iter(store.queue(author, order=order, model=model)), None)
        if first is None:
            raise
        return (yield from _read(store, first.name, note=str(error)))
    if record is None:
        return None
    return (yield from _read_or_release(store, record.name, author))


def open_steps(folder: Path, case: str, author: str, *, taken: bool = False) -> Steps[Opened]:
    """Take a case into work and read it; with ``taken`` also if someone else has it.

    Raises
    ------
    CaseTaken
        If someone else has it.
    InputError
        As `load_steps`.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 3, f"taking {case}")
    store = CaseStore.open(folder)
    if taken:
        note = f"{store.case(case).claimed_by} has this case in work too"
        return (yield from _read(store, case, note=note))
    try:
        store.claim(case, author)
    except ResourceError as error:
        return (yield from _read(store, case, note=str(error)))
    return (yield from _read_or_release(store, case, author))


def _read_or_release(store: CaseStore, case: str, author: str) -> Steps[Opened]:
    try:
        return (yield from _read(store, case))
    except BaseException:
        with suppress(InputError, ResourceError):
            store.release(case, author)
        raise


def _read(store: CaseStore, case: str, note: str = "") -> Steps[Opened]:
    loaded = yield from load_steps(store.folder, case)
    _, model = live_model(store)
    score = store.scores(model).get(case) if model else None
    minutes = sum(version.minutes for version in store.history(case))
    start = score.slice if score is not None else None
    return Opened(loaded, _most_lesion(loaded) if start is None else start, minutes, note)


def _most_lesion(loaded: LoadedCase) -> int | None:
    """The slice with the largest lesions."""
    if loaded.version is None:
        return None
    lesions = loaded.layers[-1][0]
    counts = [int(np.isin(plane, LESION_LABELS).sum()) for plane in lesions]
    return int(np.argmax(counts)) if any(counts) else None


@dataclass(frozen=True, eq=False)
class History:
    """Every version of a case, the newest first, and which one is accepted."""

    record: CaseRecord
    versions: tuple[LabelVersion, ...]


def history_steps(folder: Path, case: str) -> Steps[History]:
    """Read a case's history.

    Raises
    ------
    InputError
        If there is no such case.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "reading the history")
    store = CaseStore.open(folder)
    return History(store.case(case), tuple(reversed(store.history(case))))


def restore_steps(folder: Path, version: str, author: str) -> Steps[SavedVersion]:
    """Take up an old version again.

    Raises
    ------
    InputError, ResourceError
        As `CaseStore.restore`.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "restoring the version")
    return CaseStore.open(folder).restore(version, author=author)
