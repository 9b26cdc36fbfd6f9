"""Pseudo-labels: what a model says of slices that nobody has annotated, kept with where it is from.

Fan et al. (2020) and, as their comparator, Fung et al.: the model labels a few unlabelled slices,
these join the training data, it is trained further, and so on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.io.atomic import atomic_file, write_json
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.splits import hidden
from napari_covseg.training.state import make_folder

PSEUDO = "pseudo"
"""The dataset that pseudo-labelled slices make, by its name."""
_CODES: Mapping[NetworkClass, Label] = {
    NetworkClass.BACKGROUND: Label.BACKGROUND,
    NetworkClass.LUNG: Label.LUNG,
    NetworkClass.GGO: Label.GGO,
    NetworkClass.CONSOLIDATION: Label.CONSOLIDATION,
}


@dataclass(frozen=True)
class Teacher:
    """The model that labels: in evaluation mode; ``device`` is where it is run."""

    network: nn.Module
    recipe: AxialRecipe
    tells_lesions_apart: bool
    device: str


def slices_in_turn(scans: Sequence[TrainingCase], seed: int) -> list[tuple[int, int]]:
    """Every slice of every scan (which scan, which slice) that shows anything, in random order."""
    found = [
        (scan, number)
        for scan, case in enumerate(scans)
        for number, plane in enumerate(case.image)
        if plane.min() != plane.max()
    ]
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[place] for place in order]


@torch.no_grad()
def label_slice(teacher: Teacher, grey: NDArray[np.uint8], confidence: float) -> NDArray[np.uint8]:
    """Codes ``(y, x)`` of a prepared slice.

    Where the likeliest class is less probable than ``confidence`` the code is `Label.IGNORE`. A
    model that cannot tell GGO from consolidation says of a lesion only that it is one.
    """
    multiple, (height, width) = teacher.recipe.multiple, grey.shape
    image = torch.from_numpy(grey.astype(np.float32) / 127.5 - 1)[None, None]
    more = [-height % multiple, -width % multiple]
    image = functional.pad(image, (0, more[1], 0, more[0]), value=-1.0)
    logits = teacher.network(image.to(teacher.device)).float()
    probability, classes = logits.softmax(dim=1)[0, :, :height, :width].cpu().max(dim=0)
    table = np.array([_CODES[NetworkClass(c)] for c in range(len(NetworkClass))], np.uint8)
    if not teacher.tells_lesions_apart:
        table[[NetworkClass.GGO, NetworkClass.CONSOLIDATION]] = Label.INFECTION
    codes: NDArray[np.uint8] = table[classes.numpy()]
    codes[probability.numpy() < confidence] = Label.IGNORE
    return codes


def label_group(
    teacher: Teacher,
    scans: Sequence[TrainingCase],
    group: Sequence[tuple[int, int]],
    confidence: float,
) -> list[TrainingCase]:
    """A case of one slice for each of the group, with what the teacher says of it.

    Patients are hashed (`splits.hidden`), since the cases are written to the output folder.
    """
    cases = []
    for which, number in group:
        scan = scans[which]
        grey = np.array(scan.image[number])
        codes = label_slice(teacher, grey, confidence)
        name = f"{PSEUDO}_{scan.name}_{number}"
        planes = (grey[None], codes[None])
        cases.append(TrainingCase(name, PSEUDO, hidden(scan.patient), *planes, scan.spacing_mm))
    return cases


def write_group(path: Path, cases: Sequence[TrainingCase], about: Mapping[str, Any]) -> None:
    """Write ``path.npz`` and ``path.json``, which says of each slice where it is from.

    Raises
    ------
    ResourceError
        If they cannot be written.
    """
    make_folder(path.parent)
    arrays: dict[str, Any] = {}
    for number, case in enumerate(cases):
        arrays[f"image_{number}"], arrays[f"codes_{number}"] = case.image, case.codes
    with atomic_file(path.with_suffix(".npz")) as file:
        np.savez_compressed(file, **arrays)
    slices = [
        {"name": case.name, "patient": case.patient, "spacing_mm": list(case.spacing_mm)}
        for case in cases
    ]
    write_json(path.with_suffix(".json"), {**about, "slices": slices})


def read_group(path: Path, about: Mapping[str, Any]) -> list[TrainingCase] | None:
    """What `write_group` wrote; None where nothing was, or where it was made otherwise.

    Raises
    ------
    InputError
        If it is damaged.
    """
    if not path.with_suffix(".json").is_file():
        return None
    try:
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if {key: said[key] for key in about} != dict(about):
            return None
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            return [
                TrainingCase(
                    *(one["name"], PSEUDO, one["patient"]),
                    *(arrays[f"image_{number}"], arrays[f"codes_{number}"]),
                    tuple(one["spacing_mm"]),
                )
                for number, one in enumerate(said["slices"])
            ]
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path.name}: the pseudo-labels are damaged; start again in a new folder"
        ) from error


def pseudo_hash(cases: Sequence[TrainingCase]) -> str:
    """A hash of the slices and what they were labelled as."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(f"{case.name} {case.patient} {case.image.shape}\n".encode())
        digest.update(np.ascontiguousarray(case.image).data)
        digest.update(np.ascontiguousarray(case.codes).data)
    return digest.hexdigest()
