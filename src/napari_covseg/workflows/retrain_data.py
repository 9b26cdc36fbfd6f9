"""What a retraining reads, in its own folder: nnU-Net datasets of labels as they are now.

Images stay where they are; only labels are copied.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from napari_covseg.cases import derived
from napari_covseg.cases.held_out import FrozenCase, reference
from napari_covseg.cases.replayed import scan_of
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.atomic import write_json
from napari_covseg.io.nnunet import RawDataset
from napari_covseg.io.write import write_labels
from napari_covseg.training.state import make_folder


def copy_store(store: CaseStore, cases: Sequence[FrozenCase], folder: Path) -> None:
    """An nnU-Net dataset of these labels; images stay where they are."""
    make_folder(folder / derived.LABELS)
    for one in cases:
        write_labels(reference(store, one), derived.labels_path(folder, one.case))
    _describe(store, {one.case: one.patient for one in cases}, folder)


def copy_unlabelled(store: CaseStore, cases: Sequence[str], folder: Path) -> None:
    """An nnU-Net dataset of these images, all of them left open."""
    make_folder(folder / derived.LABELS)
    patients = {}
    for case in map(store.case, cases):
        nothing = np.full(case.geometry.shape, Label.IGNORE, np.uint8)
        labels = LabelMap(nothing, case.geometry, case.name, case.to_native)
        write_labels(labels, derived.labels_path(folder, case.name))
        patients[case.name] = case.patient
    _describe(store, patients, folder)


def _describe(store: CaseStore, patients: Mapping[str, str], folder: Path) -> None:
    """``dataset.json`` and ``cases.csv`` for these cases' labels and the store's images."""
    content = derived.dataset_json(list(patients), listed=True)
    for case in patients:
        image = os.path.relpath(store.image_path(case), folder)
        content["dataset"][case]["images"] = [image]
    write_json(folder / "dataset.json", content)
    derived.write_patients(folder, patients)


def check_others(datasets: Iterable[RawDataset], measuring: Iterable[Path]) -> None:
    """Nobody who measures may train by way of other data; found out by the voxels in HU.

    Not by the files' bytes: a store writes each scan anew. Only scans of one size are read.

    Raises
    ------
    InputError
        If a scan of the datasets is one of those.
    """
    content = cache(_content)
    sizes: dict[tuple[int, ...] | None, list[Path]] = {}
    for path in measuring:
        sizes.setdefault(_size(path), []).append(path)
    every = [path for paths in sizes.values() for path in paths]
    for case in (case for dataset in datasets for case in dataset.cases):
        size = _size(case.image)
        alike = every if size is None else [*sizes.get(size, ()), *sizes.get(None, ())]
        if alike and content(case.image) in map(content, alike):
            raise InputError(
                f"{case.image.name}: this scan is held out in the store, so it may not train; "
                "leave it out of the data to replay"
            )


def _size(path: Path) -> tuple[int, ...] | None:
    """Voxels along the axes of a NIfTI file, in whatever order; None where that takes reading."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        return tuple(sorted(nibabel.load(path).shape[:3]))  # type: ignore[attr-defined]
    except (ImageFileError, OSError, ValueError):
        return None


def _content(path: Path) -> str:
    return str(scan_of(path)["sha256"])


def replayed_scans(
    datasets: Iterable[RawDataset], names: Collection[str], kept: Path
) -> Steps[list[dict[str, Any]]]:
    """What the scans of these cases are known by (`scan_of`); reads each, once for a retraining.

    ``kept`` is the JSON that remembers them.
    """
    if kept.exists():
        with suppress(OSError, ValueError, KeyError, TypeError):
            return list(json.loads(kept.read_text(encoding="utf-8"))["scans"])
    images = [case.image for one in datasets for case in one.cases if case.name in names]
    found = []
    for number, image in enumerate(images):
        yield Progress(number, len(images), "reading what is replayed")
        found.append(scan_of(image))
    if images:
        write_json(kept, {"scans": found})
    return found


def copy_replay(datasets: Iterable[RawDataset], data: Path) -> dict[str, list[str]]:
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
