"""Telling how an image was turned: 0, 90 or 180 degrees (Gidaris et al. 2018, Fung et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_covseg.models.device import Device
from napari_covseg.models.outputs import DeepOutputs
from napari_covseg.training.coach import no_loss
from napari_covseg.training.learner import Learner, StepLoss, autocast
from napari_covseg.training.parallel import Alone
from napari_covseg.training.schedules import Preset

TURNS = 3
"""Quarter turns 0, 1 and 2."""


def squares(images: Tensor) -> Tensor:
    """The middle of ``(n, 1, h, w)``, as high as wide, so that a quarter turn keeps its size."""
    height, width = images.shape[-2:]
    size = min(height, width)
    y, x = (height - size) // 2, (width - size) // 2
    return images[..., y : y + size, x : x + size]


def turn(images: Tensor, quarters: Tensor) -> Tensor:
    """Each of ``(n, 1, s, s)`` turned by so many quarters, anticlockwise as it is drawn."""
    pairs = zip(images, quarters.tolist(), strict=True)
    return torch.stack([one.rot90(quarter, (1, 2)) for one, quarter in pairs])


def rotation_loss(outputs: Tensor | DeepOutputs, quarters: Tensor) -> Tensor:
    """Cross-entropy of the first three channels' means over the image, averaged over the maps.

    The mean of a linear map is a linear layer on pooled features. A network whose maps have a
    channel for each class takes the first three; a map of one channel has no say.
    """
    maps = outputs.maps if isinstance(outputs, DeepOutputs) else (outputs,)
    told = [one.float().mean(dim=(2, 3))[:, :TURNS] for one in maps if one.shape[1] >= TURNS]
    return torch.stack([functional.cross_entropy(one, quarters) for one in told]).mean()


class RotationLearner(Learner):
    """A network that learns to tell how images were turned, from its own last layers."""

    def __init__(self, network: nn.Module, preset: Preset, device: Device) -> None:
        super().__init__(network, no_loss, preset, device, Alone())

    def step(
        self, images: Tensor, codes: Tensor, rate: float, number: int, done: float = 0.0
    ) -> StepLoss:
        """As `Learner.step`; ``codes`` are not used."""
        quarters = torch.randint(TURNS, (len(images),))
        images = self._begin(turn(squares(images), quarters), rate)
        with autocast(self._device):
            outputs = self._forward(images)
        return self._descend(rotation_loss(outputs, quarters.to(self._device.name)), number)
