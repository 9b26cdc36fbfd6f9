"""Case stores as wide as a chest that a tiny network learns in seconds."""

from pathlib import Path

import numpy as np
import torch

from napari_covseg.cases.records import Kind, LabelVersion, NewVersion
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.volume import CTVolume
from napari_covseg.models.checkpoint import write_checkpoint
from napari_covseg.models.unet2d import UNet2D
from napari_covseg.preprocess.recipe import AxialRecipe

SHAPE = (3, 20, 24)
HU = np.array([0, -850, -850, -450, -50])
"""Of background, left lung, right lung, GGO and consolidation."""
REVIEWED = (0, 1)
SETTINGS = (
    *("patch=16,16", "batch=2", "batches=6", "epochs=10", "warm_up=1", "ema=0"),
    *("learning_rate=0.01", "precision=float32", "validate_every=10", "minutes=0"),
)
"""A training of a second or two."""


def truth(seed: int) -> np.ndarray:
    """Two lungs with a lesion in one of them, its place by the seed."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 3:17, 2:10] = 2
    labels[:, 3:17, 14:22] = 1
    rng = np.random.default_rng(seed)
    for first, code in ((2, 3), (14, 4)):
        y, x = rng.integers(5, 10), first + rng.integers(1, 3)
        labels[:, y : y + 5, x : x + 4] = code
    return labels


def toy_store(folder: Path, patients: int) -> CaseStore:
    """One accepted case of each patient; the last slice of each was not reviewed."""
    store = CaseStore.create(folder, author="RA")
    for seed in range(patients):
        add_patient(store, seed)
    return store


def add_patient(store: CaseStore, seed: int) -> str:
    """A new patient's accepted case; returns its name."""
    name = add_unlabelled(store, seed)
    accept(store, name, truth(seed))
    return name


def add_unlabelled(store: CaseStore, seed: int, patient: str | None = None) -> str:
    """A case that nobody has labelled, of a new patient or a known one; returns its name."""
    noise = np.random.default_rng(seed).integers(-40, 40, SHAPE)
    hu = (HU[truth(seed)] + noise).astype(np.int16)
    volume = CTVolume(hu, Geometry.from_spacing(SHAPE, (5.0, 8.0, 8.0)), "toy")
    return store.add_case(volume, author="RA", patient=patient).name


def accept(store: CaseStore, case: str, labels: np.ndarray) -> LabelVersion:
    """Save labels as a correction and accept them."""
    saved = store.save_version(
        case,
        labels,
        NewVersion(
            author="RA", kind=Kind.CORRECTION, parent=store.case(case).newest, reviewed=REVIEWED
        ),
    )
    store.accept(saved.version.id, reader="RB")
    return saved.version


def poisoned(seed: int) -> np.ndarray:
    """Labels that are wrong everywhere: lung is called consolidation, lesions are called lung."""
    return np.array([0, 4, 4, 2, 2], np.uint8)[truth(seed)]


def untrained(folder: Path) -> Path:
    """A tiny model that knows nothing."""
    torch.manual_seed(0)
    about = {"version": "0.1", "licence": "none needed"}
    made = ("unet2d", {"channels": [8, 16]}, AxialRecipe(pixel_mm=8.0), about)
    write_checkpoint(folder, "base", UNet2D((8, 16)), *made)
    return folder
