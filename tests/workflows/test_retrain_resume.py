"""Going on with a retraining that was interrupted near its end, or whose plan is damaged."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_stores import SETTINGS, toy_store

from napari_covseg.cases.records import NewModel
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError
from napari_covseg.workflows.retrain import _ROLLED_BACK, _Retraining
from napari_covseg.workflows.retrain_plan import PLAN, find_or_make, run_folder
from napari_covseg.workflows.retrain_request import RetrainRequest

NEW = "ab" * 32


def request(store: CaseStore, **changes) -> RetrainRequest:
    return RetrainRequest(store.folder, author="RA", settings=SETTINGS, **changes)


def decide(store: CaseStore, plan, folder: Path) -> tuple[bool, list[str]]:
    """The last step of a retraining, as a resumed one takes it again."""
    ended = _Retraining.__new__(_Retraining)
    ended.store, ended.plan, ended.request = store, plan, plan.request
    ended.folder, ended.warnings = folder, []
    passed = SimpleNamespace(promote=True, reason="better")
    return ended._decide(SimpleNamespace(sha256=NEW), passed), ended.warnings


def test_what_was_rolled_back_meanwhile_is_not_promoted_again(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", 2)
    plan = find_or_make(store, request(store))
    store.record_model(NewModel(NEW, "new", code_version="1"), author="RA")
    # Promoted, then the power failed before the run was ended; somebody did not like the model.
    store.promote(NEW, by="RA", why="better")
    store.rollback(by="RB", why="worse to the eye")
    promoted, warnings = decide(store, plan, tmp_path / "gone")
    assert (promoted, warnings) == (False, [_ROLLED_BACK])
    assert store.live_model() is None
    assert store.runs()[-1].outcome == "passed, not promoted: better"


def test_a_model_rolled_back_long_ago_may_come_again(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", 2)
    store.record_model(NewModel(NEW, "new", code_version="1"), author="RA")
    store.promote(NEW, by="RA", why="better")
    store.rollback(by="RB", why="worse to the eye")
    plan = find_or_make(store, request(store))
    assert decide(store, plan, tmp_path / "gone") == (True, [])
    assert store.live_model().sha256 == NEW


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"run": 1}', b"\xff"])
def test_a_damaged_plan_is_said(tmp_path: Path, damage: bytes) -> None:
    store = toy_store(tmp_path / "store", 2)
    plan = find_or_make(store, request(store))
    path = run_folder(store, plan.run) / PLAN
    path.write_bytes(damage)
    with pytest.raises(InputError, match=r"plan\.json: the plan of retraining 1 is damaged"):
        find_or_make(store, request(store, resume=True))
    assert find_or_make(store, request(store, discard=True)).run == 2
