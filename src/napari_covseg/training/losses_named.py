"""Losses by name, and how a loss is built for a network with one output or several.

All are of ``(logits, allowed)`` and aware of partial labels (`losses`). A network with several
outputs (`DeepOutputs`) is supervised in all of them, whichever the loss is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models.outputs import DeepOutputs
from napari_covseg.training.losses import partial_label_loss, tversky_cross_entropy
from napari_covseg.training.losses_boundary import boundary_bce_dice
from napari_covseg.training.losses_deep import supervise
from napari_covseg.training.losses_iou import weighted_iou_bce

LOSSES: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "dice_ce": partial_label_loss,
        "tversky_ce": tversky_cross_entropy,
        "iou_bce": weighted_iou_bce,
        "boundary": boundary_bce_dice,
    }
)
"""Losses by name, of ``(logits, allowed)``; their settings are their other arguments.

One that changes over a training has the argument ``done``, the share of it that is behind.
"""
_DONE = "done"


@dataclass(frozen=True)
class NamedLoss:
    """A loss with its settings: call it with what a network gives in training, and ``allowed``."""

    function: Callable[..., Tensor]
    settings: Mapping[str, object] = field(default_factory=dict)
    done: float = 0.0

    def __call__(self, outputs: Tensor | DeepOutputs, allowed: Tensor) -> Tensor:
        """The loss of an output, or of all outputs together."""
        return supervise(outputs, allowed, partial(self.function, **self._given()))

    def at(self, done: float) -> NamedLoss:
        """The loss when a share ``done`` (0 to 1) of the training is behind it."""
        return replace(self, done=done)

    def _given(self) -> dict[str, object]:
        changes = _DONE in inspect.signature(self.function).parameters
        return {**self.settings, **({_DONE: self.done} if changes else {})}


def build_loss(name: str, dimensions: int = 2, /, **settings: object) -> NamedLoss:
    """The loss of that name with these settings, tried once on ``dimensions`` axes of space.

    Raises
    ------
    UsageError
        If there is no such loss, or it does not take these settings.
    """
    if name not in LOSSES:
        raise UsageError(f"unknown loss {name!r}: use {', '.join(LOSSES)}")
    known = [key for key in list(inspect.signature(LOSSES[name]).parameters)[2:] if key != _DONE]
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise UsageError(f"loss {name} has no setting {unknown[0]!r}: use {', '.join(known)}")
    loss = NamedLoss(LOSSES[name], settings)
    logits = torch.zeros(1, len(NetworkClass), *(2,) * dimensions)
    allowed = torch.zeros_like(logits, dtype=torch.bool)
    allowed[:, NetworkClass.LUNG] = True
    try:
        loss(logits, allowed)
    except (TypeError, RuntimeError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"loss {name} cannot use these settings: {reason}") from error
    return loss
