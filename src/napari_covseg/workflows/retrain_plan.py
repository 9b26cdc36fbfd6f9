"""A retraining's plan: decided once, written down, and followed by whoever resumes it.

It lies in ``retraining/run_0001/`` of the store, beside copies of the labels as they were when it
was made: what others accept meanwhile is for the next one.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_covseg.cases import derived
from napari_covseg.cases.files import sha256_of
from napari_covseg.cases.gate import Way
from napari_covseg.cases.held_out import Division, FrozenCase, clean_ancestor, divide, reference
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError, UsageError
from napari_covseg.io.atomic import write_json
from napari_covseg.io.nnunet import RawDataset, read_datasets
from napari_covseg.io.write import write_labels
from napari_covseg.models.device import choose_device
from napari_covseg.models.zoo import load
from napari_covseg.training.schedules import Preset
from napari_covseg.training.state import make_folder
from napari_covseg.workflows.fine_tuning import fine_tuning
from napari_covseg.workflows.retrain_request import LIVE, RetrainRequest
from napari_covseg.workflows.store_models import model_source

FOLDER, PLAN, CACHE, STORE_DATA = "retraining", "plan.json", "cache", "store"


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
    preset
        Every setting.
    """

    run: int
    request: RetrainRequest
    live: str | None
    start: str | None
    division: Division
    cases: tuple[FrozenCase, ...]
    replayed: tuple[str, ...]
    preset: Preset

    @property
    def folds(self) -> tuple[str, ...]:
        """Patients to leave out of a training each, to be measured; none with a held-out set."""
        patients = sorted(self.division.measured_patients)
        return tuple(patients) if self.division.way is Way.FOLDS and len(patients) > 1 else ()

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
    folder = store.folder / FOLDER
    make_folder(folder)
    name = store.folder.name
    # SQLite's lock goes with the process, on every system.
    with closing(sqlite3.connect(folder / "lock", timeout=0.1, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise UsageError(
                    f"{name}: another retraining of this store is under way; wait for it"
                ) from None
            raise ResourceError(f"{name}: may not be written to ({error})") from None
        yield


def find_or_make(store: CaseStore, request: RetrainRequest) -> Plan:
    """The plan to go on with (``resume``), or a new one.

    Raises
    ------
    UsageError
        If there is an interrupted retraining and nobody said what to do with it, or none to resume.
    InputError
        If no case was accepted, or a label file is damaged.
    ModelError
        If the model to start from cannot be read.
    ResourceError
        If the store may not be written to or the disk is full.
    """
    number = interrupted(store)
    if request.resume:
        if number is None:
            raise UsageError(f"{store.folder.name}: no interrupted retraining to go on with")
        content = json.loads((run_folder(store, number) / PLAN).read_text(encoding="utf-8"))
        plan = Plan.from_dict(content)
        # The store may have been moved, and perhaps another device is there.
        moved = replace(plan.request, store=store.folder, device=request.device)
        return replace(plan, request=moved)
    if number is not None and not request.discard:
        raise UsageError(
            f"{store.folder.name}: retraining {number} was interrupted; go on with it "
            "(--resume) or give it up (--discard)"
        )
    for run in store.runs():
        if run.finished is None:
            store.finish_run(run.number, outcome="given up")
            shutil.rmtree(run_folder(store, run.number), ignore_errors=True)
    return _make(store, request)


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
    plan = Plan(run, request, live_sha, start_sha, division, cases, (), preset)
    try:
        return _written(store, plan)
    except CovsegError as error:
        store.finish_run(run, outcome=f"failed: {error}")
        shutil.rmtree(run_folder(store, run), ignore_errors=True)
        raise


def _written(store: CaseStore, plan: Plan) -> Plan:
    """Copy the labels; the plan is written last, and only then there is something to resume."""
    folder = run_folder(store, plan.run)
    data, share = folder / "data", plan.request.replay_share
    _copy_store(store, plan.cases, data / STORE_DATA)
    replayed = {}
    if plan.request.replay is not None:
        datasets = read_datasets(plan.request.replay)
        measured = [store.image_path(one.case) for one in plan.division.measured]
        _check_others(datasets, [*measured, *map(store.image_path, plan.division.validation)])
        replayed = _copy_replay(datasets, data)
    if replayed:
        weights = {name: share / len(replayed) for name in replayed} | {STORE_DATA: 1 - share}
        names = tuple(name for found in replayed.values() for name in found)
        preset = replace(plan.preset, dataset_weights=weights)
        plan = replace(plan, replayed=names, preset=preset)
    write_json(folder / PLAN, plan.to_dict())
    return plan


def _accepted(store: CaseStore, name: str) -> FrozenCase:
    case = store.case(name)
    if case.accepted is None:
        raise InputError(f"{name}: its labels were sent back just now; try again")
    version = store.version(case.accepted)
    return FrozenCase(name, case.patient, version.id, version.sha256, case.accepted_slices)


def _copy_store(store: CaseStore, cases: Sequence[FrozenCase], folder: Path) -> None:
    """An nnU-Net dataset of these labels; images stay where they are."""
    make_folder(folder / derived.LABELS)
    content = derived.dataset_json([one.case for one in cases], listed=True)
    for one in cases:
        write_labels(reference(store, one), derived.labels_path(folder, one.case))
        image = os.path.relpath(store.image_path(one.case), folder)
        content["dataset"][one.case]["images"] = [image]
    write_json(folder / "dataset.json", content)
    derived.write_patients(folder, {one.case: one.patient for one in cases})


def _check_others(datasets: Iterable[RawDataset], measuring: Iterable[Path]) -> None:
    """Nobody who measures may train by way of other data; found out by the files' bytes."""
    sizes: dict[int, list[Path]] = {}
    for path in measuring:
        sizes.setdefault(path.stat().st_size, []).append(path)
    for case in (case for dataset in datasets for case in dataset.cases):
        alike = sizes.get(case.image.stat().st_size, [])
        if alike and sha256_of(case.image) in map(sha256_of, alike):
            raise InputError(
                f"{case.image.name}: this scan is held out in the store, so it may not train; "
                "leave it out of the data to replay"
            )


def _copy_replay(datasets: Iterable[RawDataset], data: Path) -> dict[str, list[str]]:
    """Tables of other datasets' files, under names of their own; by dataset, the names."""
    found: dict[str, list[str]] = {}
    for number, dataset in enumerate(datasets):
        name = f"replay_{number + 1}"
        labels: dict[str, list[int]] = {}
        for value, label in dataset.label_map.items():
            labels.setdefault(label.name.lower(), []).append(value)
        files = {
            f"{name}_{case.name}": {"images": [str(case.image)], "label": str(case.labels)}
            for case in dataset.cases
        }
        about = {"channel_names": {"0": "CT"}, "labels": labels, "dataset": files}
        make_folder(data / name)
        write_json(data / name / "dataset.json", {**about, "numTraining": len(files)})
        patients = {f"{name}_{case.name}": f"{name}_{case.patient}" for case in dataset.cases}
        derived.write_patients(data / name, patients)
        found[name] = list(files)
    return found
