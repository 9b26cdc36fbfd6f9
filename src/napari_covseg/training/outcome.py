"""What a training tells while it runs, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_covseg.domain.progress import Progress
from napari_covseg.training.validation import Validation


@dataclass(frozen=True, slots=True)
class TrainingProgress(Progress):
    """Progress with figures, for live curves; ``validation`` only where an epoch has ended."""

    epoch: int = 0
    loss: float = math.nan
    learning_rate: float = 0.0
    validation: Validation | None = None


@dataclass(frozen=True)
class EpochReport:
    """What is known at the end of an epoch; ``loss`` is the mean over its steps."""

    epoch: int
    step: int
    loss: float
    validation: Validation | None = None

    def is_better_than(self, best: EpochReport | None) -> bool:
        """Whether its mean Dice is higher; what was not measured is never better."""
        score = self.validation.score if self.validation else None
        before = best.validation.score if best and best.validation else None
        return score is not None and (before is None or score > before)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and states."""
        measured = self.validation.to_dict() if self.validation else None
        return {
            "epoch": self.epoch,
            "step": self.step,
            "loss": self.loss,
            "validation": measured,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> EpochReport:
        """What `to_dict` wrote."""
        measured = content["validation"]
        validation = None if measured is None else Validation.from_dict(measured)
        return cls(content["epoch"], content["step"], content["loss"], validation)


@dataclass(frozen=True)
class FitResult:
    """How a training ended.

    ``stopped`` says why (``epochs``, ``early stop``, ``minutes``); ``best`` is the epoch with the
    highest mean Dice on the validation cases. ``seconds`` is all the time it took;
    ``images_per_second`` and ``waited_percent``, the share in which the device waited for batches,
    are of the time without measuring.
    """

    last: EpochReport
    best: EpochReport | None
    stopped: str
    seconds: float
    images_per_second: float
    waited_percent: float
    gpu_percent: float | None
    notes: tuple[str, ...] = ()
