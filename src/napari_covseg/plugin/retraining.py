"""Retraining from the desk's store: what there is to train on, and how it runs. Without Qt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.model_list import (
    LogLine,
    ModelLine,
    Verdict,
    last_verdict,
    log_lines,
    model_lines,
)

if TYPE_CHECKING:
    from napari_covseg.cases.held_out import Role
    from napari_covseg.cases.records import CaseRecord
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.domain.geometry import Geometry
    from napari_covseg.training.process import Handle
    from napari_covseg.workflows.retrain_request import RetrainRequest, RetrainResult

FEWEST_PATIENTS = 2


@dataclass(frozen=True)
class Material:
    """Accepted cases and what their patients are for; ``drawn`` if that stands for good.

    Counts of ``held_out``, ``validating`` and ``training`` are of patients. ``measured`` and
    ``chosen_by`` are the grids of the cases that measure and that validate, as far as can be told
    before they are drawn.
    """

    cases: int
    patients: int
    held_out: int
    validating: int
    training: int
    drawn: bool
    measured: tuple[Geometry, ...]
    chosen_by: tuple[Geometry, ...]

    @property
    def in_turn(self) -> bool:
        """Whether each patient is left out in turn, as there are few."""
        return not self.held_out

    @property
    def trainings(self) -> int:
        """How many trainings one retraining is."""
        return 1 + (self.patients if self.in_turn and self.patients >= FEWEST_PATIENTS else 0)


@dataclass(frozen=True)
class Unfinished:
    """A retraining that was begun and has not ended; ``elsewhere`` if it runs just now."""

    number: int
    by: str
    started: str
    elsewhere: bool


@dataclass(frozen=True)
class Overview:
    """A store as the panel shows it, read in a worker's thread."""

    store: Path
    material: Material
    unfinished: Unfinished | None
    models: tuple[ModelLine, ...]
    log: tuple[LogLine, ...]
    verdict: Verdict | None

    @property
    def live(self) -> ModelLine:
        """The model that is live."""
        return next(one for one in self.models if one.live)


def overview_steps(store: Path, own: bool = False) -> Steps[Overview]:
    """Read what there is to show. Runs in a thread.

    Parameters
    ----------
    store
        Folder of the case store.
    own
        Whether a retraining of this program runs, so that nobody need be asked.

    Raises
    ------
    InputError
        If the folder is gone or no case store of this version.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "reading the case store")
    opened = CaseStore.open(store)
    models = model_lines(opened)
    return Overview(
        store,
        material_of(opened),
        None if own else _unfinished(opened),
        models,
        log_lines(opened),
        last_verdict(opened, models),
    )


def material_of(store: CaseStore) -> Material:
    """What a store has to train on; nothing is drawn or written."""
    from napari_covseg.cases.held_out import Role, roles_of, sizes

    cases = [case for case in store.cases() if case.accepted is not None]
    patients = {case.patient for case in cases}
    roles = roles_of(store)
    counts = Counter(roles[one] for one in patients if one in roles)
    wanted = sizes(len(patients | roles.keys()))
    held_out = max(wanted[0], counts[Role.HELD_OUT])
    validating = max(wanted[1], counts[Role.VALIDATION])
    return Material(
        len(cases),
        len(patients),
        held_out,
        validating,
        max(0, len(patients) - held_out - validating),
        bool(roles) and patients <= roles.keys(),
        _grids(cases, roles, Role.HELD_OUT, held_out) if held_out else _all(cases),
        _grids(cases, roles, Role.VALIDATION, validating),
    )


def _grids(
    cases: list[CaseRecord], roles: dict[str, Role], role: Role, patients: int
) -> tuple[Geometry, ...]:
    """Grids of the cases of a role, and of as many others as are still to be drawn for it."""
    found = [case for case in cases if roles.get(case.patient) is role]
    missing = patients - len({case.patient for case in found})
    free = sorted({case.patient for case in cases} - roles.keys())[: max(0, missing)]
    return _all([*found, *(case for case in cases if case.patient in free)])


def _all(cases: list[CaseRecord]) -> tuple[Geometry, ...]:
    return tuple(case.geometry for case in cases)


def _unfinished(store: CaseStore) -> Unfinished | None:
    from napari_covseg.domain.errors import ResourceError, UsageError
    from napari_covseg.workflows.retrain_plan import alone, interrupted

    number = interrupted(store)
    if number is None:
        return None
    run = next(one for one in store.runs() if one.number == number)
    elsewhere = False
    try:
        with alone(store):
            pass
    except UsageError:
        elsewhere = True
    except ResourceError:
        pass  # A store that cannot be written to runs no retraining.
    return Unfinished(number, run.by, f"{run.started.astimezone():%d %b, %H:%M}", elsewhere)


class Retraining:
    """One retraining in a process of its own: `steps` in a thread, `stop` from any other."""

    def __init__(self, request: RetrainRequest) -> None:
        self.request = request
        self.handle: Handle[RetrainResult] | None = None
        self._stopped = False

    def steps(self) -> Steps[RetrainResult]:
        """Progress of the child, then its result; closing it stops the child.

        Raises
        ------
        Cancelled
            After `stop`; the state to go on from is saved.
        CovsegError
            What ended the child; the live model is as it was.
        """
        yield Progress(0, 1, "starting")
        from napari_covseg.workflows.retrain import start_retraining

        self.handle = start_retraining(self.request)
        if self._stopped:
            self.handle.cancel()
        return (yield from self.handle.steps())

    def stop(self) -> None:
        """Ask the child to save its state and end, so that the device is free."""
        self._stopped = True
        if self.handle is not None:
            self.handle.cancel()


def give_up_steps(store: Path) -> Steps[None]:
    """Give up the retraining that was interrupted; what it had trained is removed.

    Raises
    ------
    UsageError
        If it runs in another program just now.
    """
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.workflows.retrain_plan import alone, give_up

    yield Progress(0, 1, "clearing up")
    opened = CaseStore.open(store)
    with alone(opened):
        give_up(opened)
