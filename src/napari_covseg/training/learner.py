"""A network, its optimiser and the average of its weights: one training step, and their state."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from napari_covseg.domain.errors import ResourceError
from napari_covseg.models.device import Device, stopped_working
from napari_covseg.training.dataset import UNLABELLED, allowed_table
from napari_covseg.training.distillation import distillation_loss
from napari_covseg.training.parallel import Parallel
from napari_covseg.training.schedules import Preset

Loss = Callable[[Any, Tensor], Tensor]
"""Of what the network gives in training, a tensor or `DeepOutputs`, and of the allowed classes."""


@runtime_checkable
class ChangingLoss(Protocol):
    """A loss that changes in the course of a training."""

    def at(self, done: float) -> Loss:
        """The loss when a share ``done`` (0 to 1) of the training is behind."""


MOMENTUM = 0.9
"""Of SGD."""


@dataclass(frozen=True)
class StepLoss:
    """Of one step, still on the device: the loss, and the length of the gradient."""

    loss: Tensor
    gradient: Tensor

    def values(self) -> tuple[float, float]:
        """Both as numbers; waits for the device."""
        loss, gradient = torch.stack([self.loss, self.gradient]).tolist()
        return loss, gradient


class Learner:
    """Everything that a step changes, apart from where the batches come from.

    ``network`` holds the trained weights; `kept` is what is measured and written: their average
    (batch statistics included), or the network itself where ``preset.ema`` is 0.

    With ``distillation`` above 0, its weight in the loss, the network as it is given teaches the
    one in training on cases without labels (`UNLABELLED`); ``lesions_apart`` says whether it can
    tell GGO from consolidation.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        preset: Preset,
        device: Device,
        parallel: Parallel,
        distillation: float = 0.0,
        lesions_apart: bool = True,
    ) -> None:
        self._preset, self._loss, self._parallel = preset, loss, parallel
        self._device = device = as_set(device, preset)
        layout = _memory_layout(preset)
        self.network = network.to(device.name).to(memory_format=layout)  # type: ignore[call-overload]
        self._layout = layout
        self._average = _copy_of(self.network) if preset.ema else None
        # Not in the state: who resumes begins from the same model.
        self._teacher = _copy_of(self.network) if distillation else None
        self._distillation, self._lesions_apart = distillation, lesions_apart
        self._optimiser = _optimiser(self.network, preset, device)
        self._shares = [float(group["share"]) for group in self._optimiser.param_groups]
        self._scaler = torch.amp.GradScaler(device.kind, enabled=device.precision == "float16")
        self._table = allowed_table().to(device.name)
        self._forward = _compiled(parallel.wrap(self.network), preset, device)

    @property
    def kept(self) -> nn.Module:
        """The module to measure and write; do not train it."""
        return self.network if self._average is None else self._average

    @property
    def skips_steps(self) -> bool:
        """Whether a gradient that is no number skips a step (float16) and is no failure."""
        return self._scaler.is_enabled()

    def step(
        self, images: Tensor, codes: Tensor, rate: float, number: int, done: float = 0.0
    ) -> StepLoss:
        """One step on images ``(n, 1, *spatial)`` and codes ``(n, *spatial)``.

        ``number`` counts from 1; ``done`` is the share of the training that is behind.
        """
        images = self._begin(images, rate)
        # Asked before the codes are moved, so that nothing waits for the device.
        taught = self._taught(codes)
        codes = codes.to(self._device.name, non_blocking=True)
        with autocast(self._device):
            outputs = self._forward(images)
        now = self._loss.at(done) if isinstance(self._loss, ChangingLoss) else self._loss
        loss = now(outputs, self._table[codes.long()].movedim(-1, 1))
        if taught:
            logits = outputs if isinstance(outputs, Tensor) else outputs.final
            loss = loss + self._distillation * self._apart(images, logits, codes, taught)
        return self._descend(loss, number)

    def _begin(self, images: Tensor, rate: float) -> Tensor:
        """Set the rate, and move the images to where the network is."""
        self.network.train()
        for group, share in zip(self._optimiser.param_groups, self._shares, strict=True):
            group["lr"] = rate * share
        images = images.to(self._device.name, non_blocking=True)
        return images.contiguous(memory_format=self._layout)

    def _descend(self, loss: Tensor, number: int) -> StepLoss:
        """Move the weights against the gradient of ``loss``, and their average after them."""
        self._optimiser.zero_grad(set_to_none=True)
        self._parallel.backward(self._scaler.scale(loss))
        self._scaler.unscale_(self._optimiser)
        longest = self._preset.clip or torch.inf
        gradient = nn.utils.clip_grad_norm_(self.network.parameters(), longest)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._average is not None:
            _move_average(
                self._average, self.network, min(self._preset.ema, number / (number + 10))
            )
        return StepLoss(loss.detach().float(), gradient.detach().float())

    def _taught(self, codes: Tensor) -> list[int]:
        """The samples that the teacher teaches."""
        if self._teacher is None:
            return []
        found: list[int] = (codes == UNLABELLED).flatten(1).any(dim=1).nonzero().flatten().tolist()
        return found

    def _apart(self, images: Tensor, logits: Tensor, codes: Tensor, samples: list[int]) -> Tensor:
        """How far the network is from its teacher in these samples."""
        assert self._teacher is not None
        with torch.no_grad(), autocast(self._device):
            wanted = self._teacher(images[samples])
        taught, apart = codes[samples] == UNLABELLED, self._lesions_apart
        return distillation_loss(logits[samples], wanted, taught, lesions_apart=apart)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])


def as_set(device: Device, preset: Preset) -> Device:
    """The device with the precision that the settings ask for, for ``auto`` its own.

    Volumes train in float32 on a CPU: there PyTorch's bfloat16 gradients of 3D convolutions differ
    from run to run, and now and then are infinite (seen with 2.13 and AVX512).
    """
    if preset.precision != "auto":
        return replace(device, precision=preset.precision)
    unsound = device.kind == "cpu" and preset.dimensions == 3
    return replace(device, precision="float32") if unsound else device


def autocast(device: Device) -> AbstractContextManager[Any]:
    """Arithmetic in the device's precision."""
    if device.precision == "float32":
        return nullcontext()
    return torch.autocast(device.kind, getattr(torch, device.precision))


def out_of_memory(error: BaseException, preset: Preset, device: Device) -> ResourceError | None:
    """What to do, if ``error`` says that memory ran out or the card is gone; otherwise None."""
    text = str(error).lower()
    if (gone := card_gone(error, device)) is not None:
        return gone
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not (
        isinstance(error, RuntimeError)
        and ("out of memory" in text or "not enough memory" in text or "can't allocate" in text)
    ):
        return None
    patch = " x ".join(map(str, preset.patch))
    if preset.batch > 1:
        advice = f"--set batch={preset.batch // 2}"
    else:
        advice = "--set patch=" + ",".join(str(max(16, n // 32 * 16)) for n in preset.patch)
    return ResourceError(
        f"the memory of {device.title} is too small for a batch of {preset.batch} patches of "
        f"{patch} through {preset.network}; lower it: {advice}"
    )


def card_gone(error: BaseException, device: Device) -> ResourceError | None:
    """What to do, if ``error`` says that the graphics card failed; otherwise None."""
    if device.kind != "cuda" or not stopped_working(error):
        return None
    return ResourceError(
        f"{device.title} stopped working ({str(error).splitlines()[0][:100]}); what was last saved "
        "is whole: restart the machine if the card does not come back, and go on with --resume"
    )


def _memory_layout(preset: Preset) -> torch.memory_format:
    if not preset.channels_last:
        return torch.contiguous_format
    return torch.channels_last if preset.dimensions == 2 else torch.channels_last_3d


def _copy_of(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).eval().requires_grad_(False)


def _optimiser(network: nn.Module, preset: Preset, device: Device) -> torch.optim.Optimizer:
    """As the settings say; a pretrained encoder is a group with its share of the rate."""
    slow: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        of_encoder = preset.pretrained and name.startswith("encoder.")
        (slow if of_encoder else rest).append(parameter)
    groups: list[dict[str, Any]] = [{"params": rest, "share": 1.0}]
    if slow:
        groups.append({"params": slow, "share": preset.encoder_rate})
    if preset.optimiser == "sgd":
        return torch.optim.SGD(
            groups, lr=preset.learning_rate, momentum=MOMENTUM, weight_decay=preset.weight_decay
        )
    kind = torch.optim.AdamW if preset.optimiser == "adamw" else torch.optim.Adam
    return kind(
        groups,
        lr=preset.learning_rate,
        weight_decay=preset.weight_decay,
        fused=device.kind == "cuda" or None,
    )


def _compiled(network: nn.Module, preset: Preset, device: Device) -> nn.Module:
    """Compiled where that pays and can be done: on CUDA, with Triton there."""
    if not preset.compile or device.kind != "cuda" or find_spec("triton") is None:
        return network
    return torch.compile(network)  # type: ignore[return-value]


@torch.no_grad()
def _move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the network, batch statistics included; whole numbers are taken."""
    mine, theirs = average.state_dict(), network.state_dict()
    moving = [key for key, value in mine.items() if value.is_floating_point()]
    torch._foreach_lerp_(  # type: ignore[attr-defined]
        [mine[key] for key in moving], [theirs[key] for key in moving], 1 - decay
    )
    for key in mine.keys() - set(moving):
        mine[key].copy_(theirs[key])
