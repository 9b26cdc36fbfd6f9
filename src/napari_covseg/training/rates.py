"""Learning rates: along a cosine over the training, lowered in steps, or as they are set."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from napari_covseg.training.schedules import Preset

LONGEST_WARM_UP = 0.15
"""The share of a training after which its rate has risen, however many steps that should take."""


@dataclass
class LowestLoss:
    """Epochs since the loss was last lower than ever before."""

    least_gain: float = 0.0
    lowest: float = math.inf
    epochs: int = 0

    def see(self, loss: float) -> None:
        """Take note of an epoch's loss."""
        if loss < self.lowest - self.least_gain:
            self.lowest, self.epochs = loss, 0
        else:
            self.epochs += 1


@dataclass
class RateRule:
    """The learning rate of each step, and whether the training loss says to stop.

    A ``plateau`` and the end follow the training loss, as in Mueller et al. (2021), a ``cosine``
    the share of the training that is done, a ``step`` its epochs.
    """

    preset: Preset
    rate: float = field(init=False)
    epochs: int = field(init=False, default=0)
    for_rate: LowestLoss = field(init=False)
    for_stop: LowestLoss = field(default_factory=LowestLoss)

    def __post_init__(self) -> None:
        self.rate = self.preset.learning_rate
        self.for_rate = LowestLoss(self.preset.least_gain)

    def at(self, step: int, done: float) -> float:
        """The rate of ``step`` (from 0), when ``done`` (0 to 1) of the training is behind it."""
        if self.preset.rate_rule != "cosine":
            return self.rate
        warm_up = self.preset.warm_up
        begun = min(warm_up / self.preset.steps, LONGEST_WARM_UP)
        # A time budget may allow far fewer steps than the settings, or be what ends far more.
        warm = max((step + 1) / warm_up, done / LONGEST_WARM_UP) if warm_up else 1.0
        falling = max(0.0, (done - begun) / (1 - begun))
        fallen = 0.5 * (1 + math.cos(math.pi * min(1.0, falling)))
        return self.preset.learning_rate * min(1.0, warm) * fallen

    def end_epoch(self, loss: float) -> bool:
        """Take an epoch's mean training loss; returns whether to stop."""
        self.for_stop.see(loss)
        self.for_rate.see(loss)
        self.epochs += 1
        patience = max(1, self.preset.patience)
        if self.preset.rate_rule == "plateau" and self.for_rate.epochs >= patience:
            self.rate = max(self.preset.least_rate, self.rate * self.preset.factor)
            self.for_rate.epochs = 0
        elif self.preset.rate_rule == "step" and self.epochs % patience == 0:
            self.rate *= self.preset.factor
        return 0 < self.preset.stop_after <= self.for_stop.epochs

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for an exact resume."""
        return {
            "rate": self.rate,
            "epochs": self.epochs,
            "for_rate": asdict(self.for_rate),
            "for_stop": asdict(self.for_stop),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.rate = float(state["rate"])
        # Earlier versions had no rule that needs it.
        self.epochs = int(state.get("epochs", 0))
        self.for_rate = LowestLoss(**state["for_rate"])
        self.for_stop = LowestLoss(**state["for_stop"])
