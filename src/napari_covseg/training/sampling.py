"""Where training batches come from: slices or patches of volumes, drawn at random.

A source draws everything from one generator; `state_dict` is that generator's state, so a
training that was stopped goes on with the very batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.geometry import Shape
from napari_covseg.domain.labels import LESION_LABELS
from napari_covseg.training.augment import make_batch
from napari_covseg.training.augment_volume import (
    Source,
    VolumeAugmentation,
    Warp,
    change_values,
    cut_patch,
    draw_warp,
)
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.dataset import SliceSampler, TrainingSlice


class _Drawn:
    """The generator that a source draws from, and its state."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which `load_state_dict` goes on."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._rng.bit_generator.state = state["rng"]


class SliceBatches(_Drawn):
    """Batches of changed patches of axial slices, for networks on slices.

    Parameters
    ----------
    cases
        Prepared by an `AxialRecipe`.
    patch
        Height and width, in pixels.
    batch
        Patches a batch.
    seed
        Of every choice.
    weights
        How often each dataset is drawn from; those not named are left out. Empty: as often as it
        has patients.
    lesion_share
        Share of draws that take a slice with a lesion, where the dataset has any.
    cutout
        Share of the area that is emptied, in every second patch (`make_batch`).
    upside_down
        Whether some patches stand on their heads.

    Raises
    ------
    InputError
        If there is no case, or a weight is negative, for no dataset, or no weight is positive.
    """

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        patch: tuple[int, int],
        batch: int,
        seed: int,
        weights: Mapping[str, float] | None = None,
        lesion_share: float = 0.65,
        cutout: float = 0.0,
        upside_down: bool = True,
    ) -> None:
        super().__init__(seed)
        self._patch, self._batch = patch, batch
        self._cutout, self._upside_down = cutout, upside_down
        sets: dict[str, list[TrainingSlice]] = {}
        for case in cases:
            planes = zip(case.image, case.codes, strict=True)
            found = [TrainingSlice(case.name, case.patient, grey, codes) for grey, codes in planes]
            sets.setdefault(case.dataset, []).extend(found)
        shares = _shares(cases, weights or {})
        drawn = {name: slices for name, slices in sets.items() if shares[name] > 0}
        self._sampler = SliceSampler(drawn, shares, lesion_share, self._rng)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Images ``(n, 1, y, x)`` in [-1, 1] and codes ``(n, y, x)``."""
        slices = [self._sampler.draw() for _ in range(self._batch)]
        return make_batch(slices, self._patch, self._rng, self._cutout, self._upside_down)


class PatchBatches(_Drawn):
    """Batches of changed patches of volumes: a dataset by its weight, a patient, a case, a place.

    A case that is smaller than the patch lies anywhere in it, in air that is ignored.

    Parameters
    ----------
    cases
        Prepared by a `VolumeRecipe`.
    patch
        ``(z, y, x)``, in voxels.
    batch
        Patches a batch.
    seed
        Of every choice.
    weights
        As for `SliceBatches`.
    lesion_share
        Share of patches that hold a voxel of a lesion for certain, where the case has any; 0
        takes any place, as Müller et al. do.
    augmentation
        Random changes; None for none.
    device
        Where patches are changed and handed out.

    Raises
    ------
    InputError
        As `SliceBatches`.
    CovsegError
        If MONAI, which makes some of the changes, is not installed.
    """

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        patch: Shape = (80, 160, 160),
        batch: int = 2,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        lesion_share: float = 0.0,
        augmentation: VolumeAugmentation | None = VolumeAugmentation(),  # noqa: B008  (frozen)
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(seed)
        if augmentation is not None and find_spec("monai") is None:
            raise CovsegError(
                "MONAI, which changes the patches, is not installed: pip install "
                "'napari-covseg[train]'"
            )
        self._patch, self._batch, self._lesion_share = patch, batch, lesion_share
        self._augmentation, self._device = augmentation, torch.device(device)
        shares = _shares(cases, weights or {})
        self._names = [name for name, share in shares.items() if share > 0]
        share = np.array([shares[name] for name in self._names])
        self._share = share / share.sum()
        self._groups = {
            name: _by_patient(case for case in cases if case.dataset == name)
            for name in self._names
        }

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Images ``(n, 1, z, y, x)`` and codes ``(n, z, y, x)``."""
        patches = [self._draw() for _ in range(self._batch)]
        images, codes = zip(*patches, strict=True)
        return torch.stack(images)[:, None], torch.stack(codes)

    def _draw(self) -> tuple[Tensor, Tensor]:
        rng = self._rng
        groups = self._groups[self._names[rng.choice(len(self._names), p=self._share)]]
        group = groups[rng.integers(len(groups))]
        case = group[rng.integers(len(group))]
        start = self._place(case)
        if self._augmentation is None:
            return cut_patch(case.source, start, self._patch, Warp(), self._device)
        warp = draw_warp(self._augmentation, case.source, self._patch, rng, self._device)
        image, codes = cut_patch(case.source, start, self._patch, warp, self._device)
        return change_values(image, case.source.air, self._augmentation, rng), codes

    def _place(self, case: _Case) -> Shape:
        """The first voxel of a patch that keeps inside of the case, or the case inside of it."""
        rng, shape = self._rng, case.source.image.shape
        lows = [min(0, n - size) for n, size in zip(shape, self._patch, strict=True)]
        highs = [max(0, n - size) for n, size in zip(shape, self._patch, strict=True)]
        if len(case.lesion) and rng.random() < self._lesion_share:
            voxel = np.unravel_index(case.lesion[rng.integers(len(case.lesion))], shape)
            lows = [
                max(low, int(at) - size + 1)
                for low, at, size in zip(lows, voxel, self._patch, strict=True)
            ]
            highs = [min(high, int(at)) for high, at in zip(highs, voxel, strict=True)]
        z, y, x = (int(rng.integers(a, b + 1)) for a, b in zip(lows, highs, strict=True))
        return z, y, x


class _Case:
    """A case to cut patches from, and the flat indices of its lesions' voxels."""

    def __init__(self, case: TrainingCase) -> None:
        air = float(case.image.min())
        self.source = Source(case.image, case.codes, case.spacing_mm, air)
        self.lesion = np.flatnonzero(np.isin(case.codes, LESION_LABELS))


def _by_patient(cases: Iterable[TrainingCase]) -> list[list[_Case]]:
    groups: dict[str, list[_Case]] = {}
    for case in cases:
        groups.setdefault(case.patient, []).append(_Case(case))
    return list(groups.values())


def _shares(cases: Sequence[TrainingCase], weights: Mapping[str, float]) -> dict[str, float]:
    """How often each dataset is drawn from, in the order of the cases."""
    patients: dict[str, set[str]] = {}
    for case in cases:
        patients.setdefault(case.dataset, set()).add(case.patient)
    if not patients:
        raise InputError("no training case is left; check the split")
    unknown = sorted(set(weights) - set(patients))
    if unknown:
        raise InputError(
            f"dataset weights: no training case in {', '.join(unknown)} (there are "
            f"{', '.join(patients)})"
        )
    if not weights:
        return {name: float(len(members)) for name, members in patients.items()}
    if min(weights.values()) < 0 or not sum(weights.values()) > 0:
        raise InputError("dataset weights: expected none below 0, and one above")
    return {name: float(weights.get(name, 0.0)) for name in patients}
