"""Small nnU-Net datasets on disk."""

import json
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

SCHEME = {"background": 0, "lung": 1, "ggo": 2, "consolidation": 3, "infection": 4, "ignore": 5}
AFFINE = np.diag([-1.0, -1.0, 5.0, 1.0])
"""RAS, so that x runs to the patient's left and y to posterior."""
WINDOW = (-1350.0, 200.0)


def write_case(
    folder: Path, name: str, labels: np.ndarray, affine: np.ndarray = AFFINE, seed: int = 0
) -> None:
    """A case whose labels are ``(z, y, x)``; its HU tell the label."""
    for inner in ("imagesTr", "labelsTr"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-40, 40, labels.shape)
    hu = (np.array([-1000, -800, -500, 0, -200, -1000])[labels] + noise).astype(np.int16)
    image = nib.Nifti1Image(hu.transpose(2, 1, 0), affine)
    nib.save(image, folder / "imagesTr" / f"{name}_0000.nii.gz")
    masks = nib.Nifti1Image(labels.astype(np.uint8).transpose(2, 1, 0), affine)
    nib.save(masks, folder / "labelsTr" / f"{name}.nii.gz")


def write_about(folder: Path, labels: Mapping[str, object] = SCHEME, **fields: object) -> None:
    """Its ``dataset.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz", **fields}
    (folder / "dataset.json").write_text(json.dumps(about))


def write_dataset(folder: Path, cases: Mapping[str, np.ndarray]) -> Path:
    """A whole dataset; returns its folder."""
    write_about(folder, numTraining=len(cases))
    for number, (name, labels) in enumerate(cases.items()):
        write_case(folder, name, labels, seed=number)
    return folder


def write_patients(file: Path, patients: Mapping[str, str]) -> None:
    """A table of patients."""
    rows = [f"{case},{patient}" for case, patient in patients.items()]
    file.write_text("\n".join(["case,patient", *rows]) + "\n")


def write_foreign(folder: Path, cases: int = 3) -> Path:
    """A dataset whose label names nobody knows and whose images are pictures: 8-bit `WINDOW`."""
    write_about(folder, {"background": 0, "structure one": 1, "structure two": 2})
    affine = np.diag([-8.0, -8.0, 5.0, 1.0])
    low, high = WINDOW
    for number in range(cases):
        name = f"foreign_{number}"
        write_case(folder, name, lung_block(), affine, seed=number)
        path = folder / "imagesTr" / f"{name}_0000.nii.gz"
        hu = np.asarray(nib.load(path).dataobj, np.float64)
        grey = np.clip((hu - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
        nib.save(nib.Nifti1Image(grey, affine), path)
    return folder


def lung_block(shape: tuple[int, int, int] = (3, 20, 24), lesion: int = 2) -> np.ndarray:
    """Labels: a block of lung with a block of a lesion in it."""
    labels = np.zeros(shape, np.uint8)
    _, y, x = shape
    labels[:, 2 : y - 2, 2 : x - 2] = 1
    labels[:, y // 4 : y // 2, x // 4 : x // 2] = lesion
    return labels
