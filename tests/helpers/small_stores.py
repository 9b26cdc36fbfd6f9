"""Small case stores on disk."""

from pathlib import Path

import numpy as np

from napari_covseg.cases.records import CaseRecord, Kind, LabelVersion, NewVersion
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.geometry import Geometry, Reorientation
from napari_covseg.domain.volume import CTVolume

SHAPE = (6, 10, 12)
MODEL = "a" * 64


def volume(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> CTVolume:
    """HU of a chest (air around, lung, soft tissue), in a file that runs the other way."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-40, 60, shape).astype(np.int16)
    hu[:, :2] -= 1000
    hu[:, 4:7, 3:9] -= 800
    geometry = Geometry.from_spacing(shape, (5.0, 0.8, 0.7), (-10.0, 4.0, 30.0))
    return CTVolume(hu, geometry, "any", Reorientation(flips=(True, True, False)))


def lungs(shape: tuple[int, int, int] = SHAPE, lesion: int = 3, size: int = 2) -> np.ndarray:
    """Labels: a right lung with a lesion of ``size`` by 2 by 2 voxels."""
    labels = np.zeros(shape, np.uint8)
    labels[:, 4:7, 3:9] = 2
    labels[:size, 4:6, 4:6] = lesion
    return labels


def new_store(folder: Path, cases: int = 1, author: str = "RA") -> CaseStore:
    store = CaseStore.create(folder, author=author)
    for seed in range(cases):
        store.add_case(volume(seed), author=author)
    return store


def predicted(store: CaseStore, case: str = "case_0001", model: str = MODEL) -> LabelVersion:
    saved = store.save_version(
        case, lungs(), NewVersion(author="RA", kind=Kind.PREDICTION, model=model)
    )
    return saved.version


def corrected(
    store: CaseStore, parent: LabelVersion, author: str = "RA", size: int = 4, **more: object
) -> LabelVersion:
    settings = {"kind": Kind.CORRECTION, "reviewed": [0, 1, 2], "minutes": 2.5, **more}
    saved = store.save_version(
        parent.case, lungs(size=size), NewVersion(author=author, parent=parent.id, **settings)
    )
    return saved.version


def names(cases: list[CaseRecord]) -> list[str]:
    return [one.name for one in cases]
