"""The training loop: steps, epochs, measurements, logs, and a state to go on from exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from napari_covseg.domain.errors import CovsegError, UsageError
from napari_covseg.domain.progress import Steps
from napari_covseg.models.device import Device
from napari_covseg.training.job import LOGS, STATE, Job, check_folder, made_for
from napari_covseg.training.learner import Learner, StepLoss, out_of_memory
from napari_covseg.training.logs import TrainingLog
from napari_covseg.training.outcome import EpochReport, FitResult, TrainingProgress
from napari_covseg.training.prefetch import Prefetcher
from napari_covseg.training.randomness import random_state, set_random_state, source_seed
from napari_covseg.training.rates import RateRule
from napari_covseg.training.state import remove_unfinished, write_state
from napari_covseg.training.validation import Validation, validate

SAVE_EVERY_S = 120.0
_READ_EVERY = {"cuda": 20, "mps": 20}
"""Steps after which losses are read from a device that would otherwise have to wait each time."""


def fit(job: Job) -> Steps[FitResult]:
    """Train; yields `TrainingProgress` after each step.

    Closing the generator stops within a step and leaves a state to resume from. A process that is
    killed leaves the state of the last epoch (or of the last two minutes, in a long epoch); on the
    CPU a resumed training gives the same losses and weights, to the last bit, as one that was never
    interrupted.

    Raises
    ------
    UsageError
        If the folder holds a training and ``resume`` is not set, or one with other settings.
    InputError
        If the state is damaged.
    ResourceError
        If memory or the disk is full; the state stays as it was last saved.
    CovsegError
        If the loss is no longer a number; the state from before stays.
    """
    state = check_folder(job.folder, job.preset, job.identity, job.resume)
    if job.parallel.rank == 0:
        remove_unfinished(job.folder / STATE)
    run = _Run(job, state)
    try:
        return (yield from run.to_end())
    except GeneratorExit:
        run.save_if_alone()
        raise
    except (RuntimeError, MemoryError) as error:
        explained = out_of_memory(error, job.preset, job.device)
        if explained is None:
            raise
        raise explained from error
    finally:
        run.close()


class _Run:
    """A training under way."""

    def __init__(self, job: Job, state: Mapping[str, Any] | None) -> None:
        self.job, self.preset, self.parallel = job, job.preset, job.parallel
        torch.manual_seed(self.preset.seed + self.parallel.rank)
        # Fixed shapes: let cuDNN find the fastest way.
        torch.backends.cudnn.benchmark = job.device.kind == "cuda"
        self.learner = Learner(job.network, job.loss, self.preset, job.device, self.parallel)
        self.rule = RateRule(self.preset)
        seeds = [
            source_seed(self.preset.seed, self.parallel.rank, lane)
            for lane in range(max(1, self.preset.workers))
        ]
        self.batches = Prefetcher(
            [job.make_source(seed) for seed in seeds],
            # On the CPU they take its cores from the training: a quarter slower, measured on two.
            threads=self.preset.workers > 0 and job.device.kind != "cpu",
            pin_memory=job.device.kind == "cuda",
        )
        self.step = self.epoch = self.in_epoch = 0
        self.loss_sum, self.spent_s, self.waited_s, self.rate = 0.0, 0.0, 0.0, 0.0
        self.share, self.trained_s, self.measuring = 0.0, 0.0, False
        self.best: EpochReport | None = None
        self.last: EpochReport | None = None
        self.stopped = ""
        self.begun = time.monotonic()
        if state is not None:
            self._load(state)
        self.first_step = self.step
        self.log: TrainingLog | None = None
        if self.parallel.rank == 0:
            self.log = TrainingLog(job.folder / LOGS, self.step, self.epoch, job.tensorboard)
        self.pending: list[tuple[int, float, StepLoss]] = []
        self.saved = self.epoch_begun = time.monotonic()
        self.epoch_waited, self.epoch_from = 0.0, self.in_epoch
        self.gpu_seen, self.gpu_of_epoch = list[float](), list[float]()

    def to_end(self) -> Steps[FitResult]:
        while not self.stopped:
            self._agree_on_share()
            over = self.share >= 1
            if self.in_epoch == self.preset.batches or (over and self.in_epoch):
                yield from self._end_epoch()
                continue
            if over and self.step:
                self.stopped = "minutes"
                break
            yield self._progress(self._train_step())
            if self.parallel.size == 1 and time.monotonic() - self.saved > SAVE_EVERY_S:
                self.save()
        return self._result()

    def _train_step(self) -> float:
        """One step; returns the mean loss of the epoch so far, as far as it was read."""
        self.rate = self.rule.at(self.step, self.share)
        images, codes = self.batches.next_batch()
        values = self.learner.step(images, codes, self.rate, self.step + 1)
        self.step += 1
        self.in_epoch += 1
        self.pending.append((self.step, self.rate, values))
        if len(self.pending) >= _READ_EVERY.get(self.job.device.kind, 1):
            self._read_losses()
        known = self.in_epoch - len(self.pending)
        return self.loss_sum / known if known > 0 else math.nan

    def _read_losses(self) -> None:
        """Read the losses of steps that are done; log them, and stop if one is no number."""
        if self.pending and (percent := _gpu_percent(self.job.device)) is not None:
            self.gpu_of_epoch.append(percent)
        pending, self.pending = self.pending, []
        for step, rate, values in pending:
            loss, gradient = values.values()
            if not math.isfinite(loss) or not (math.isfinite(gradient) or self.learner.skips_steps):
                raise CovsegError(
                    f"the {'gradient' if math.isfinite(loss) else 'loss'} is no longer a number at "
                    f"step {step}; the state from before is kept. Start again with a lower rate "
                    f"(--set learning_rate={self.preset.learning_rate / 3:.2g}) or with "
                    "--set precision=float32"
                )
            self.loss_sum += loss
            if self.log is not None:
                row = {"step": step, "epoch": self.epoch + 1, "loss": loss}
                self.log.step(row | {"learning_rate": rate, "gradient_norm": gradient})

    def _end_epoch(self) -> Steps[None]:
        """Measure, log, publish and save. What is kept changes last: a stop before repeats it."""
        self._read_losses()
        epoch, over = self.epoch + 1, self.share >= 1
        loss = self.parallel.mean(self.loss_sum / self.in_epoch)
        trained_s = time.monotonic() - self.epoch_begun
        self.trained_s, self.measuring = self.trained_s + trained_s, True
        validation: Validation | None = None
        last = over or epoch >= self.preset.epochs
        due = last or epoch % self.preset.validate_every == 0
        if due and self.job.cases and self.job.predict and self.parallel.rank == 0:
            validation = yield from self._validate()
        report = EpochReport(epoch, self.step, loss, validation)
        early = self.rule.end_epoch(loss)
        self._log_epoch(report, trained_s)
        better = report.is_better_than(self.best)
        self.best, self.last = (report if better else self.best), report
        if last or early:
            self.stopped = "early stop" if early and not last else "minutes"
            if epoch >= self.preset.epochs:
                self.stopped = "epochs"
        self.epoch, self.in_epoch, self.loss_sum = epoch, 0, 0.0
        if self.job.publish is not None and self.parallel.rank == 0:
            if better:
                self.job.publish(self.learner.kept, report, True)
            self.job.publish(self.learner.kept, report, False)
        self.save()
        self.gpu_seen += self.gpu_of_epoch
        self.gpu_of_epoch, self.epoch_from, self.measuring = [], 0, False
        self.epoch_begun, self.epoch_waited = time.monotonic(), self.batches.waited_s
        yield self._progress(loss, validation)

    def _validate(self) -> Steps[Validation]:
        predict = self.job.predict
        assert predict is not None
        network = self.learner.kept
        training = network.training
        network.eval()
        steps = validate(network, self.job.cases, predict)
        try:
            while True:
                try:
                    step = next(steps)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                told = self._progress(math.nan)
                yield replace(told, message=f"{told.message}, {step.message}")
        finally:
            network.train(training)

    def _log_epoch(self, report: EpochReport, trained_s: float) -> None:
        if self.log is None:
            return
        # Of an epoch that was resumed, what was done since: images and seconds belong together.
        images = (self.in_epoch - self.epoch_from) * self.preset.batch * self.parallel.size
        waited = self.batches.waited_s - self.epoch_waited
        row: dict[str, Any] = {
            "epoch": report.epoch,
            "step": report.step,
            "loss": report.loss,
            "learning_rate": self.rate,
            "seconds": round(trained_s, 3),
            "images_per_second": round(images / max(1e-9, trained_s), 3) if images else None,
            "waited_percent": round(100 * waited / max(1e-9, trained_s), 1),
            "gpu_percent": _mean(self.gpu_of_epoch),
        }
        if self.job.device.kind == "cuda":
            row["gpu_memory_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
        if report.validation is not None:
            figures = report.validation.figures
            row |= {f"dice_{name}": figure.mean for name, figure in figures.items()}
            row["validation_patients"] = max(figure.patients for figure in figures.values())
        self.log.epoch(row)

    def _progress(self, loss: float, validation: Validation | None = None) -> TrainingProgress:
        epoch = min(self.preset.epochs, self.epoch + (self.in_epoch > 0))
        text = f"epoch {epoch} of {self.preset.epochs}"
        if math.isfinite(loss):
            text += f", loss {loss:.4f}"
        if validation is not None:
            dice = {name: one.mean for name, one in validation.figures.items()}
            text += "".join(f", {n} {v:.3f}" for n, v in dice.items() if v is not None)
        done, total = self.step, self.preset.steps
        if self.preset.minutes:
            total = max(1, round(60 * self.preset.minutes))
            done = min(total, round(total * self.share))
        return TrainingProgress(done, total, text, epoch, loss, self.rate, validation)

    def _agree_on_share(self) -> None:
        """Set ``share``; every process must call it, so nothing that only the first does may."""
        share = self.step / self.preset.steps
        if self.preset.minutes:
            share = max(share, self._spent() / (60 * self.preset.minutes))
            share = float(self.parallel.agree(share))
        self.share = min(1.0, share)

    def _spent(self) -> float:
        return self.spent_s + time.monotonic() - self.begun

    def _trained(self) -> float:
        """Seconds of training alone, without measuring."""
        return self.trained_s + (0 if self.measuring else time.monotonic() - self.epoch_begun)

    def _waited(self) -> float:
        return self.waited_s + self.batches.waited_s

    def save(self) -> None:
        """Write the state; every process must call it."""
        self._read_losses()
        lanes = self.parallel.gather(
            {"batches": self.batches.state_dict(), **random_state(self.job.device)}
        )
        if self.parallel.rank == 0:
            content = {
                "made_for": made_for(self.preset, self.job.identity),
                "learner": self.learner.state_dict(),
                "rule": self.rule.state_dict(),
                "processes": lanes,
                "counts": [self.step, self.epoch, self.in_epoch],
                "trained_s": self._trained(),
                "sums": [self.loss_sum, self._spent(), self._waited(), self.rate],
                "reports": [one and one.to_dict() for one in (self.best, self.last)],
                "stopped": self.stopped,
            }
            path = self.job.folder / STATE
            if self.log is not None:
                self.log.flush()
            write_state(path, content)
        self.saved = time.monotonic()

    def save_if_alone(self) -> None:
        """Write the state unless other processes would have to help."""
        if self.parallel.size == 1 and not self.stopped:
            self.save()

    def _load(self, state: Mapping[str, Any]) -> None:
        lanes = state["processes"]
        if len(lanes) != self.parallel.size:
            raise UsageError(
                f"this training was begun with {len(lanes)} processes, resume it with as many"
            )
        self.learner.load_state_dict(state["learner"])
        self.rule.load_state_dict(state["rule"])
        mine = lanes[self.parallel.rank]
        if self.parallel.rank == 0 and "random_cuda" in state:
            # Earlier versions kept the first process's only; no other may draw the same numbers.
            mine = {"random_cuda": state["random_cuda"], **mine}
        self.batches.load_state_dict(mine["batches"])
        set_random_state(self.job.device, mine)
        self.step, self.epoch, self.in_epoch = state["counts"]
        self.loss_sum, self.spent_s, self.waited_s, self.rate = state["sums"]
        # Not in the states of earlier versions, which counted the time of measuring too.
        self.trained_s = state.get("trained_s", self.spent_s)
        self.best, self.last = (one and EpochReport.from_dict(one) for one in state["reports"])
        self.stopped = state["stopped"]
        self._agree_on_share()
        if self.stopped == "minutes" and self.share < 1:
            self.stopped = ""

    def _result(self) -> FitResult:
        assert self.last is not None
        seconds, trained_s = self.spent_s, self.trained_s
        if self.step > self.first_step:
            seconds, trained_s = self._spent(), self._trained()
        return FitResult(
            last=self.last,
            best=self.best,
            stopped=self.stopped,
            seconds=seconds,
            images_per_second=self.step
            * self.preset.batch
            * self.parallel.size
            / max(1e-9, trained_s),
            waited_percent=100 * self._waited() / max(1e-9, trained_s),
            gpu_percent=_mean(self.gpu_seen),
            notes=self.log.notes if self.log is not None else (),
        )

    def close(self) -> None:
        self.batches.close()
        if self.log is not None:
            self.log.close()


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
