"""Classes of a prepared training case by the network that is being trained, on the case's grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.inference.decide import decide
from napari_covseg.inference.runner import start
from napari_covseg.inference.sliding import PatchRunner, Window, slide
from napari_covseg.models.checkpoint import Model
from napari_covseg.models.device import Device
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.learner import as_set, autocast
from napari_covseg.training.schedules import Preset

SLICES_PER_STEP = {"cpu": 4}
_MANY = 32

Predict = Callable[[nn.Module, TrainingCase], Steps[NDArray[np.uint8]]]


def case_predictor(
    preset: Preset, recipe: AxialRecipe | VolumeRecipe, device: Device, warnings: list[str]
) -> Predict:
    """The function that finds a case's classes, uint8 ``(z, y, x)``: slices or patches.

    It computes in the training's precision. What it had to do where memory was short is added to
    ``warnings``, once.
    """
    device = as_set(device, preset)
    if isinstance(recipe, AxialRecipe):
        axial = recipe
        return lambda network, case: _by_slices(network, case, axial, device)
    z, y, x = preset.patch
    window = Window((z, y, x))
    volume = recipe
    return lambda network, case: _by_patches(network, case, volume, window, device, warnings)


def _by_slices(
    network: nn.Module, case: TrainingCase, recipe: AxialRecipe, device: Device
) -> Steps[NDArray[np.uint8]]:
    grey = case.image
    classes = np.zeros(grey.shape, np.uint8)
    height, width = grey.shape[1:]
    below, right = -height % recipe.multiple, -width % recipe.multiple
    step = SLICES_PER_STEP.get(device.kind, _MANY)
    for first in range(0, len(grey), step):
        yield Progress(first, len(grey), "measuring")
        some = torch.from_numpy(grey[first : first + step].astype(np.float32))[:, None]
        images = functional.pad(some / 127.5 - 1, (0, right, 0, below), value=-1.0)
        with torch.inference_mode(), autocast(device):
            share = network(images.to(device.name)).float().softmax(dim=1)
            best = decide(share[..., :height, :width])
        classes[first : first + step] = best.cpu().numpy()
    return classes


def _by_patches(
    network: nn.Module,
    case: TrainingCase,
    recipe: VolumeRecipe,
    window: Window,
    device: Device,
    warnings: list[str],
) -> Steps[NDArray[np.uint8]]:
    model = Model("in training", "", "", network, recipe, {})
    notes: list[str] = []
    runner = start(lambda on: PatchRunner(model, on, ((),), window), device, notes)
    probabilities, _ = yield from slide(case.image.astype(np.float32), runner, notes)
    told = (f"measuring an epoch: {note}" for note in notes)
    warnings += [note for note in told if note not in warnings]
    return decide(torch.from_numpy(probabilities)[None])[0].numpy()
