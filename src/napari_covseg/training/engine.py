"""The training loop: steps, epochs, measurements, and a state to go on from exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from napari_covseg.domain.errors import ResourceError, UsageError
from napari_covseg.domain.progress import Steps
from napari_covseg.training.account import Account
from napari_covseg.training.job import STATE, Job, check_folder, made_for
from napari_covseg.training.learner import Learner, out_of_memory
from napari_covseg.training.outcome import EpochReport, FitResult
from napari_covseg.training.parallel import another_ended
from napari_covseg.training.prefetch import Prefetcher
from napari_covseg.training.randomness import random_state, set_random_state, source_seed
from napari_covseg.training.rates import RateRule
from napari_covseg.training.state import remove_unfinished, write_state
from napari_covseg.training.validation import Validation, validate

SAVE_EVERY_S = 120.0


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
        If memory or the disk is full, or another process that trains with this one is gone; the
        state stays as it was last saved.
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
        if job.parallel.size > 1 and another_ended(error):
            raise ResourceError(
                "another process of this training has ended or does not answer; see what it said, "
                "and go on with --resume"
            ) from error
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
        self.learner = job.make_learner() if job.make_learner else _learner(job)
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
        if state is not None:
            self._load(state)
        self.account = Account(job, self.batches, self.learner.skips_steps, state)
        self.saved = time.monotonic()

    def to_end(self) -> Steps[FitResult]:
        account = self.account
        while not account.stopped:
            account.agree_on_share()
            over = account.share >= 1
            if account.in_epoch == self.preset.batches or (over and account.in_epoch):
                yield from self._end_epoch()
                continue
            if over and account.step:
                account.stopped = "minutes"
                break
            self._train_step()
            yield account.progress(account.loss)
            if self.parallel.size == 1 and time.monotonic() - self.saved > SAVE_EVERY_S:
                self.save()
        return account.result()

    def _train_step(self) -> None:
        done = self.account.share
        rate = self.rule.at(self.account.step, done)
        images, codes = self.batches.next_batch()
        values = self.learner.step(images, codes, rate, self.account.step + 1, done)
        self.account.count_step(rate, values)

    def _end_epoch(self) -> Steps[None]:
        """Measure, log, publish and save. What is kept changes last: a stop before repeats it."""
        account = self.account
        account.read_losses()
        epoch, over = account.epoch + 1, account.share >= 1
        loss = self.parallel.mean(account.loss)
        account.begin_measuring()
        validation: Validation | None = None
        last = over or epoch >= self.preset.epochs
        due = last or epoch % self.preset.validate_every == 0
        if due and self.job.cases and self.job.predict and self.parallel.rank == 0:
            validation = yield from self._validate()
        report = EpochReport(epoch, account.step, loss, validation)
        early = self.rule.end_epoch(loss)
        account.log_epoch(report)
        better = account.count_epoch(report)
        if last or early:
            account.stopped = "early stop" if early and not last else "minutes"
            if epoch >= self.preset.epochs:
                account.stopped = "epochs"
        if self.job.publish is not None and self.parallel.rank == 0:
            if better:
                self.job.publish(self.learner.kept, report, True)
            self.job.publish(self.learner.kept, report, False)
        self.save()
        account.begin_epoch()
        yield account.progress(loss, validation)

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
                told = self.account.progress(math.nan)
                yield replace(told, message=f"{told.message}, {step.message}")
        finally:
            network.train(training)

    def save(self) -> None:
        """Write the state; every process must call it."""
        self.account.read_losses()
        lanes = self.parallel.gather(
            {"batches": self.batches.state_dict(), **random_state(self.job.device)}
        )
        if self.parallel.rank == 0:
            content = {
                "made_for": made_for(self.preset, self.job.identity),
                "learner": self.learner.state_dict(),
                "rule": self.rule.state_dict(),
                "processes": lanes,
                **self.account.state_dict(),
            }
            self.account.flush()
            write_state(self.job.folder / STATE, content)
        self.saved = time.monotonic()

    def save_if_alone(self) -> None:
        """Write the state unless other processes would have to help."""
        if self.parallel.size == 1 and not self.account.stopped:
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

    def close(self) -> None:
        self.batches.close()
        self.account.close()


def _learner(job: Job) -> Learner:
    return Learner(
        *(job.network, job.loss, job.preset, job.device, job.parallel),
        *(job.distillation, job.lesions_apart),
    )
