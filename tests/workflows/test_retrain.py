import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from raw_datasets import lung_block, write_dataset
from toy_stores import SETTINGS, accept, add_patient, poisoned, toy_store, untrained

from napari_covseg.cases.gate import GateDecision, GateRule, Way
from napari_covseg.cases.held_out import Role, roles_of, trained_patients
from napari_covseg.cases.replayed import scan_of
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError, UsageError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io.read import read_volume
from napari_covseg.models.zoo import load
from napari_covseg.training.outcome import TrainingProgress
from napari_covseg.workflows import retrain as module
from napari_covseg.workflows import retrain_plan as plan_module
from napari_covseg.workflows.models import (
    add_model,
    compare_models,
    find_model,
    last_decision,
    promote_model,
)
from napari_covseg.workflows.retrain import retrain, start_retraining
from napari_covseg.workflows.retrain_plan import interrupted, run_folder
from napari_covseg.workflows.retrain_request import RetrainRequest, RetrainResult


def request(store: CaseStore, **changes) -> RetrainRequest:
    fields = {"author": "RA", "settings": SETTINGS, "device": "cpu"}
    return RetrainRequest(store.folder, **{**fields, **changes})


def with_base(store: CaseStore, folder: Path) -> str:
    """Make a model that knows nothing the live one."""
    base = add_model(store, str(untrained(folder)), author="RA")
    promote_model(store, base, by="RA", why="to start with")
    return base.sha256


def poison_training(store: CaseStore) -> None:
    roles = roles_of(store)
    for seed, case in enumerate(store.cases()):
        if roles[case.patient] is Role.TRAINING:
            accept(store, case.name, poisoned(seed))


@pytest.mark.slow
def test_from_better_to_worse_and_back(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", 6)
    base = with_base(store, tmp_path / "base")
    first = run_to_end(retrain(request(store)))
    _check_promoted(store, first, base)
    poison_training(store)
    worse = run_to_end(retrain(request(store, share=1.0)))
    assert not worse.promoted
    assert not worse.decision.promote
    assert worse.decision.reason.startswith("worse overall: mean Dice -")
    assert store.live_model().sha256 == first.model
    record = store.model(worse.model)
    assert record.parent == first.model
    assert last_decision(store, record) == worse.decision
    assert store.runs()[-1].outcome == f"refused: {worse.decision.reason}"
    forced = promote_model(store, record, by="RB", why="the reference is wrong")
    assert (forced.forced, forced.by, forced.why) == (True, "RB", "the reference is wrong")
    assert store.rollback(by="RB", why="it was not").model == first.model
    live = find_model(store, "live")
    steps = compare_models(store, live, record, author="RA", device="cpu")
    again = run_to_end(steps)
    assert not again.promote
    assert again.rows[0].difference == pytest.approx(worse.decision.rows[0].difference)
    other = run_to_end(compare_models(store, record, live, author="RA", device="cpu"))
    assert other.promote


def _check_promoted(store: CaseStore, first: RetrainResult, base: str) -> None:
    assert first.promoted, first.decision.reason
    assert first.decision.way is Way.HELD_OUT
    assert first.decision.patients == 2
    assert first.decision.rows[0].new > first.decision.rows[0].old + 0.2
    assert store.live_model().sha256 == first.model
    record = store.live_model()
    assert record.parent == base
    roles = roles_of(store)
    patient = {case.name: case.patient for case in store.cases()}
    assert {roles[patient[case]] for case, _ in record.trained_on} == {Role.TRAINING}
    hashes = {store.version(store.case(c).accepted).sha256 for c, _ in record.trained_on}
    assert {sha for _, sha in record.trained_on} == hashes
    measured = set(record.metrics["cases"])
    assert {roles[patient[case]] for case in measured} == {Role.HELD_OUT}
    assert record.settings["preset"]["epochs"] == 10
    assert record.seeds == {"training": 0, "roles": 0}
    assert len(record.metrics["validation_dice_by_share"]) == 4
    model = load(store.model_folder(first.model))
    assert model.sha256 == first.model
    assert model.card["licence"] == "none needed"
    assert model.tells_lesions_apart
    assert model.card["training"]["share_of_new_weights"] == first.share
    assert not set(model.card["training"]["left_out_patients"]) & {
        patient[case] for case, _ in record.trained_on
    }
    assert (store.model_folder(first.model) / "logs" / "epochs.csv").is_file()
    assert not run_folder(store, first.run).exists()
    assert RetrainResult.from_dict(json.loads(json.dumps(first.to_dict()))).model == first.model
    (promotion,) = [one for one in store.promotions() if one.model == first.model]
    assert (promotion.why, promotion.forced) == (first.decision.reason, False)


@pytest.mark.slow
def test_few_patients_are_left_out_in_turn(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", 3)
    with_base(store, tmp_path / "base")
    first = run_to_end(retrain(request(store)))
    assert first.decision.way is Way.FOLDS
    assert (first.decision.patients, first.training_cases) == (3, 3)
    assert first.share == 0.75
    record = store.model(first.model)
    assert {one["by"] for one in record.metrics["cases"].values()} == {"fold"}
    assert first.promoted, first.decision.reason
    again = run_to_end(retrain(request(store, seed=1)))
    assert again.decision.patients == 3, "the live model has figures by trainings without them"
    assert store.model(again.model).parent == record.parent, "the live model knows who measures"
    assert again.decision.rows[0].old == pytest.approx(first.decision.rows[0].new)
    add_patient(store, 3)
    add_patient(store, 4)
    with pytest.raises(InputError, match="is held out in the store, so it may not train"):
        run_to_end(retrain(request(store, replay=store.folder)))
    held_out = run_to_end(retrain(request(store, replay=_other(tmp_path))))
    assert held_out.decision.way is Way.HELD_OUT
    settings = store.model(held_out.model).settings
    assert settings["replayed_cases"] == 2
    images = sorted((tmp_path / "other" / "imagesTr").iterdir())
    told = sorted((scan_of(image) for image in images), key=lambda one: one["sha256"])
    assert settings["replayed_scans"] == told
    later = store.add_case(read_volume(images[0]), author="RA")
    assert later.patient in trained_patients(store, store.model(held_out.model))


def _other(folder: Path) -> Path:
    cases = {"a": lung_block((3, 20, 24), 2), "b": lung_block((3, 20, 24), 3)}
    return write_dataset(folder / "other", cases)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_killed_and_resumed(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", 5)
    base = with_base(store, tmp_path / "base")
    long = request(store, settings=(*SETTINGS, "epochs=100000"))
    handle = start_retraining(long)
    for step in handle.progress():
        if isinstance(step, TrainingProgress) and step.epoch > 2:
            handle.kill()
    with pytest.raises(CovsegError, match="was killed"):
        handle.result()
    again = CaseStore.open(store.folder)
    assert again.live_model().sha256 == base
    assert interrupted(again) == 1
    assert [one.sha256 for one in again.models()] == [base]
    with pytest.raises(UsageError, match="retraining 1 was interrupted; go on with it"):
        run_to_end(retrain(request(store)))
    steps = retrain(request(store, resume=True))
    resumed = next(step for step in steps if isinstance(step, TrainingProgress))
    assert resumed.epoch > 2
    with pytest.raises(UsageError, match="another retraining of this store is under way"):
        run_to_end(retrain(request(store)))
    steps.close()
    done = run_to_end(retrain(request(store, discard=True)))
    assert next(run.outcome.split(":")[0] for run in store.runs()) == "given up"
    assert done.run == 2
    assert interrupted(store) is None


@pytest.mark.slow
def test_what_fails_leaves_the_live_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = toy_store(tmp_path / "store", 5)
    base = with_base(store, tmp_path / "base")
    lenient = request(store, rule=GateRule(1.0, 1000.0, 1e6))

    def fail(*_: object, **__: object) -> None:
        raise CovsegError("killed here")

    monkeypatch.setattr(CaseStore, "promote", fail)
    with pytest.raises(CovsegError, match="killed here"):
        run_to_end(retrain(lenient))
    monkeypatch.undo()
    assert store.live_model().sha256 == base
    assert len(store.models()) == 2
    (event,) = store.events(kind=module.DECIDED)
    other = GateDecision.from_dict(
        {**event.detail["decision"], "promote": False, "reason": "other"}
    )
    monkeypatch.setattr(module, "judge", lambda *_: other)
    done = run_to_end(retrain(request(store, resume=True)))
    assert done.promoted
    assert done.decision.to_dict() == event.detail["decision"], "what is told is what was kept"
    assert (len(store.models()), len(store.events(kind=module.DECIDED))) == (2, 1)
    assert done.model == store.models()[-1].sha256


def test_a_full_disk_is_told_and_can_be_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = toy_store(tmp_path / "store", 2)
    base = with_base(store, tmp_path / "base")

    class FullDisk:
        OperationalError = sqlite3.OperationalError

        def connect(self, *_: object, **__: object) -> "FullDisk":
            return self

        def execute(self, command: str) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        def close(self) -> None:
            pass

    monkeypatch.setattr(plan_module, "sqlite3", FullDisk())
    with pytest.raises(ResourceError, match=r"^store: the disk is full; nothing was changed$"):
        run_to_end(retrain(request(store)))
    monkeypatch.undo()
    shutil.rmtree(store.folder / "retraining")
    (store.folder / "retraining").write_text("in the way")
    with pytest.raises(ResourceError, match=r"^store: may not be written to \(File exists\)$"):
        run_to_end(retrain(request(store)))
    (store.folder / "retraining").unlink()
    assert store.runs() == []

    def told(reason: str) -> str:
        def fail(*_: object) -> None:
            raise ResourceError(reason)

        monkeypatch.setattr(module._Retraining, "to_end", fail)
        with pytest.raises(ResourceError) as error:
            run_to_end(retrain(request(store, discard=True)))
        return str(error.value)

    assert told("training.state: the disk is full; nothing was written") == (
        "training.state: the disk is full; nothing was written. The live model is as it was; when "
        "that is mended, go on with --resume"
    )
    memory = "the memory is too small; lower it: --set batch=1"
    assert told(memory) == memory
    assert store.live_model().sha256 == base
    assert interrupted(store) == 2


def test_a_folder_that_vanishes_meanwhile_is_not_made_again(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", 5)
    base = with_base(store, tmp_path / "base")
    steps = retrain(request(store))
    next(step for step in steps if isinstance(step, TrainingProgress))
    store.folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"^store: the folder of the case store is gone"):
        next(steps)
    assert not store.folder.exists()
    (tmp_path / "moved").rename(store.folder)
    assert interrupted(store) == 1
    assert store.live_model().sha256 == base
    done = run_to_end(retrain(request(store, resume=True)))
    assert (done.run, store.runs()[0].model) == (1, done.model)


def test_what_cannot_be_retrained(tmp_path: Path) -> None:
    store = CaseStore.create(tmp_path / "store", author="RA")
    with pytest.raises(InputError, match="no case is accepted yet"):
        run_to_end(retrain(request(store)))
    with pytest.raises(UsageError, match="no interrupted retraining"):
        run_to_end(retrain(request(store, resume=True)))
    for wrong in ({"share": 0.0}, {"start": "any"}, {"replay_share": 1.0}):
        with pytest.raises(UsageError):
            request(store, **wrong)
    add_patient(store, 0)
    with_base(store, tmp_path / "base")
    frozen = store.version(store.case("case_0001").accepted)
    file = store.folder / "versions" / f"{frozen.sha256}.nii.gz"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError):
        run_to_end(retrain(request(store)))
    assert store.runs()[0].outcome.startswith("failed: ")
    assert not run_folder(store, 1).exists()


def test_a_request_crosses_processes(tmp_path: Path) -> None:
    one = RetrainRequest(tmp_path, "RA", replay=tmp_path, rule=GateRule(0.1), share=0.5)
    assert RetrainRequest.from_dict(json.loads(json.dumps(one.to_dict()))) == one
