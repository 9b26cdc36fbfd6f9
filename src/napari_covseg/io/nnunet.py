"""nnU-Net raw datasets: ``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz``, ``dataset.json``.

Version 2 is read as it is: numbers, lists (regions) and ``ignore`` as labels, any file ending that
a CT is read from, and the explicit list of files under ``dataset``. Version 1 differs in names of
fields only, so it is read too.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.io.label_schemes import dataset_label_map
from napari_covseg.io.sniff import readable

PATIENTS_FILE = "cases.csv"
_SHOWN = 5
_DETACHED = (".mhd", ".nhdr")


@dataclass(frozen=True, slots=True)
class RawCase:
    """One annotated CT: its files, the dataset it stands in, and whose it is."""

    name: str
    dataset: str
    image: Path
    labels: Path
    patient: str


@dataclass(frozen=True)
class RawDataset:
    """The training cases of one nnU-Net dataset, by name, and what its label values mean."""

    name: str
    folder: Path
    cases: tuple[RawCase, ...]
    label_map: Mapping[int, Label]
    warnings: tuple[str, ...] = ()


def read_datasets(
    folder: Path,
    *,
    patients: Path | None = None,
    label_map: Mapping[int, Label] | None = None,
) -> tuple[RawDataset, ...]:
    """The dataset in ``folder``, or those in its subfolders, by name. Voxels are not read yet.

    Parameters
    ----------
    folder
        Holds ``imagesTr``, ``labelsTr`` and ``dataset.json``, or folders that do.
    patients
        CSV with the columns ``case`` and ``patient``. Without it ``cases.csv`` in the dataset or
        in the folder above; without that each case is a patient of its own, with a warning.
    label_map
        What the values mean, instead of the names in ``dataset.json``.

    Raises
    ------
    InputError
        If there is no dataset, ``dataset.json`` is missing or damaged, a label is not known, an
        image has no labels or labels no image, a case has no patient, a name is used twice, or
        voxels are kept apart from their headers (``.mhd``, ``.nhdr``): what is prepared is kept by
        the bytes of the files named, so changed voxels would go unseen.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise InputError(f"{folder.name}: no such folder; expected an nnU-Net dataset")
    folders = [folder] if _is_dataset(folder) else sorted(filter(_is_dataset, folder.iterdir()))
    if not folders:
        raise InputError(
            f"{folder.name}: no nnU-Net dataset; expected imagesTr, labelsTr and dataset.json "
            "in it or in its subfolders"
        )
    datasets = []
    for one in folders:
        with readable(one):
            datasets.append(_read_dataset(one, patients, label_map))
    names = [case.name for dataset in datasets for case in dataset.cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{folder.name}: case names in more than one dataset: {_listed(twice)}; rename one of "
            "each, since splits are kept by name"
        )
    return tuple(datasets)


def holds_datasets(folder: Path) -> bool:
    """Whether `read_datasets` finds any in ``folder``."""
    return folder.is_dir() and (_is_dataset(folder) or any(map(_is_dataset, folder.iterdir())))


def _is_dataset(folder: Path) -> bool:
    return (folder / "dataset.json").is_file() or (folder / "imagesTr").is_dir()


def _read_dataset(
    folder: Path, patients: Path | None, label_map: Mapping[int, Label] | None
) -> RawDataset:
    about = _read_json(folder / "dataset.json", folder.name)
    channels = about.get("channel_names", about.get("modality", {}))
    if not isinstance(channels, dict | list):
        raise InputError(f"{folder.name}: dataset.json is damaged: its channels are no list")
    if len(channels) > 1:
        raise InputError(
            f"{folder.name}: {len(channels)} channels in dataset.json; expected one, the CT"
        )
    if label_map is None:
        label_map = dataset_label_map(folder / "labelsTr" / "any")
    if label_map is None:
        raise InputError(f"{folder.name}: dataset.json names no labels")
    files = _files(folder, about)
    warnings = []
    if about.get("numTraining", len(files)) != len(files):
        warnings.append(
            f"{folder.name}: dataset.json says {about['numTraining']} training cases, "
            f"{len(files)} are there"
        )
    table, note = _patients(folder, patients, files)
    cases = tuple(
        RawCase(name, folder.name, image, labels, table[name])
        for name, (image, labels) in sorted(files.items())
    )
    return RawDataset(folder.name, folder, cases, label_map, (*warnings, *note))


def _read_json(file: Path, dataset: str) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{dataset}: dataset.json is missing; it says what the labels mean")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{dataset}: dataset.json could not be read as JSON")
    return content


def _files(folder: Path, about: Mapping[str, Any]) -> dict[str, tuple[Path, Path]]:
    """Image and labels of each case; both are there."""
    if "dataset" in about:
        files = _listed_files(folder, about["dataset"])
    else:
        files = _found_files(folder, str(about.get("file_ending", ".nii.gz")))
    for number, kind in enumerate(("image", "label file")):
        lost = [name for name, pair in sorted(files.items()) if not pair[number].is_file()]
        if lost:
            example = files[lost[0]][number]
            raise InputError(
                f"{folder.name}: {len(lost)} of {len(files)} cases without {kind}: {_listed(lost)} "
                f"(expected {example.parent.name}/{example.name})"
            )
    apart = [p.name for pair in files.values() for p in pair if p.suffix.lower() in _DETACHED]
    if apart:
        raise InputError(
            f"{folder.name}: {len(apart)} files keep their voxels in another file: "
            f"{_listed(sorted(apart))}; convert them to .nii.gz, .nrrd or .mha"
        )
    if not files:
        raise InputError(f"{folder.name}: no training cases in imagesTr and labelsTr")
    return files


def _found_files(folder: Path, ending: str) -> dict[str, tuple[Path, Path]]:
    images, labels = folder / "imagesTr", folder / "labelsTr"
    names = {p.name.removesuffix(f"_0000{ending}") for p in _visible(images, f"_0000{ending}")}
    names |= {p.name.removesuffix(ending) for p in _visible(labels, ending)}
    return {name: (images / f"{name}_0000{ending}", labels / f"{name}{ending}") for name in names}


def _visible(folder: Path, ending: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return [p for p in folder.iterdir() if p.name.endswith(ending) and not p.name.startswith(".")]


def _listed_files(folder: Path, listed: Any) -> dict[str, tuple[Path, Path]]:
    """The explicit form: ``{case: {"images": [path], "label": path}}``, paths from ``folder``."""
    try:
        return {
            name: (folder / files["images"][0], folder / files["label"])
            for name, files in listed.items()
        }
    except (AttributeError, KeyError, IndexError, TypeError):
        raise InputError(
            f"{folder.name}: the files listed in dataset.json are damaged; expected "
            '{"CASE": {"images": [PATH], "label": PATH}} under "dataset"'
        ) from None


def _patients(
    folder: Path, given: Path | None, cases: Iterable[str]
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    places = [given] if given else [folder / PATIENTS_FILE, folder.parent / PATIENTS_FILE]
    for place in places:
        if given or place.is_file():
            table = read_patients(place)
            lost = sorted(case for case in cases if case not in table)
            if lost:
                raise InputError(
                    f"{place.name}: names no patient for {len(lost)} cases of {folder.name}: "
                    f"{_listed(lost)}"
                )
            return table, ()
    note = (
        f"{folder.name}: no {PATIENTS_FILE}, so each case counts as a patient of its own; scans of "
        "one patient may then stand on both sides of a split"
    )
    return {case: case for case in cases}, (note,)


def read_patients(file: Path) -> dict[str, str]:
    """The patient of each case, from a CSV with the columns ``case`` and ``patient``.

    Raises
    ------
    InputError
        If it cannot be read, a column is missing, or a case has no patient or two.
    """
    with readable(file):
        text = file.read_bytes()
    try:
        rows = list(csv.DictReader(text.decode("utf-8-sig").splitlines()))
        pairs = [(row["case"].strip(), row["patient"].strip()) for row in rows]
    except (KeyError, AttributeError, TypeError, UnicodeError, csv.Error):
        raise InputError(f"{file.name}: expected a CSV with the columns case and patient") from None
    table: dict[str, str] = {}
    for case, patient in pairs:
        if not patient:
            raise InputError(f"{file.name}: case {case} has no patient")
        if table.setdefault(case, patient) != patient:
            raise InputError(f"{file.name}: case {case} has two patients")
    return table


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
