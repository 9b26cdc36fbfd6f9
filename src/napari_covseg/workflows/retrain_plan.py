"""A retraining's plan: decided once, written down, and followed by whoever resumes it.

It lies in ``retraining/run_0001/`` of the store, beside copies of the labels as they were when it
was made: what others accept meanwhile is for the next one.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_covseg.cases.gate import Way
from napari_covseg.cases.held_out import Division, FrozenCase, clean_ancestor, divide
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError, UsageError
from napari_covseg.io.atomic import write_json
from napari_covseg.io.nnunet import read_datasets
from napari_covseg.io.sniff import readable
from napari_covseg.models.device import choose_device
from napari_covseg.models.zoo import load
from napari_covseg.training.schedules import Preset
from napari_covseg.workflows.fine_tuning import fine_tuning
from napari_covseg.workflows.retrain_data import (
    check_others,
    copy_replay,
    copy_store,
    copy_unlabelled,
)
from napari_covseg.workflows.retrain_request import LIVE, RetrainRequest
from napari_covseg.workflows.store_models import model_source
from napari_covseg.workflows.unlabelled import unlabelled_cases, unreadable_cases

FOLDER, PLAN, CACHE = "retraining", "plan.json", "cache"
STORE_DATA, UNLABELLED_DATA = "store", "unlabelled"


@dataclass(frozen=True)
class Plan:
    """What a retraining does.

    Parameters
    ----------
    run
        Its number in the store.
    request
        What was asked for.
    live, start
        SHA-256 of the live model and of the one to start from; None: the shipped one.
    division
        Who trains, validates and measures.
    cases
        The labels that train and validate.
    replayed
        Names of the cases of other datasets, as in the copy.
    unlabelled
        Cases without labels, on which the new model learns to say what the old one says.
    preset
        Every setting.
    unreadable
        Cases that would have been among the ``unlabelled``, but for a damaged scan.
    """

    run: int
    request: RetrainRequest
    live: str | None
    start: str | None
    division: Division
    cases: tuple[FrozenCase, ...]
    replayed: tuple[str, ...]
    preset: Preset
    unlabelled: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def folds(self) -> tuple[str, ...]:
        """Patients to leave out of a training each, to be measured; none with a held-out set."""
        patients = sorted(self.division.measured_patients)
        return tuple(patients) if self.division.way is Way.FOLDS and len(patients) > 1 else ()

    @property
    def distillation(self) -> float:
        """Weight of saying what the old model says; 0 where there is no case for it."""
        return self.request.distillation if self.unlabelled else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        division = self.division
        return {
            "run": self.run,
            "request": self.request.to_dict(),
            "live": self.live,
            "start": self.start,
            "division": {
                "way": division.way.value,
                "training": division.training,
                "validation": division.validation,
                "measured": [one.to_dict() for one in division.measured],
            },
            "cases": [one.to_dict() for one in self.cases],
            "replayed": self.replayed,
            "preset": self.preset.to_dict(),
            "unlabelled": self.unlabelled,
            "unreadable": self.unreadable,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Plan:
        """What `to_dict` wrote."""
        said = content["division"]
        division = Division(
            Way(said["way"]),
            tuple(said["training"]),
            tuple(said["validation"]),
            tuple(FrozenCase.from_dict(one) for one in said["measured"]),
        )
        return cls(
            content["run"],
            RetrainRequest.from_dict(content["request"]),
            content["live"],
            content["start"],
            division,
            tuple(FrozenCase.from_dict(one) for one in content["cases"]),
            tuple(content["replayed"]),
            Preset.from_dict(content["preset"]),
            tuple(content.get("unlabelled", ())),
            tuple(content.get("unreadable", ())),
        )


def run_folder(store: CaseStore, run: int) -> Path:
    """Where a retraining works; gone when it has ended."""
    return store.folder / FOLDER / f"run_{run:04d}"


def interrupted(store: CaseStore) -> int | None:
    """The number of the retraining that was begun and has not ended, if there is one."""
    open_runs = [run.number for run in store.runs() if run.finished is None]
    found = [number for number in open_runs if (run_folder(store, number) / PLAN).is_file()]
    return found[-1] if found else None


@contextmanager
def alone(store: CaseStore) -> Iterator[None]:
    """Only one retraining of a store at a time; a killed one leaves no lock behind.

    Raises
    ------
    UsageError
        If another one is under way.
    ResourceError
        If the store may not be written to.
    """
    folder, name = store.folder / FOLDER, store.folder.name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{name}: may not be written to ({error.strerror})") from None
    # SQLite's lock goes with the process, on every system.
    with closing(sqlite3.connect(folder / "lock", timeout=0.1, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise UsageError(
                    f"{name}: another retraining of this store is under way; wait for it"
                ) from None
            if "full" in str(error):
                raise ResourceError(f"{name}: the disk is full; nothing was changed") from None
            raise ResourceError(f"{name}: may not be written to ({error})") from None
        yield


def find_or_make(store: CaseStore, request: RetrainRequest) -> Plan:
    """The plan to go on with (``resume``), or a new one.

    Raises
    ------
    UsageError
        If there is an interrupted retraining and nobody said what to do with it, or none to resume.
    InputError
        If no case was accepted, or a label file or the plan to go on with is damaged.
    ModelError
        If the model to start from cannot be read.
    ResourceError
        If the store may not be written to or the disk is full.
    """
    number = interrupted(store)
    if request.resume:
        if number is None:
            raise UsageError(f"{store.folder.name}: no interrupted retraining to go on with")
        plan = _read(store, number)
        # The store may have been moved, and perhaps another device is there.
        moved = replace(plan.request, store=store.folder, device=request.device)
        return replace(plan, request=moved)
    if number is not None and not request.discard:
        raise UsageError(
            f"{store.folder.name}: retraining {number} was interrupted; go on with it "
            "(--resume) or give it up (--discard)"
        )
    give_up(store)
    return _make(store, request)


def _read(store: CaseStore, number: int) -> Plan:
    """The plan of an interrupted retraining."""
    path = run_folder(store, number) / PLAN
    with readable(path):
        content = path.read_bytes()
    try:
        return Plan.from_dict(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, CovsegError):
        raise InputError(
            f"{PLAN}: the plan of retraining {number} is damaged, so it cannot go on; give it up "
            "(--discard) and retrain anew"
        ) from None


def give_up(store: CaseStore) -> None:
    """End what was begun and never ended, and remove what it has trained; call it `alone`.

    Raises
    ------
    ResourceError
        If the store may not be written to.
    """
    for run in store.runs():
        if run.finished is None:
            store.finish_run(run.number, outcome="given up")
            shutil.rmtree(run_folder(store, run.number), ignore_errors=True)


def _make(store: CaseStore, request: RetrainRequest) -> Plan:
    if not any(case.accepted for case in store.cases()):
        raise InputError(
            f"{store.folder.name}: no case is accepted yet; correct some and accept them first"
        )
    division = divide(store, author=request.author, seed=request.seed)
    if not division.training:
        raise InputError(
            f"{store.folder.name}: every accepted case is held out or validates; accept cases of "
            "other patients"
        )
    live = store.live_model()
    start = live if request.start == LIVE else None
    start = clean_ancestor(store, start, division.measured_patients)
    start_sha = start.sha256 if start else None
    model = load(model_source(store, start_sha))
    # With fewer than two patients there is nobody to leave out.
    patients = len(division.measured_patients)
    trainings = 1 + (patients if division.way is Way.FOLDS and patients > 1 else 0)
    preset = fine_tuning(model, choose_device(request.device).kind, trainings)
    preset = preset.with_settings([f"seed={request.seed}", *request.settings])
    cases = tuple(_accepted(store, name) for name in (*division.training, *division.validation))
    live_sha = live.sha256 if live else None
    run = store.start_run(by=request.author, settings=preset.to_dict())
    others = unlabelled_cases(store, division, request.seed) if request.distillation else ()
    damaged = unreadable_cases(store, others)
    others = tuple(case for case in others if case not in damaged)
    plan = Plan(run, request, live_sha, start_sha, division, cases, (), preset, others, damaged)
    try:
        return _written(store, plan)
    except CovsegError as error:
        store.finish_run(run, outcome=f"failed: {error}")
        shutil.rmtree(run_folder(store, run), ignore_errors=True)
        raise


def _written(store: CaseStore, plan: Plan) -> Plan:
    """Copy the labels; the plan is written last, and only then there is something to resume."""
    folder = run_folder(store, plan.run)
    data = folder / "data"
    copy_store(store, plan.cases, data / STORE_DATA)
    if plan.unlabelled:
        copy_unlabelled(store, plan.unlabelled, data / UNLABELLED_DATA)
    replayed = {}
    if plan.request.replay is not None:
        datasets = read_datasets(plan.request.replay)
        measured = [store.image_path(one.case) for one in plan.division.measured]
        check_others(datasets, [*measured, *map(store.image_path, plan.division.validation)])
        replayed = copy_replay(datasets, data)
    names = tuple(name for found in replayed.values() for name in found)
    preset = replace(plan.preset, dataset_weights=_weights(plan, list(replayed)))
    plan = replace(plan, replayed=names, preset=preset)
    write_json(folder / PLAN, plan.to_dict())
    return plan


def _weights(plan: Plan, replayed: Sequence[str]) -> Mapping[str, float]:
    """How often batches come from each dataset."""
    if not replayed and not plan.unlabelled:
        return plan.preset.dataset_weights
    share = plan.request.replay_share if replayed else 0.0
    weights = {STORE_DATA: 1 - share} | {name: share / len(replayed) for name in replayed}
    if plan.unlabelled:
        taught = plan.request.distillation_share
        weights = {name: (1 - taught) * weight for name, weight in weights.items()}
        weights[UNLABELLED_DATA] = taught
    return weights


def _accepted(store: CaseStore, name: str) -> FrozenCase:
    case = store.case(name)
    if case.accepted is None:
        raise InputError(f"{name}: its labels were sent back just now; try again")
    version = store.version(case.accepted)
    return FrozenCase(name, case.patient, version.id, version.sha256, case.accepted_slices)
