"""What a pretraining looks at: images of annotated datasets, and CTs that nobody has annotated."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.inputs import find_inputs
from napari_covseg.io.nnunet import RawDataset, holds_datasets, read_datasets
from napari_covseg.io.read import read_volume
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.cache import FORMAT, Entry, read_entry, write_entry
from napari_covseg.training.cases import TrainingCase, axial_grey
from napari_covseg.training.dataset import UNLABELLED

UNLABELLED_SET = "unlabelled"
"""What the CTs outside of annotated datasets are called together, as one dataset."""


@dataclass(frozen=True)
class Found:
    """Annotated datasets, and paths of CTs beside them."""

    datasets: tuple[RawDataset, ...]
    scans: tuple[Path, ...]


def find_data(
    paths: Iterable[Path],
    patients: Path | None = None,
    label_map: Mapping[int, Label] | None = None,
) -> Found:
    """Every nnU-Net dataset (or folder of them) and every CT that ``paths`` name.

    Raises
    ------
    InputError
        As `read_datasets` and `find_inputs`; or if two datasets share a case's name.
    """
    datasets: list[RawDataset] = []
    scans: list[Path] = []
    for path in paths:
        if holds_datasets(path):
            datasets += read_datasets(path, patients=patients, label_map=label_map)
        else:
            scans += find_inputs([path])
    names = [case.name for dataset in datasets for case in dataset.cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"case names in more than one dataset: {twice[0]}; rename one of each")
    return Found(tuple(datasets), tuple(dict.fromkeys(scans)))


@dataclass(frozen=True)
class Scans:
    """CTs as `load_scans` prepared them; ``failed`` says in a line each which could not be read."""

    cases: tuple[TrainingCase, ...]
    failed: tuple[str, ...]


def load_scans(
    paths: Sequence[Path],
    recipe: AxialRecipe,
    cache: Path | None,
    window_hu: tuple[float, float] | None = None,
    patients: Mapping[str, str] | None = None,
) -> Steps[Scans]:
    """Slices of CTs in any format that is read, prepared and without labels.

    ``patients`` names the patient of a CT by its case name; one that it does not know is a patient
    of its own. What cannot be read is left out. Prepared slices are kept in the folder ``cache``,
    found by the CT's voxels.

    Raises
    ------
    ResourceError
        If the cache cannot be written, or memory does not suffice.
    """
    cases: list[TrainingCase] = []
    failed: list[str] = []
    for number, path in enumerate(paths):
        yield Progress(number, len(paths), "reading CTs without labels")
        try:
            name, entry = _prepared(path, recipe, cache, window_hu)
        except InputError as error:
            failed.append(f"left out: {error}")
            continue
        name = _free(name, {case.name for case in cases})
        codes = np.broadcast_to(np.uint8(UNLABELLED), entry.image.shape)
        patient = (patients or {}).get(name, name)
        known = (name, UNLABELLED_SET, patient, entry.image, codes, entry.spacing_mm)
        cases.append(TrainingCase(*known, entry.warnings))
    return Scans(tuple(cases), tuple(failed))


def _prepared(
    path: Path, recipe: AxialRecipe, cache: Path | None, window_hu: tuple[float, float] | None
) -> tuple[str, Entry]:
    volume = read_volume(path, window=window_hu)
    spacing = volume.geometry.spacing_mm
    key = hashlib.sha256(repr((FORMAT, recipe.to_dict(), spacing, volume.hu.shape)).encode())
    key.update(np.ascontiguousarray(volume.hu).data)
    found = read_entry(cache, key.hexdigest()) if cache else None
    if found is not None:
        return volume.case, found
    made = Entry(
        axial_grey(volume.hu, spacing, recipe),
        np.full((1, 1, 1), UNLABELLED, np.uint8),
        (spacing[0], recipe.pixel_mm, recipe.pixel_mm),
        tuple(f"{path.name}: {note}" for note in volume.warnings),
    )
    return volume.case, write_entry(cache, key.hexdigest(), made) if cache else made


def _free(name: str, taken: Collection[str]) -> str:
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def without_held_out(
    scans: Iterable[TrainingCase], held_out: Sequence[TrainingCase]
) -> list[TrainingCase]:
    """Those scans that are of no held-out patient, and share no slice with a held-out case.

    A scan that lies there twice, once annotated and once not, often has two names; its prepared
    slices are the same to the last bit. Slices of one grey level do not count.
    """
    names = {case.name for case in held_out} | {case.patient for case in held_out}
    slices = set().union(*(_slices(case.image) for case in held_out)) if held_out else set()
    return [
        scan
        for scan in scans
        if scan.name not in names and scan.patient not in names and not slices & _slices(scan.image)
    ]


def _slices(image: NDArray[np.uint8]) -> set[bytes]:
    """A hash of each slice that shows anything."""
    return {
        hashlib.sha256(repr(plane.shape).encode() + plane.tobytes()).digest()
        for plane in map(np.asarray, image)
        if plane.min() != plane.max()
    }


def images_hash(cases: Iterable[TrainingCase]) -> str:
    """A hash of every prepared image, whose it is and what it is called."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(f"{case.dataset} {case.name} {case.patient} {case.image.shape}\n".encode())
        digest.update(np.ascontiguousarray(case.image).data)
    return digest.hexdigest()
