"""Bring CTs and labels into a case store: scans, nnU-Net datasets, masks of other schemes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_covseg.cases.records import (
    CaseRecord,
    DuplicateCase,
    Kind,
    LabelVersion,
    NewVersion,
    State,
)
from napari_covseg.domain.errors import CovsegError, InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.io.dicom import is_dicom
from napari_covseg.io.dicom_patient import dicom_patient_id
from napari_covseg.io.inputs import VOLUME_SUFFIXES, case_name, find_inputs
from napari_covseg.io.labels import ScanGrid, label_case_name, read_labels
from napari_covseg.io.nnunet import RawDataset, read_datasets, read_patients
from napari_covseg.io.read import read_volume
from napari_covseg.io.slicer_seg import is_slicer_seg, read_slicer_seg
from napari_covseg.io.sniff import readable

if TYPE_CHECKING:
    from napari_covseg.cases.store import CaseStore

_LABEL_SUFFIXES = (*VOLUME_SUFFIXES, ".dcm")


@dataclass(frozen=True)
class AddRequest:
    """What to add, and how it is to be understood.

    Parameters
    ----------
    inputs
        CTs, folders of CTs, or nnU-Net raw datasets.
    author
        Who adds them; also the author of the labels.
    labels
        A label file for the one CT, or a folder of label files named as their CTs.
    label_map
        What the numbers in label files mean, where they do not say so themselves.
    patients
        CSV with the columns ``case`` and ``patient``, the case being the file's name.
    accept
        Accept the labels at once, as reviewed wherever they are not ``ignore``.
    keep_names
        Keep the files' names instead of ``case_0001``: only if they say nothing about patients.
    series, window
        As for `read_volume`.
    """

    inputs: tuple[Path, ...]
    author: str
    labels: Path | None = None
    label_map: Mapping[int, Label] | None = None
    patients: Path | None = None
    accept: bool = False
    keep_names: bool = False
    series: str | None = None
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of an input: its case (new, or there before), or the error."""

    source: str
    case: str = ""
    patient: str = ""
    state: State | None = None
    already_there: bool = False
    warnings: tuple[str, ...] = ()
    error: CovsegError | None = None


@dataclass(frozen=True)
class _Source:
    """A CT, and what goes with it; ``patient`` is whatever tells who they are."""

    path: Path
    labels: Path | None
    patient: str | None
    name: str | None
    label_map: Mapping[int, Label] | None
    notes: tuple[str, ...] = ()


def add_cases(store: CaseStore, request: AddRequest) -> Steps[list[Added]]:
    """Add each CT to the store, with its labels if there are any; one that fails stops no other.

    A CT that is in the store already is not added again; labels for it are taken if it has none.

    Raises
    ------
    InputError
        If an input is not there, label files fit no CT, or a table of patients lacks one.
    UsageError
        If one label file is given for several CTs.
    """
    sources = _sources(request)
    done: list[Added] = []
    for source in sources:
        yield Progress(len(done), len(sources), f"adding {source.path.name}")
        try:
            done.append(_add(store, source, request))
        except CovsegError as error:
            done.append(Added(source.path.name, error=error))
    yield Progress(len(done), len(sources), "done")
    return done


def add_labels(
    store: CaseStore,
    case: str,
    path: Path,
    *,
    author: str,
    label_map: Mapping[int, Label] | None = None,
    reviewed: Iterable[int] | None = None,
    minutes: float = 0.0,
    comment: str = "",
) -> LabelVersion:
    """A label file as the next version of a case, such as one that was edited in 3D Slicer.

    Without ``reviewed`` the slices count as reviewed that did in the version before.

    Raises
    ------
    InputError
        If there is no such case, the file cannot be read or does not lie on the case's grid.
    """
    record = store.case(case)
    labels = _read_labels(path, ScanGrid(record.geometry), label_map)
    saved = store.save_version(
        case,
        labels,
        NewVersion(
            author=author,
            kind=Kind.IMPORT if record.newest is None else Kind.CORRECTION,
            parent=record.newest,
            reviewed=reviewed,
            minutes=minutes,
            comment=comment,
        ),
    )
    return saved.version


def _add(store: CaseStore, source: _Source, request: AddRequest) -> Added:
    volume = read_volume(source.path, series=request.series, window=request.window)
    labels = None
    notes = list(volume.warnings)
    if source.labels is not None:
        onto = ScanGrid(volume.geometry, source.path, request.series)
        labels = _read_labels(source.labels, onto, source.label_map)
        notes += labels.warnings
    patient, patient_notes = source.patient, list(source.notes)
    if patient is None and volume.source == "DICOM":
        patient = dicom_patient_id(source.path, request.series)
        if not patient:
            patient_notes.append("no PatientID: it counts as a patient of its own")
    record, there = _case(store, volume, source.name, patient, request.author)
    if not there:
        notes += patient_notes
    if labels is not None:
        if has_drawn(store, record):
            notes.append("it has labels already: those given were left out (add them with --case)")
        else:
            _label(store, record.name, labels, request)
    record = store.case(record.name)
    return Added(source.path.name, record.name, record.patient, record.state, there, tuple(notes))


def has_drawn(store: CaseStore, record: CaseRecord) -> bool:
    """Whether anything but a model made labels for the case."""
    versions = store.history(record.name) if record.versions else []
    return any(one.kind is not Kind.PREDICTION for one in versions)


def _case(
    store: CaseStore, volume: CTVolume, name: str | None, patient: str | None, author: str
) -> tuple[CaseRecord, bool]:
    try:
        return store.add_case(volume, author=author, patient=patient, name=name), False
    except DuplicateCase as known:
        return store.case(known.case), True


def _label(store: CaseStore, case: str, labels: LabelMap, request: AddRequest) -> None:
    known = np.flatnonzero((labels.labels != Label.IGNORE.value).any(axis=(1, 2)))
    saved = store.save_version(
        case,
        labels,
        NewVersion(author=request.author, kind=Kind.IMPORT, reviewed=[int(z) for z in known]),
    )
    if request.accept:
        store.accept(saved.version.id, reader=request.author)


def _read_labels(path: Path, onto: ScanGrid, label_map: Mapping[int, Label] | None) -> LabelMap:
    """A label file that lies on a CT's grid, or contours drawn on it."""
    with readable(path):
        slicer = path.name.lower().endswith(".nrrd") and is_slicer_seg(path)
    if slicer:
        return read_slicer_seg(path, grid=onto.geometry, label_map=label_map)
    labels = read_labels(path, label_map=label_map, onto=onto)
    if not labels.geometry.same_as(onto.geometry):
        raise InputError(
            f"{path.name}: it does not lie on the grid of its CT (other size, spacing or place); "
            "expected labels drawn on that CT"
        )
    return labels


def _sources(request: AddRequest) -> list[_Source]:
    found: list[_Source] = []
    loose: list[Path] = []
    for path in request.inputs:
        datasets = _datasets(path, request)
        if datasets is None:
            loose += find_inputs([path])
        else:
            found += [one for dataset in datasets for one in _of_dataset(dataset, request)]
    return [*found, *_loose(loose, request)]


def _datasets(path: Path, request: AddRequest) -> tuple[RawDataset, ...] | None:
    """The nnU-Net datasets in a folder; None if it is something else."""
    if not path.is_dir():
        return None
    folders = [path, *(inner for inner in path.iterdir() if inner.is_dir())]
    if not any((one / "labelsTr").is_dir() for one in folders):
        return None
    return read_datasets(path, patients=request.patients, label_map=request.label_map)


def _of_dataset(dataset: RawDataset, request: AddRequest) -> list[_Source]:
    return [
        _Source(
            path=case.image,
            labels=case.labels,
            # Without a table each case is its own patient there, by the case's name; the same
            # name in another dataset is no reason to think of one patient.
            patient=case.patient if case.patient != case.name else None,
            name=case.name if request.keep_names else None,
            label_map=dataset.label_map,
            notes=() if number else dataset.warnings,
        )
        for number, case in enumerate(dataset.cases)
    ]


def _loose(paths: list[Path], request: AddRequest) -> list[_Source]:
    """CTs that belong to no dataset, each with its label file and its patient."""
    labels = _label_files(request.labels, paths)
    patients = read_patients(request.patients) if request.patients and paths else None
    table = request.patients.name if request.patients else ""
    sources = []
    for path in paths:
        key = case_name(path)
        if patients is not None and key not in patients:
            raise InputError(f"{table}: names no patient for {path.name}")
        sources.append(
            _Source(
                path=path,
                labels=labels.pop(path, None),
                patient=patients[key] if patients else None,
                name=key if request.keep_names else None,
                label_map=request.label_map,
                notes=() if patients or is_dicom(path) else (_NO_PATIENT,),
            )
        )
    return sources


_NO_PATIENT = "nothing says whose scan it is: it counts as a patient of its own (--patients)"


def _label_files(labels: Path | None, paths: list[Path]) -> dict[Path, Path]:
    """The label file of each CT, by the CT's path."""
    if labels is None:
        return {}
    if not labels.is_dir():
        if len(paths) != 1:
            raise UsageError(
                f"{labels.name}: one label file for {len(paths)} CTs; give a folder of label files "
                "named as their CTs"
            )
        return {paths[0]: labels}
    files = {
        label_case_name(file): file
        for file in sorted(labels.iterdir())
        if file.name.lower().endswith(_LABEL_SUFFIXES) and not file.name.startswith(".")
    }
    found = {path: files.pop(case_name(path)) for path in paths if case_name(path) in files}
    if files:
        lost = next(iter(files.values())).name
        raise InputError(
            f"{labels.name}: {len(files)} label files fit no CT that is added, such as {lost}; "
            "they must be named as their CTs"
        )
    return found
