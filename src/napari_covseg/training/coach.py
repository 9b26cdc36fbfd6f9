"""Inpainting, and a coach that hides what is hard to paint (Singh et al. 2018, Fung et al. 2020).

A coach network looks at an image and gives a mask; the network paints the image that the mask has
left. What the network loses (L_rec) it learns to lose less; the coach's loss is 1 - L_rec. They
take turns, as in a generative adversarial network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_covseg.models.device import Device
from napari_covseg.models.outputs import DeepOutputs
from napari_covseg.training.learner import Learner, StepLoss, autocast
from napari_covseg.training.parallel import Alone
from napari_covseg.training.pretrain_settings import Pretext
from napari_covseg.training.schedules import Preset


def coach_mask(scores: Tensor, kept: float, alpha: float) -> Tensor:
    """M = sigmoid(alpha (B - SORT(B) at the k-th place)): ``(n, 1, h, w)``, 1 where a pixel stays.

    ``scores`` are B(x), ``(n, 1, h, w)``; they are sorted in descending order within an image, and
    k is ``kept`` of their number. So that share has a mask of at least one half, whatever the
    coach says: it cannot hide everything.
    """
    scores = scores.float()
    ordered = scores.flatten(1).sort(dim=1, descending=True).values
    place = max(1, round(kept * ordered.shape[1]))
    least = ordered[:, place - 1].reshape(-1, 1, 1, 1)
    return torch.sigmoid(alpha * (scores - least))


def edges(image: Tensor) -> Tensor:
    """Length of the gradient of ``(n, 1, h, w)`` in [0, 1]; a step from black to white gives 1."""
    framed = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    down = framed[..., 2:, 1:-1] - framed[..., :-2, 1:-1]
    right = framed[..., 1:-1, 2:] - framed[..., 1:-1, :-2]
    return (down.square() + right.square()).sqrt().clamp(max=1)


def _cross_entropy(painted: Tensor, image: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(painted, image)


def _squared(painted: Tensor, image: Tensor) -> Tensor:
    return functional.mse_loss(painted, image)


@dataclass(frozen=True)
class Reconstruction:
    """How a linear output is compared with an image in [0, 1], and turned into one."""

    loss: Callable[[Tensor, Tensor], Tensor]
    to_grey: Callable[[Tensor], Tensor]


RECONSTRUCTIONS: Mapping[str, Reconstruction] = {
    "cross_entropy": Reconstruction(_cross_entropy, torch.sigmoid),
    "squared": Reconstruction(_squared, lambda painted: painted.clamp(0, 1)),
}
"""By name (`pretrain_settings.RECONSTRUCTIONS`)."""


def reconstruction_loss(outputs: Tensor | DeepOutputs, image: Tensor, how: str) -> Tensor:
    """L_rec: the mean over every map, held against the image, and over the edge, if there is one.

    ``image`` is ``(n, 1, h, w)`` in [0, 1].
    """
    loss = RECONSTRUCTIONS[how].loss
    if not isinstance(outputs, DeepOutputs):
        return loss(outputs.float(), image)
    losses = [loss(one.float(), image) for one in outputs.maps]
    losses.append(loss(outputs.edge.float(), edges(image)))
    return torch.stack(losses).mean()


@dataclass(frozen=True, eq=False)
class Glimpse:
    """What became of images: ``(n, h, w)`` in [0, 1] each, on the CPU.

    ``mask`` is the coach's, ``seen`` what was left to the network, ``painted`` what it made of it.
    """

    image: Tensor
    mask: Tensor
    seen: Tensor
    painted: Tensor


class CoachedLearner(Learner):
    """A network that learns to paint, and the coach that makes it hard.

    Every step is one of the network; every ``pretext.coach_every``-th is one of the coach before,
    on the same images.

    Parameters
    ----------
    network, coach
        Both give a map of one channel (`put_linear_heads`), or `DeepOutputs` of such.
    """

    def __init__(
        self, network: nn.Module, coach: nn.Module, preset: Preset, pretext: Pretext, device: Device
    ) -> None:
        super().__init__(network, no_loss, preset, device, Alone())
        self._coach = Learner(coach, no_loss, replace(preset, ema=0.0), device, Alone())
        self._pretext = pretext
        self._trained = [one for one in network.parameters() if one.requires_grad]
        self._coach_lost = torch.tensor(torch.nan)
        self._done = 0.0

    @property
    def coach_loss(self) -> float:
        """Of the coach's last step, 1 - L_rec; NaN before its first. Waits for the device."""
        return float(self._coach_lost)

    def step(
        self, images: Tensor, codes: Tensor, rate: float, number: int, done: float = 0.0
    ) -> StepLoss:
        """As `Learner.step`; ``codes`` are not used."""
        images = self._begin(images, rate)
        self._done, image = done, (images + 1) / 2
        if number % self._pretext.coach_every == 0:
            mask = self._coach_step(images, image, rate, number)
        else:
            with torch.no_grad():
                mask = self._mask(images)
        return self._descend(self._loss_behind(mask.detach(), image), number)

    def _coach_step(self, images: Tensor, image: Tensor, rate: float, number: int) -> Tensor:
        """One step of the coach against the network, which stays as it is; returns the mask."""
        self._coach._begin(images, rate * self._pretext.coach_rate)
        with _held(self._trained):
            mask = self._mask(images)
            loss = 1 - self._loss_behind(mask, image)
            self._coach_lost = self._coach._descend(loss, number).loss
        return mask

    def _mask(self, images: Tensor) -> Tensor:
        with autocast(self._device):
            scores = self._coach._forward(images)
        kept = self._pretext.kept_at(self._done)
        return coach_mask(_final(scores), kept, self._pretext.alpha)

    def _loss_behind(self, mask: Tensor, image: Tensor) -> Tensor:
        """L_rec of what the network paints where only ``image * mask`` is left."""
        with autocast(self._device):
            painted = self._forward(_shown(image * mask).contiguous(memory_format=self._layout))
        return reconstruction_loss(painted, image, self._pretext.reconstruction)

    @torch.no_grad()
    def look(self, images: Tensor) -> Glimpse:
        """What the coach and the network make of images ``(n, 1, h, w)`` in [-1, 1] just now."""
        images = images.to(self._device.name)
        image, coach = (images + 1) / 2, self._coach.network
        before, painter = coach.training, self.kept
        painting = painter.training
        coach.eval()
        painter.eval()
        kept = self._pretext.kept_at(self._done)
        mask = coach_mask(_final(coach(images)), kept, self._pretext.alpha)
        painted = _final(painter(_shown(image * mask)))
        coach.train(before)
        painter.train(painting)
        grey = RECONSTRUCTIONS[self._pretext.reconstruction].to_grey(painted.float())
        return Glimpse(*(one[:, 0].float().cpu() for one in (image, mask, image * mask, grey)))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {**super().state_dict(), "coach": self._coach.state_dict(), "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        super().load_state_dict(state)
        self._coach.load_state_dict(state["coach"])
        self._done = float(state["done"])


def _final(outputs: Tensor | DeepOutputs) -> Tensor:
    return outputs.final if isinstance(outputs, DeepOutputs) else outputs


def _shown(image: Tensor) -> Tensor:
    """As networks take it: what a mask has hidden is black, air."""
    return image * 2 - 1


def no_loss(logits: Tensor, allowed: Tensor) -> Tensor:
    """Images without labels have no loss against labels; a learner of its own makes one."""
    raise NotImplementedError


@contextmanager
def _held(parameters: list[nn.Parameter]) -> Iterator[None]:
    """No gradient is taken for these."""
    for one in parameters:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in parameters:
            one.requires_grad_(True)
