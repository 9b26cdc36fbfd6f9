"""The account of a run: what it did, lost and took so far; its progress, logs and result."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from napari_covseg.domain.errors import CovsegError
from napari_covseg.models.device import Device
from napari_covseg.training.job import LOGS, Job
from napari_covseg.training.learner import StepLoss
from napari_covseg.training.logs import TrainingLog
from napari_covseg.training.outcome import EpochReport, FitResult, TrainingProgress
from napari_covseg.training.prefetch import Prefetcher
from napari_covseg.training.validation import Validation

_READ_EVERY = {"cuda": 20, "mps": 20}
"""Steps after which losses are read from a device that would otherwise have to wait each time."""


class Account:
    """Kept by the run, which tells it what happens; it changes nothing of the training.

    ``step`` counts all batches, ``in_epoch`` those of the epoch under way, ``epoch`` the epochs
    that are done; ``share`` is how much of the training is done, 0 to 1, and ``stopped`` why it
    ended, if it has.

    Parameters
    ----------
    job, batches
        The run's.
    skips_steps
        Whether a gradient that is no number skips a step (float16) and is no failure.
    state
        What `state_dict` gave, to go on from; every process must have it, or none.

    Raises
    ------
    ResourceError
        If a log cannot be written.
    """

    def __init__(
        self, job: Job, batches: Prefetcher, skips_steps: bool, state: Mapping[str, Any] | None
    ) -> None:
        self._job, self._preset, self._batches = job, job.preset, batches
        self._skips_steps = skips_steps
        self.step = self.epoch = self.in_epoch = 0
        self.share, self.stopped = 0.0, ""
        self.best: EpochReport | None = None
        self.last: EpochReport | None = None
        self._loss_sum, self._rate = 0.0, 0.0
        self._pending: list[tuple[int, float, StepLoss]] = []
        # What earlier processes took; a run that was resumed adds to it.
        self._spent_s, self._waited_s, self._trained_s = 0.0, 0.0, 0.0
        self._begun = time.monotonic()
        if state is not None:
            self._load(state)
        self._log: TrainingLog | None = None
        if job.parallel.rank == 0:
            self._log = TrainingLog(job.folder / LOGS, self.step, self.epoch, job.tensorboard)
        self._first_step, self._measuring, self._epoch_s = self.step, False, 0.0
        self._epoch_begun, self._epoch_waited = time.monotonic(), 0.0
        self._epoch_from = self.in_epoch
        self._gpu_seen, self._gpu_of_epoch = list[float](), list[float]()

    @property
    def loss(self) -> float:
        """The mean of the epoch so far, as far as losses were read; NaN if none was."""
        known = self.in_epoch - len(self._pending)
        return self._loss_sum / known if known > 0 else math.nan

    def count_step(self, rate: float, values: StepLoss) -> None:
        """Count a step, and read losses if it is time to.

        Raises
        ------
        CovsegError
            As `read_losses`.
        """
        self.step += 1
        self.in_epoch += 1
        self._rate = rate
        self._pending.append((self.step, rate, values))
        if len(self._pending) >= _READ_EVERY.get(self._job.device.kind, 1):
            self.read_losses()

    def read_losses(self) -> None:
        """Read and log the losses of steps that are done.

        Raises
        ------
        CovsegError
            If one is no number, or a gradient is not where that skips no step.
        """
        if self._pending and (percent := _gpu_percent(self._job.device)) is not None:
            self._gpu_of_epoch.append(percent)
        pending, self._pending = self._pending, []
        for step, rate, values in pending:
            loss, gradient = values.values()
            if not math.isfinite(loss) or not (math.isfinite(gradient) or self._skips_steps):
                raise CovsegError(
                    f"the {'gradient' if math.isfinite(loss) else 'loss'} is no longer a number at "
                    f"step {step}; the state from before is kept. Start again with a lower rate "
                    f"(--set learning_rate={self._preset.learning_rate / 3:.2g}) or with "
                    "--set precision=float32"
                )
            self._loss_sum += loss
            if self._log is not None:
                row = {"step": step, "epoch": self.epoch + 1, "loss": loss}
                self._log.step(row | {"learning_rate": rate, "gradient_norm": gradient})

    def begin_measuring(self) -> None:
        """The epoch's steps are over."""
        self._epoch_s = time.monotonic() - self._epoch_begun
        self._trained_s, self._measuring = self._trained_s + self._epoch_s, True

    def log_epoch(self, report: EpochReport) -> None:
        """A row on the epoch whose steps are over."""
        if self._log is None:
            return
        # Of an epoch that was resumed, what was done since: images and seconds belong together.
        steps = self.in_epoch - self._epoch_from
        images = steps * self._preset.batch * self._job.parallel.size
        waited, seconds = self._batches.waited_s - self._epoch_waited, max(1e-9, self._epoch_s)
        row: dict[str, Any] = {
            "epoch": report.epoch,
            "step": report.step,
            "loss": report.loss,
            "learning_rate": self._rate,
            "seconds": round(self._epoch_s, 3),
            "images_per_second": round(images / seconds, 3) if images else None,
            "waited_percent": round(100 * waited / seconds, 1),
            "gpu_percent": _mean(self._gpu_of_epoch),
        }
        if self._job.device.kind == "cuda":
            row["gpu_memory_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
        if report.validation is not None:
            figures = report.validation.figures
            row |= {f"dice_{name}": figure.mean for name, figure in figures.items()}
            row["validation_patients"] = max(figure.patients for figure in figures.values())
        self._log.epoch(row)

    def count_epoch(self, report: EpochReport) -> bool:
        """Count the epoch; returns whether it is the best so far."""
        better = report.is_better_than(self.best)
        self.best, self.last = (report if better else self.best), report
        self.epoch, self.in_epoch, self._loss_sum = report.epoch, 0, 0.0
        return better

    def begin_epoch(self) -> None:
        """Measuring is over, and what is left of the epoch is saved."""
        self._gpu_seen += self._gpu_of_epoch
        self._gpu_of_epoch, self._epoch_from, self._measuring = [], 0, False
        self._epoch_begun, self._epoch_waited = time.monotonic(), self._batches.waited_s

    def progress(self, loss: float, validation: Validation | None = None) -> TrainingProgress:
        """Where the run stands; ``validation`` where an epoch has ended."""
        epoch = min(self._preset.epochs, self.epoch + (self.in_epoch > 0))
        text = f"epoch {epoch} of {self._preset.epochs}"
        if math.isfinite(loss):
            text += f", loss {loss:.4f}"
        if validation is not None:
            dice = {name: one.mean for name, one in validation.figures.items()}
            text += "".join(f", {n} {v:.3f}" for n, v in dice.items() if v is not None)
        done, total = self.step, self._preset.steps
        if self._preset.minutes:
            total = max(1, round(60 * self._preset.minutes))
            done = min(total, round(total * self.share))
        return TrainingProgress(done, total, text, epoch, loss, self._rate, validation)

    def agree_on_share(self) -> None:
        """Set ``share``; every process must call it, so nothing that only the first does may."""
        share = self.step / self._preset.steps
        if self._preset.minutes:
            share = max(share, self._spent() / (60 * self._preset.minutes))
            share = float(self._job.parallel.agree(share))
        self.share = min(1.0, share)

    def state_dict(self) -> dict[str, Any]:
        """Plain values; the losses must have been read."""
        return {
            "counts": [self.step, self.epoch, self.in_epoch],
            "trained_s": self._trained(),
            "sums": [self._loss_sum, self._spent(), self._waited(), self._rate],
            "reports": [one and one.to_dict() for one in (self.best, self.last)],
            "stopped": self.stopped,
        }

    def result(self) -> FitResult:
        """How the run ended; its last epoch is counted."""
        assert self.last is not None
        seconds, trained_s = self._spent_s, self._trained_s
        if self.step > self._first_step:
            seconds, trained_s = self._spent(), self._trained()
        images = self.step * self._preset.batch * self._job.parallel.size
        return FitResult(
            last=self.last,
            best=self.best,
            stopped=self.stopped,
            seconds=seconds,
            images_per_second=images / max(1e-9, trained_s),
            waited_percent=100 * self._waited() / max(1e-9, trained_s),
            gpu_percent=_mean(self._gpu_seen),
            notes=self._log.notes if self._log is not None else (),
        )

    def flush(self) -> None:
        """Put the logs on disk."""
        if self._log is not None:
            self._log.flush()

    def close(self) -> None:
        """Close the logs."""
        if self._log is not None:
            self._log.close()

    def _load(self, state: Mapping[str, Any]) -> None:
        self.step, self.epoch, self.in_epoch = state["counts"]
        self._loss_sum, self._spent_s, self._waited_s, self._rate = state["sums"]
        # Not in the states of earlier versions, which counted the time of measuring too.
        self._trained_s = state.get("trained_s", self._spent_s)
        self.best, self.last = (one and EpochReport.from_dict(one) for one in state["reports"])
        self.stopped = state["stopped"]
        self.agree_on_share()
        if self.stopped == "minutes" and self.share < 1:
            self.stopped = ""

    def _spent(self) -> float:
        return self._spent_s + time.monotonic() - self._begun

    def _trained(self) -> float:
        """Seconds of training alone, without measuring."""
        now = 0.0 if self._measuring else time.monotonic() - self._epoch_begun
        return self._trained_s + now

    def _waited(self) -> float:
        return self._waited_s + self._batches.waited_s


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _gpu_percent(device: Device) -> float | None:
    """How busy the graphics card is just now, where NVIDIA's library can say."""
    if device.kind != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(torch.device(device.name)))
    except Exception:
        return None
