"""Training slices from the development data (nnU-Net v2 raw layout), held in memory as 8 bit."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import (
    ALLOWED_CLASSES,
    LESION_LABELS,
    Label,
    NetworkClass,
    label_by_name,
)
from napari_covseg.preprocess.recipe import AxialRecipe

NO_LESION = len(Label)
"""Training code of a voxel that is no lesion and may be lung or background."""


def allowed_table() -> torch.Tensor:
    """Which network classes agree with each training code: bool ``(codes, classes)``."""
    table = torch.zeros(NO_LESION + 1, len(NetworkClass), dtype=torch.bool)
    for label, classes in ALLOWED_CLASSES.items():
        table[label, list(classes)] = True
    table[NO_LESION, [NetworkClass.BACKGROUND, NetworkClass.LUNG]] = True
    return table


@dataclass(frozen=True, eq=False)
class TrainingSlice:
    """One axial slice at the recipe's pixel size: grey and codes are uint8 ``(y, x)``."""

    case: str
    patient: str
    grey: NDArray[np.uint8]
    codes: NDArray[np.uint8]

    @property
    def has_lesion(self) -> bool:
        """Whether any voxel is GGO, consolidation or infection."""
        return bool(np.isin(self.codes, LESION_LABELS).any())


def read_patients(data: Path) -> dict[str, str]:
    """The patient of each case, from ``cases.csv``.

    Raises
    ------
    InputError
        If the table is missing: without it a patient could stand on both sides of a split.
    """
    table = data / "cases.csv"
    if not table.is_file():
        raise InputError(f"{table.name}: not found in {data.name}; it names each case's patient")
    with table.open(newline="") as file:
        return {row["case"]: row["patient"] for row in csv.DictReader(file)}


def load_slices(
    data: Path, dataset: str, recipe: AxialRecipe, patients: dict[str, str], leave_out: set[str]
) -> Iterator[TrainingSlice]:
    """Every slice of one set whose patient is not in ``leave_out``.

    A set none of whose cases marks lung (single slices annotated for lesions only) has its
    background read as "no lesion, perhaps lung".
    """
    folder = data / dataset
    scheme = json.loads((folder / "dataset.json").read_text())["labels"]
    codes = np.zeros(256, np.uint8)
    for name, value in scheme.items():
        codes[value] = label_by_name(name)
    for path in sorted((folder / "labelsTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        if patients[case] in leave_out:
            continue
        labels = codes[np.asarray(nib.load(path).dataobj).astype(np.uint8)].transpose(2, 1, 0)
        if not (labels == Label.LUNG).any():
            labels = np.where(labels == Label.BACKGROUND, np.uint8(NO_LESION), labels)
        image = nib.load(folder / "imagesTr" / f"{case}_0000.nii.gz")
        grey = recipe.to_grey(np.asarray(image.dataobj, np.float32)).transpose(2, 1, 0)
        x_mm, y_mm, _ = image.header.get_zooms()
        for z in range(len(grey)):
            yield TrainingSlice(
                case,
                patients[case],
                *resample_slice(grey[z], labels[z], (y_mm, x_mm), recipe.pixel_mm),
            )


def resample_slice(
    grey: NDArray[np.uint8], codes: NDArray[np.uint8], pixel_mm: tuple[float, float], to_mm: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grey by antialiased linear, codes by nearest, to square pixels of ``to_mm``."""
    size = [max(1, round(n * mm / to_mm)) for n, mm in zip(grey.shape, pixel_mm, strict=True)]
    image = torch.from_numpy(grey.astype(np.float32))[None, None]
    small = torch.nn.functional.interpolate(
        image, size=size, mode="bilinear", align_corners=False, antialias=True
    )
    labels = torch.from_numpy(codes.astype(np.float32))[None, None]
    nearest = torch.nn.functional.interpolate(labels, size=size, mode="nearest-exact")
    return (
        small[0, 0].round().clamp(0, 255).to(torch.uint8).numpy(),
        nearest[0, 0].to(torch.uint8).numpy(),
    )


class SliceSampler:
    """Draws slices: a set by its weight, a patient by the root of its slices, then a slice."""

    def __init__(
        self,
        sets: dict[str, list[TrainingSlice]],
        weights: dict[str, float],
        lesion_slices: float,
        rng: np.random.Generator,
    ) -> None:
        self._rng = rng
        self._names = [name for name in sets if sets[name]]
        share = np.array([weights[name] for name in self._names])
        self._share = share / share.sum()
        self._lesion_slices = lesion_slices
        self._any = {name: _by_patient(sets[name]) for name in self._names}
        self._lesion = {
            name: _by_patient([s for s in sets[name] if s.has_lesion]) for name in self._names
        }

    def draw(self) -> TrainingSlice:
        """One slice."""
        name = self._names[self._rng.choice(len(self._names), p=self._share)]
        lesion = self._rng.random() < self._lesion_slices and self._lesion[name]
        groups = self._lesion[name] if lesion else self._any[name]
        roots = np.sqrt([len(group) for group in groups])
        group = groups[self._rng.choice(len(groups), p=roots / roots.sum())]
        return group[self._rng.integers(len(group))]


def _by_patient(slices: list[TrainingSlice]) -> list[list[TrainingSlice]]:
    groups: dict[str, list[TrainingSlice]] = {}
    for one in slices:
        groups.setdefault(one.patient, []).append(one)
    return list(groups.values())
