"""The work that every peer gets: a volume, and a network with its preparation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.volume import CTVolume

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model

Labels = NDArray[np.uint8]
"""`NetworkClass` of every voxel, ``(z, y, x)``, in the volume's own grid."""
Segment = Callable[[CTVolume], Labels]

PATCH, OVERLAP, WEIGHTING = (80, 160, 160), 0.5, "gaussian"
"""Of the network on volumes: what nnU-Net always does, and MONAI can."""
WARM_UP_SLICES = 8


def middle(volume: CTVolume, count: int) -> CTVolume:
    """The middle ``count`` slices, where the lungs are."""
    first = max(0, (len(volume.hu) - count) // 2)
    hu = volume.hu[first : first + count]
    return replace(volume, hu=hu, geometry=Geometry(hu.shape, volume.geometry.affine))


def patch_model() -> Model:
    """Our network on volumes with random weights: speed does not ask what they are."""
    import torch

    from napari_covseg.models.checkpoint import Model
    from napari_covseg.models.networks import build
    from napari_covseg.preprocess.steps import ClipHU, Resample, ZScore
    from napari_covseg.preprocess.volume_recipe import VolumeRecipe

    torch.manual_seed(0)
    network = build("unet3d").eval().requires_grad_(False)
    # The size of voxels is that of Mueller et al. (2021); fixed grey levels suit every peer.
    recipe = VolumeRecipe((ClipHU(), Resample(), ZScore(mean=-500.0, std=375.0)))
    card = {"patch": PATCH, "overlap": OVERLAP, "weighting": WEIGHTING}
    return Model("random", "0", "", network, recipe, card)


def measure(segment: Segment, volume: CTVolume, warm_up: bool) -> tuple[Labels, dict[str, Any]]:
    """Labels, and the time they took: by the clock, and of all processors together."""
    if warm_up:
        segment(middle(volume, WARM_UP_SLICES))
    before, start = processor_s(), time.perf_counter()
    labels = segment(volume)
    took = {"total_s": time.perf_counter() - start, "cpu_s": processor_s() - before}
    return labels, {**took, "slices": len(volume.hu)}


def agreement(labels: Labels, reference: Labels) -> dict[str, float]:
    """Part of all voxels with the same label, and Dice of lungs (lesions in them included)."""
    lung, other = labels > 0, reference > 0
    both = np.count_nonzero(lung & other)
    dice = 2 * both / max(1, np.count_nonzero(lung) + np.count_nonzero(other))
    return {"same": float((labels == reference).mean()), "lung_dice": dice}


def processor_s() -> float:
    """What this process and those it waited for have had of all processors."""
    return sum(os.times()[:4])
