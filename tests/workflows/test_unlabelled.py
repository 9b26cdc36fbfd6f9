from pathlib import Path

import pytest
from raw_datasets import lung_block, write_dataset
from toy_stores import SETTINGS, accept, add_patient, add_unlabelled, toy_store, truth, untrained

from napari_covseg.cases.held_out import Role, divide, roles_of
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.models.zoo import load
from napari_covseg.workflows import unlabelled
from napari_covseg.workflows.models import about_model, add_model, promote_model
from napari_covseg.workflows.retrain import retrain
from napari_covseg.workflows.retrain_plan import Plan, find_or_make
from napari_covseg.workflows.retrain_request import RetrainRequest
from napari_covseg.workflows.unlabelled import set_aside, unlabelled_cases


def chosen(store: CaseStore, seed: int = 0) -> tuple[str, ...]:
    return unlabelled_cases(store, divide(store, author="RA"), seed)


def test_about_half_of_the_patients_are_set_aside_for_ever() -> None:
    aside = [set_aside(f"patient_{n:04d}") for n in range(1, 401)]
    assert 170 < sum(aside) < 230
    assert [set_aside(f"patient_{n:04d}") for n in range(1, 401)] == aside


def test_those_that_nobody_has_worked_on(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", 2)
    names = [add_unlabelled(store, seed) for seed in range(10, 22)]
    free = {name for name in names if not set_aside(store.case(name).patient)}
    assert 2 < len(free) < 11
    assert set(chosen(store)) == free
    flagged, begun, accepted = sorted(free)[:3]
    store.flag(flagged, reader="RA", comment="motion")
    store.claim(begun, author="RB")
    accept(store, accepted, truth(3))
    assert set(chosen(store)) == free - {flagged, begun, accepted}


def test_nobody_who_measures_is_among_them(tmp_path: Path) -> None:
    store = CaseStore.create(tmp_path / "store", author="RA")
    for number in range(6):
        accept(store, add_unlabelled(store, number, f"P{number}"), truth(number))
    others = {add_unlabelled(store, 20 + number, f"P{number}") for number in range(6)}
    found = chosen(store)
    roles = roles_of(store)
    trains = {case.name for case in store.cases() if roles[case.patient] is Role.TRAINING}
    assert set(found) == others & trains
    assert len(found) == 3


def test_patients_left_out_in_turn_are_not(tmp_path: Path) -> None:
    store = CaseStore.create(tmp_path / "store", author="RA")
    for number in range(3):
        accept(store, add_unlabelled(store, number, f"P{number}"), truth(number))
        add_unlabelled(store, 20 + number, f"P{number}")
    assert chosen(store) == ()


def test_of_many_some_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = toy_store(tmp_path / "store", 2)
    for seed in range(10, 22):
        add_unlabelled(store, seed)
    every = chosen(store)
    monkeypatch.setattr(unlabelled, "MOST", 2)
    draws = {chosen(store, seed) for seed in range(6)}
    assert chosen(store, 0) == chosen(store, 0)
    assert all(len(one) == 2 and set(one) < set(every) for one in draws)
    assert len(draws) > 1


def plan_of(store: CaseStore, **changes) -> Plan:
    request = RetrainRequest(
        store.folder, "RA", settings=SETTINGS, device="cpu", discard=True, **changes
    )
    return find_or_make(store, request)


def some(folder: Path) -> tuple[CaseStore, str]:
    """Two labelled patients, some that are not, and a model of it that is live."""
    store = toy_store(folder / "store", 2)
    for seed in range(10, 16):
        add_unlabelled(store, seed)
    base = add_model(store, str(untrained(folder / "base")), author="RA")
    promote_model(store, base, by="RA", why="to start with")
    return store, base.sha256


def test_the_plan_says_how_often_each_is_drawn(tmp_path: Path) -> None:
    store, _ = some(tmp_path)
    plan = plan_of(store)
    assert plan.unlabelled == chosen(store)
    assert plan.distillation == 1.0
    assert plan.preset.dataset_weights == {"store": 0.75, "unlabelled": 0.25}
    assert Plan.from_dict(plan.to_dict()) == plan
    none = plan_of(store, distillation=0.0)
    assert (none.unlabelled, none.distillation) == ((), 0.0)
    assert none.preset.dataset_weights == {}
    other = write_dataset(tmp_path / "other", {"a": lung_block()})
    more = plan_of(store, distillation_share=0.4, replay=other, replay_share=0.5)
    assert more.preset.dataset_weights == pytest.approx(
        {"store": 0.3, "replay_1": 0.3, "unlabelled": 0.4}
    )


@pytest.mark.slow
def test_retrained_with_them(tmp_path: Path) -> None:
    store, base = some(tmp_path)
    short = (*SETTINGS, "epochs=2")
    request = RetrainRequest(store.folder, "RA", settings=short, device="cpu", distillation=0.5)
    done = run_to_end(retrain(request))
    used = chosen(store)
    assert (done.training_cases, done.unlabelled_cases) == (2, len(used))
    record = store.model(done.model)
    assert record.parent == base
    assert about_model(store, record)["settings"]["unlabelled_cases"] == list(used)
    assert record.settings["distillation"] == 0.5
    assert not set(used) & {case for case, _ in record.trained_on}
    card = load(store.model_folder(done.model)).card["training"]
    assert (card["unlabelled_cases"], card["distillation"]) == (list(used), 0.5)
    for name in used:
        accept(store, name, truth(1))
    for seed in range(30, 33 - len(used) + 1):
        add_patient(store, seed)
    promote_model(store, record, by="RA", why="to see who measures it")
    taught = {store.case(name).patient for name in used}
    division = divide(store, author="RA")
    assert len(division.measured) == 2
    assert not division.measured_patients & taught


def test_what_cannot_be(tmp_path: Path) -> None:
    for wrong in (
        {"distillation": -1.0},
        {"distillation": float("nan")},
        {"distillation_share": 0.0},
        {"distillation_share": 1.0},
    ):
        with pytest.raises(UsageError, match="distillation"):
            RetrainRequest(tmp_path, "RA", **wrong)


def test_a_damaged_scan_is_left_out_and_told(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", 2)
    for seed in range(10, 16):
        add_unlabelled(store, seed)
    damaged, *sound = chosen(store)
    store.image_path(damaged).write_bytes(b"not a scan")
    plan = find_or_make(store, RetrainRequest(store.folder, author="RA", settings=SETTINGS))
    assert (plan.unlabelled, plan.unreadable) == (tuple(sound), (damaged,))
    assert Plan.from_dict(plan.to_dict()).unreadable == (damaged,)
