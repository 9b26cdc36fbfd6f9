"""The loop that trains detectors and what is built on them: steps, epochs, a state to go on from.

As `engine`, whose networks give a class to each pixel: the same state file, logs and promises.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from napari_covseg.domain.errors import CovsegError, ResourceError, UsageError
from napari_covseg.domain.progress import Steps
from napari_covseg.io.atomic import atomic_file
from napari_covseg.models.device import Device
from napari_covseg.training.job import LOGS, STATE
from napari_covseg.training.learner import card_gone
from napari_covseg.training.logs import TrainingLog
from napari_covseg.training.outcome import TrainingProgress
from napari_covseg.training.randomness import random_state, set_random_state
from napari_covseg.training.state import check_same, read_state, remove_unfinished, write_state

SAVE_EVERY_S = 120.0
MEASURES = "measures.csv"
WARM_UP = 0.05
"""The share of a training in which a cosine rate rises."""


class Learning(Protocol):
    """What is trained."""

    def step(self, rate: float) -> tuple[float, float]:
        """Draw a batch and learn from it: the loss, and the length of the gradient."""
        ...

    def measure(self) -> Steps[dict[str, float | None]]:
        """Figures on what is held out; ``score`` says which epoch is best. Empty: nothing there."""
        ...

    def publish(self, row: Mapping[str, Any], best: bool) -> None:
        """Write the model, or the best one so far."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        ...

    def close(self) -> None:
        """Stop what runs in the background."""
        ...


@dataclass(frozen=True, eq=False)
class Plan:
    """How long to train, and where.

    ``made_for`` is what must be the same when a training is resumed: settings, data and split.
    """

    folder: Path
    device: Device
    made_for: Mapping[str, Any]
    epochs: int
    batches: int
    learning_rate: float
    rate_rule: str = "constant"
    validate_every: int = 1
    minutes: float = 0.0
    tensorboard: bool = True

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.epochs * self.batches

    def rate(self, share: float) -> float:
        """The learning rate when ``share`` (0 to 1) of the training is done."""
        if self.rate_rule == "constant":
            return self.learning_rate
        rising = min(1.0, max(share, 1 / self.steps) / WARM_UP)
        falling = max(0.0, (share - WARM_UP) / (1 - WARM_UP))
        return self.learning_rate * rising * 0.5 * (1 + math.cos(math.pi * min(1.0, falling)))


@dataclass(frozen=True)
class LoopResult:
    """How a training ended.

    ``rows`` has the figures of each epoch (``epoch``, ``step``, ``loss``, and those measured);
    ``best`` is the one with the highest score. ``stopped`` is ``epochs`` or ``minutes``.
    """

    rows: tuple[dict[str, Any], ...]
    best: dict[str, Any] | None
    stopped: str
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "last": self.rows[-1],
            "best": self.best,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 1),
            "notes": list(self.notes),
        }


def check_folder(
    folder: Path, made_for: Mapping[str, Any], changeable: tuple[str, ...], resume: bool
) -> dict[str, Any] | None:
    """The state to go on from, or None for a new training.

    Raises
    ------
    UsageError
        If the folder holds a training or a model and ``resume`` is not set, or the training was
        begun with other settings.
    InputError
        If the state is damaged.
    """
    path = folder / STATE
    if not resume:
        if path.is_file():
            raise UsageError(
                f"{folder.name}: holds a training already; go on with it (--resume) or choose "
                "another folder"
            )
        if any(one.with_suffix(".json").is_file() for one in folder.glob("*.safetensors")):
            raise UsageError(
                f"{folder.name}: holds a model already, which the training would replace; choose "
                "another folder"
            )
    if not path.is_file():
        return None
    state = read_state(path)
    check_same(state["made_for"], made_for, changeable)
    return state


def run_loop(plan: Plan, learning: Learning, state: Mapping[str, Any] | None) -> Steps[LoopResult]:
    """Train; yields `TrainingProgress` after each step.

    Closing the generator stops within a step and leaves a state to resume from. On the CPU a
    resumed training gives the same losses and weights, to the last bit, as one never interrupted.

    Raises
    ------
    ResourceError
        If memory or the disk is full; the state stays as it was last saved.
    CovsegError
        If the loss is no longer a number; the state from before stays.
    """
    remove_unfinished(plan.folder / STATE)
    loop = _Loop(plan, learning, state)
    try:
        return (yield from loop.to_end())
    except GeneratorExit:
        loop.save()
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError(
            f"the memory of {plan.device.title} is too small; lower --set batch or patch"
        ) from error
    except RuntimeError as error:
        gone = card_gone(error, plan.device)
        if gone is None:
            raise
        raise gone from error
    finally:
        loop.close()


@dataclass
class _Counts:
    step: int = 0
    epoch: int = 0
    in_epoch: int = 0
    loss_sum: float = 0.0
    spent_s: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None


class _Loop:
    def __init__(self, plan: Plan, learning: Learning, state: Mapping[str, Any] | None) -> None:
        self._plan, self._learning = plan, learning
        self._at = _Counts()
        if state is not None:
            self._at = _Counts(**state["counts"])
            learning.load_state_dict(state["learning"])
            set_random_state(plan.device, state)
        self._begun = self._saved = time.monotonic()
        self._before_s = self._at.spent_s
        logs = plan.folder / LOGS
        self._log = TrainingLog(logs, self._at.step, self._at.epoch, plan.tensorboard)

    def to_end(self) -> Steps[LoopResult]:
        plan, at = self._plan, self._at
        # A training with a row for its last epoch was ended; with more minutes it may go on.
        while at.epoch < plan.epochs and not (self._over() and at.in_epoch == 0 and at.rows):
            if at.in_epoch == plan.batches or (self._over() and at.in_epoch):
                yield from self._end_epoch()
                continue
            loss = self._step()
            yield self._progress(f"loss {loss:.4f}", loss)
            if time.monotonic() - self._saved > SAVE_EVERY_S:
                self.save()
        stopped = "epochs" if at.epoch >= plan.epochs else "minutes"
        return LoopResult(tuple(at.rows), at.best, stopped, self._spent(), self._log.notes)

    def _step(self) -> float:
        at = self._at
        rate = self._plan.rate(self._share())
        loss, gradient = self._learning.step(rate)
        if not math.isfinite(loss) or math.isnan(gradient):
            raise CovsegError(
                f"the loss is no longer a number at step {at.step + 1}; the state from before is "
                f"kept. Start again with --set learning_rate={self._plan.learning_rate / 3:.2g}"
            )
        at.step, at.in_epoch, at.loss_sum = at.step + 1, at.in_epoch + 1, at.loss_sum + loss
        row = {"step": at.step, "epoch": at.epoch + 1, "loss": loss}
        self._log.step(row | {"learning_rate": rate, "gradient_norm": gradient})
        return at.loss_sum / at.in_epoch

    def _end_epoch(self) -> Steps[None]:
        at, plan = self._at, self._plan
        row: dict[str, Any] = {
            "epoch": at.epoch + 1,
            "step": at.step,
            "loss": at.loss_sum / at.in_epoch,
        }
        last = self._over() or row["epoch"] >= plan.epochs
        if last or row["epoch"] % plan.validate_every == 0:
            measuring = self._learning.measure()
            while True:
                try:
                    step = next(measuring)
                except StopIteration as end:
                    row |= end.value
                    break
                yield self._progress(step.message, math.nan)
        self._log.epoch(row | {"learning_rate": plan.rate(self._share())})
        at.epoch, at.in_epoch, at.loss_sum = row["epoch"], 0, 0.0
        at.rows.append(row)
        self._write_measures()
        if row.get("score") is not None and (at.best is None or row["score"] > at.best["score"]):
            at.best = row
            self._learning.publish(row, True)
        self._learning.publish(row, False)
        self.save()
        yield self._progress(f"loss {row['loss']:.4f}{_figures(row)}", row["loss"])

    def _write_measures(self) -> None:
        columns = list(dict.fromkeys(name for row in self._at.rows for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(self._at.rows)
        with atomic_file(self._plan.folder / LOGS / MEASURES) as file:
            file.write(text.getvalue().encode())

    def save(self) -> None:
        """Write the state."""
        self._log.flush()
        counts = {**vars(self._at), "spent_s": self._spent(), "rows": list(self._at.rows)}
        content = {
            "made_for": dict(self._plan.made_for),
            "learning": self._learning.state_dict(),
            "counts": counts,
            **random_state(self._plan.device),
        }
        write_state(self._plan.folder / STATE, content)
        self._saved = time.monotonic()

    def close(self) -> None:
        self._learning.close()
        self._log.close()

    def _share(self) -> float:
        share = self._at.step / self._plan.steps
        if self._plan.minutes:
            share = max(share, self._spent() / (60 * self._plan.minutes))
        return min(1.0, share)

    def _over(self) -> bool:
        return self._share() >= 1

    def _spent(self) -> float:
        return self._before_s + time.monotonic() - self._begun

    def _progress(self, text: str, loss: float) -> TrainingProgress:
        plan, at = self._plan, self._at
        epoch = min(plan.epochs, at.epoch + (at.in_epoch > 0))
        done, total = at.step, plan.steps
        if plan.minutes:
            total = max(1, round(60 * plan.minutes))
            done = min(total, round(total * self._share()))
        told = f"epoch {epoch} of {plan.epochs}, {text}"
        return TrainingProgress(done, total, told, epoch, loss, plan.rate(self._share()))


def _figures(row: Mapping[str, Any]) -> str:
    known = {k: v for k, v in row.items() if k not in ("epoch", "step", "loss", "score")}
    return "".join(f", {k} {v:.3f}" for k, v in known.items() if isinstance(v, float))
