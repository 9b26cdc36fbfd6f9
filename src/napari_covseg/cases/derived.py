"""What other tools read of a store: ``labelsTr``, ``dataset.json`` and ``cases.csv``.

All of it follows from the index and is written anew whenever that changes. ``imagesTr`` holds cases
without accepted labels too, so ``dataset.json`` lists those that have them, which nnU-Net takes
instead of looking into the folders.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from napari_covseg.cases.files import ENDING, coming, settle, sha256_of
from napari_covseg.domain.errors import ResourceError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.atomic import atomic_file, write_json
from napari_covseg.io.write import write_labels

IMAGES, LABELS = "imagesTr", "labelsTr"


def image_path(folder: Path, case: str) -> Path:
    """Where a case's CT lies."""
    return folder / IMAGES / f"{case}_0000{ENDING}"


def labels_path(folder: Path, case: str) -> Path:
    """Where a case's accepted labels lie."""
    return folder / LABELS / f"{case}{ENDING}"


def with_ignore(labels: LabelMap, reviewed: Collection[int]) -> LabelMap:
    """Slices nobody reviewed become `Label.IGNORE`, so that they teach nothing."""
    known = np.zeros(labels.geometry.shape[0], bool)
    known[list(reviewed)] = True
    partial = labels.labels.copy()
    partial[~known] = Label.IGNORE
    return LabelMap(partial, labels.geometry, labels.case, labels.to_native)


def write_accepted(folder: Path, case: str, labels: LabelMap) -> str:
    """Write a case's labels into ``labelsTr``; returns the SHA-256 of the file.

    Raises
    ------
    ResourceError, InputError
        If the disk is full or the folder cannot be written to.
    """
    target = labels_path(folder, case)
    with coming(target.parent) as path:
        write_labels(labels, path)
        sha256 = sha256_of(path)
        settle(path, target)
    return sha256


def remove_accepted(folder: Path, case: str) -> None:
    """Take a case's labels out of ``labelsTr``, if they are there.

    Raises
    ------
    ResourceError
        If the folder may not be written to.
    """
    path = labels_path(folder, case)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(f"{path.name}: cannot be removed ({error.strerror})") from None


def dataset_json(accepted: Iterable[str], listed: bool) -> dict[str, Any]:
    """``dataset.json`` of nnU-Net v2 for these cases.

    With ``listed`` their files are named one by one, because the folders hold other cases too.
    """
    names = sorted(accepted)
    content: dict[str, Any] = {
        "channel_names": {"0": "CT"},
        "labels": {label.name.lower(): int(label) for label in Label},
        "numTraining": len(names),
        "file_ending": ENDING,
    }
    if listed:
        content["dataset"] = {
            name: {
                "images": [f"{IMAGES}/{name}_0000{ENDING}"],
                "label": f"{LABELS}/{name}{ENDING}",
            }
            for name in names
        }
    return content


def write_about(folder: Path, accepted: Iterable[str], *, listed: bool = True) -> None:
    """Write ``dataset.json``.

    Raises
    ------
    ResourceError, InputError
        As `write_accepted`.
    """
    write_json(folder / "dataset.json", dataset_json(accepted, listed))


def write_patients(folder: Path, patients: Mapping[str, str]) -> None:
    """Write ``cases.csv``: the patient of each case, both by pseudonym.

    Raises
    ------
    ResourceError, InputError
        As `write_accepted`.
    """
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["case", "patient"])
    rows.writerows(sorted(patients.items()))
    with atomic_file(folder / "cases.csv") as file:
        file.write(text.getvalue().encode())
