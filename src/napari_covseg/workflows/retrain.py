"""Retrain from the accepted labels of a case store, and let the gate decide.

From the live model (or the nearest one it descends from that trained on nobody who measures) a new
one is trained on every labelled case that neither measures nor validates, its weights are averaged
with those it started from, and both models are measured on the same held-out patients. The live
model changes in the last step only, so whatever ends a retraining before leaves it as it was.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_covseg.cases.gate import CaseFigures, GateDecision, Way, judge
from napari_covseg.cases.lineage import MODEL_PROMOTED, RUN_STARTED
from napari_covseg.cases.place import holds_store
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.progress import Progress, Steps, T
from napari_covseg.io.nnunet import read_datasets
from napari_covseg.models.checkpoint import Model, read_checkpoint, write_checkpoint
from napari_covseg.models.device import choose_device
from napari_covseg.models.zoo import load
from napari_covseg.training.averaging import DEFAULT_SHARE, averaged, choose_share
from napari_covseg.training.case_prediction import case_predictor
from napari_covseg.training.cases import load_cases
from napari_covseg.training.process import Handle, serve
from napari_covseg.workflows.gate_figures import FOLD, MODEL, Measured, figures_of, measure
from napari_covseg.workflows.retrain_data import replayed_scans
from napari_covseg.workflows.retrain_plan import (
    CACHE,
    FOLDER,
    Plan,
    alone,
    find_or_make,
    run_folder,
)
from napari_covseg.workflows.retrain_records import Made, card_of, record_of
from napari_covseg.workflows.retrain_request import RetrainRequest, RetrainResult
from napari_covseg.workflows.split import only_cases
from napari_covseg.workflows.store_models import DECIDED, model_source, publish
from napari_covseg.workflows.train import train
from napari_covseg.workflows.train_request import TrainRequest, TrainResult

_REPLAYED = "replayed.json"
_ROLLED_BACK = "the new model was live already and was rolled back since: it is left so"
_UNREADABLE = "{}: its scan cannot be read, so it was left out of the cases without labels"
_CHANGED = "the live model was changed while this one trained; compare them again"


def retrain(request: RetrainRequest) -> Steps[RetrainResult]:
    """Retrain, measure, judge, and promote the new model if it passes.

    Yields progress, `TrainingProgress` while batches run. Closing the generator leaves a state that
    ``resume`` goes on from.

    Raises
    ------
    UsageError
        If settings contradict, another retraining is under way, or an interrupted one is there.
    InputError
        If no case is accepted, a file of the store is damaged, or its folder vanishes meanwhile.
    ModelError
        If the model to start from cannot be trained further.
    ResourceError
        If memory or the disk is full, or the store may not be written to.
    CovsegError
        If the loss is no longer a number.
    """
    begun = time.monotonic()
    yield Progress(0, 1, "opening the case store")
    store = CaseStore.open(request.store)
    with alone(store):
        plan = find_or_make(store, request)
        try:
            return (yield from _while_there(store, _Retraining(store, plan, begun).to_end()))
        except ResourceError as error:
            if "--" in str(error):
                # It says what to do.
                raise
            raise ResourceError(
                f"{error}. The live model is as it was; when that is mended, go on with --resume"
            ) from None


def start_retraining(request: RetrainRequest) -> Handle[RetrainResult]:
    """Retrain in a process of its own: `Handle.progress`, `Handle.cancel`, `Handle.result`.

    Raises
    ------
    ResourceError
        If the store may not be written to.
    """
    log = request.store / FOLDER / "process.log"
    return Handle(__name__, request.to_dict(), RetrainResult.from_dict, log)


@dataclass
class _Retraining:
    """One that is under way."""

    store: CaseStore
    plan: Plan
    begun: float
    warnings: list[str] = field(default_factory=list)
    replayed: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.request = self.plan.request
        self.folder = run_folder(self.store, self.plan.run)
        self.start = load(model_source(self.store, self.plan.start))
        self.warnings += [_UNREADABLE.format(case) for case in self.plan.unreadable]

    def to_end(self) -> Steps[RetrainResult]:
        plan = self.plan
        self.replayed = yield from replayed_scans(
            read_datasets(self.folder / "data"), set(plan.replayed), self.folder / _REPLAYED
        )
        by_fold = yield from self._folds()
        done = yield from self._train("final", plan.division.training, plan.division.validation)
        trained = read_checkpoint(done.model)
        share, scores = yield from self._share(trained)
        card = self._write(trained, share, self.folder / "model", plan.division.training)
        model = read_checkpoint(card)
        live = self.store.model(plan.live) if plan.live else None
        measured = Measured(by_fold, FOLD)
        if plan.division.way is Way.HELD_OUT:
            found = yield from _told(
                measure(self.store, str(card), plan.division.measured, self.request.device),
                "the new model",
            )
            measured = Measured(found, MODEL)
        old = yield from _told(
            figures_of(self.store, live, plan.division.measured, self.request.device),
            "the live model",
        )
        patients = {one.case: one.patient for one in plan.division.measured}
        decision = judge(old, measured.figures, patients, plan.division.way, self.request.rule)
        yield Progress(0, 1, "keeping the model")
        made = Made(done, share, scores, measured, self.replayed)
        decision = self._keep(model, made, decision)
        promoted = self._decide(model, decision)
        return RetrainResult(
            run=plan.run,
            model=model.sha256,
            name=model.name,
            folder=self.store.model_folder(model.sha256),
            old=plan.live,
            decision=decision,
            promoted=promoted,
            share=share,
            training_cases=len(plan.division.training),
            unlabelled_cases=len(plan.unlabelled),
            seconds=time.monotonic() - self.begun,
            warnings=tuple(dict.fromkeys((*self.warnings, *done.warnings))),
        )

    def _folds(self) -> Steps[dict[str, CaseFigures]]:
        """Figures of each patient by a training that left them out; empty with a held-out set."""
        found: dict[str, CaseFigures] = {}
        folds = self.plan.folds
        for number, patient in enumerate(folds, 1):
            told = f"leaving out patient {number} of {len(folds)}"
            names = [one.case for one in self.plan.cases if one.patient != patient]
            done = yield from _told(self._train(f"fold_{number}", names, ()), told)
            trained = read_checkpoint(done.model)
            share = self.request.share or DEFAULT_SHARE
            folder = self.folder / f"fold_{number}" / "averaged"
            card = self._write(trained, share, folder, names)
            own = [one for one in self.plan.division.measured if one.patient == patient]
            found |= yield from _told(
                measure(self.store, str(card), own, self.request.device), told
            )
        return found

    def _train(
        self, name: str, cases: Sequence[str], validation: Sequence[str]
    ) -> Steps[TrainResult]:
        return train(
            TrainRequest(
                data=self.folder / "data",
                output=self.folder / name,
                preset=self.plan.preset,
                train=(*cases, *self.plan.replayed),
                validation=tuple(validation),
                name="network",
                device=self.request.device,
                cache=self.store.folder / FOLDER / CACHE,
                resume=True,
                tensorboard=False,
                start=model_source(self.store, self.plan.start),
                unlabelled=self.plan.unlabelled,
                distillation=self.plan.distillation,
            )
        )

    def _share(self, trained: Model) -> Steps[tuple[float, Mapping[float, float | None]]]:
        """How much of the new weights to take: as asked, or as the validation patients say."""
        names = set(self.plan.division.validation)
        if self.request.share is not None or not names:
            return self.request.share or DEFAULT_SHARE, {}
        device = choose_device(self.request.device)
        preset = self.plan.preset
        recipe = preset.make_recipe()
        datasets = only_cases(read_datasets(self.folder / "data"), names)
        cases = yield from load_cases(datasets, recipe, self.store.folder / FOLDER / CACHE)
        predict = case_predictor(preset, recipe, device, self.warnings)
        return (
            yield from choose_share(
                self.start.network, trained.network, cases, predict, device.name
            )
        )

    def _write(self, trained: Model, share: float, folder: Path, cases: Sequence[str]) -> Path:
        """The average of old and new weights as a model, with its card."""
        preset = self.plan.preset
        name = f"{self.store.folder.name}-{self.plan.run}"
        network = averaged(self.start.network, trained.network, share)
        about = card_of(self.plan, self.start, trained, share, cases)
        made_for = (preset.network, preset.network_arguments, preset.make_recipe(), about)
        return write_checkpoint(folder, name, network, *made_for)

    def _keep(self, model: Model, made: Made, decision: GateDecision) -> GateDecision:
        """The model's files by their hash, its record, the decision: each only once.

        Returns the decision that holds: the one written down before this was resumed, if any.
        """
        logs = self.folder / "final" / "logs"
        card = self.folder / "model" / f"{model.name}.json"
        publish(card, self.store.model_folder(model.sha256), logs)
        if all(one.sha256 != model.sha256 for one in self.store.models()):
            self.store.record_model(
                record_of(self.plan, self.start, model, made), author=self.request.author
            )
        events = self.store.events(kind=DECIDED)
        for one in reversed(events):
            # Resumed on another device it may be another model.
            if (one.detail["run"], one.model) == (self.plan.run, model.sha256):
                return GateDecision.from_dict(one.detail["decision"])
        told = {"decision": decision.to_dict(), "old": self.plan.live, "run": self.plan.run}
        self.store.record_event(DECIDED, actor=self.request.author, model=model.sha256, detail=told)
        return decision

    def _decide(self, model: Model, decision: GateDecision) -> bool:
        """Promote if the gate says so; write down the end; clear up."""
        store, run = self.store, self.plan.run
        live = store.live_model()
        now = live.sha256 if live else None
        promoted = now == model.sha256
        rolled_back = not promoted and self._was_live(model.sha256)
        outcome = f"refused: {decision.reason}"
        if decision.promote and self.request.promote and not promoted:
            if rolled_back:
                self.warnings.append(_ROLLED_BACK)
            elif now == self.plan.live:
                store.promote(model.sha256, by=self.request.author, why=decision.reason)
                promoted = True
            else:
                self.warnings.append(_CHANGED)
        if decision.promote:
            outcome = f"{'promoted' if promoted else 'passed, not promoted'}: {decision.reason}"
        store.finish_run(run, outcome=outcome, model=model.sha256)
        shutil.rmtree(self.folder, ignore_errors=True)
        return promoted

    def _was_live(self, sha256: str) -> bool:
        """Whether this retraining, interrupted since, made a model live that it is not any more."""
        # By the numbers of events: the clock may have been set back since it began.
        starts = self.store.events(kind=RUN_STARTED)
        begun = next(one.number for one in starts if one.detail["run"] == self.plan.run)
        return any(
            one.model == sha256 and one.number > begun
            for one in self.store.events(kind=MODEL_PROMOTED)
        )


def _while_there(store: CaseStore, steps: Steps[T]) -> Steps[T]:
    """The same steps, ended where the store's folder is gone: nothing is written in its place."""
    while True:
        try:
            step = next(steps)
            if not holds_store(store.folder):
                # Not closed: that would save a state.
                steps.throw(
                    InputError(
                        f"{store.folder.name}: the folder of the case store is gone (moved, or its "
                        "drive is not connected); bring it back, then go on with --resume"
                    )
                )
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        try:
            yield step
        except GeneratorExit:
            steps.close()
            raise


def _told(steps: Steps[T], what: str) -> Steps[T]:
    """The same steps, each saying what they are for."""
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            yield replace(step, message=f"{what}: {step.message}")
    finally:
        steps.close()


def _main() -> int:
    return serve(lambda said: retrain(RetrainRequest.from_dict(said)), RetrainResult.to_dict)


if __name__ == "__main__":
    sys.exit(_main())
