"""The curves of a training under way: loss and validation Dice over its course. Without Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from napari_covseg.domain.progress import Progress
    from napari_covseg.training.outcome import TrainingProgress

Points = list[tuple[float, float]]
_LEAST_STEP = 0.2
"""Points closer than this, in per cent of a training, are one."""


@dataclass
class Curve:
    """One training: points of (per cent of it that is done, figure)."""

    loss: Points = field(default_factory=list)
    dice: Points = field(default_factory=list)


def is_training(step: Progress) -> TypeGuard[TrainingProgress]:
    """Whether a step has figures; told by its fields, as its class would load torch."""
    return hasattr(step, "epoch")


class Curves:
    """Every training of a retraining, the one under way last; with few patients there are several.

    A training that was paused goes on in its own curve.
    """

    def __init__(self) -> None:
        self.trainings: list[Curve] = []
        self._done = 0.0

    def take(self, step: TrainingProgress) -> bool:
        """Add what a step tells; returns whether there is anything new to draw."""
        done = 100 * step.done / max(1, step.total)
        if not self.trainings or done < self._done:
            self.trainings.append(Curve())
        self._done = done
        curve, new = self.trainings[-1], False
        near = bool(curve.loss) and done - curve.loss[-1][0] < _LEAST_STEP
        if math.isfinite(step.loss) and not near:
            curve.loss.append((done, step.loss))
            new = True
        if step.validation is not None and step.validation.score is not None:
            curve.dice.append((done, step.validation.score))
            new = True
        return new
