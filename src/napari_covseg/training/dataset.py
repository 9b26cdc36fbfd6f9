"""What training codes allow, and slices drawn from prepared cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_covseg.domain.labels import ALLOWED_CLASSES, LESION_LABELS, Label, NetworkClass

NO_LESION = len(Label)
"""Training code of a voxel that is no lesion and may be lung or background."""
UNLABELLED = NO_LESION + 1
"""Training code of a case that nobody has labelled: any class, as far as labels go.

Unlike `Label.IGNORE`, which a person left open in a case they worked on, it is taught by the old
model (`napari_covseg.training.distillation`).
"""


def allowed_table() -> torch.Tensor:
    """Which network classes agree with each training code: bool ``(codes, classes)``."""
    table = torch.zeros(UNLABELLED + 1, len(NetworkClass), dtype=torch.bool)
    for label, classes in ALLOWED_CLASSES.items():
        table[label, list(classes)] = True
    table[NO_LESION, [NetworkClass.BACKGROUND, NetworkClass.LUNG]] = True
    table[UNLABELLED] = True
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
