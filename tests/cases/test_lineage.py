import pytest
from small_stores import corrected, new_store, predicted
from sqlalchemy import text

from napari_covseg.cases.records import NewModel
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, UsageError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store")


def _record(store: CaseStore, sha256: str, **more):
    settings = {
        "parent": None,
        "trained_on": {"case_0001": "d" * 64},
        "settings": {"epochs": 2},
        "seeds": {"torch": 0},
        "code_version": "0.1.0",
        "metrics": {"dice": {"ggo": 0.5}},
    }
    new = NewModel(sha256, f"model-{sha256[0]}", **{**settings, **more})
    return store.record_model(new, author="RA")


def test_a_model_keeps_what_it_takes_to_train_it_again(store):
    version = corrected(store, predicted(store))
    made = _record(store, A, parent=B, trained_on={"case_0001": version.sha256})
    (kept,) = CaseStore.open(store.folder).models()
    assert kept == made
    assert kept.trained_on == (("case_0001", version.sha256),)
    assert (kept.parent, kept.settings, kept.seeds) == (B, {"epochs": 2}, {"torch": 0})
    assert kept.metrics == {"dice": {"ggo": 0.5}}
    assert store.live_model() is None, "recording a model does not make it live"
    with pytest.raises(InputError, match="same weights"):
        _record(store, A)


def test_models_by_the_start_of_their_hash(store):
    _record(store, "ab" + A[2:])
    _record(store, "ac" + A[2:])
    assert store.model("AB").sha256.startswith("ab")
    for wrong, message in (("a", "2 models"), ("f", "no model"), ("", "2 models")):
        with pytest.raises(InputError, match=message):
            store.model(wrong)
    assert store.model_folder(B) == store.folder / "models" / B[:16]


def test_promotion_and_rollback(store):
    for sha256 in (A, B, C):
        _record(store, sha256)
    store.promote(A, by="gate", why="better by 0.02 (0.01 to 0.03)")
    done = store.promote(B, by="RA", why="I looked at all of them", forced=True)
    assert (done.model, done.by, done.forced, done.rollback) == (B, "RA", True, False)
    assert store.live_model().sha256 == B
    assert store.rollback(by="RA", why="false lesions at the diaphragm").model == A
    assert store.live_model().sha256 == A
    store.promote(C, by="gate", why="better")
    assert store.rollback(by="RA", why="again").model == A
    assert store.rollback(by="RA", why="back to the start").model is None
    assert store.live_model() is None
    with pytest.raises(InputError, match="nothing to roll back"):
        store.rollback(by="RA", why="more")
    told = [(one.model, one.rollback) for one in CaseStore.open(store.folder).promotions()]
    assert told == [(A, False), (B, False), (A, True), (C, False), (A, True), (None, True)]
    assert len(store.models()) == 3


def test_what_cannot_be_promoted(store):
    _record(store, A)
    with pytest.raises(InputError, match="no such model"):
        store.promote(B, by="RA", why="better")
    with pytest.raises(UsageError, match="say why"):
        store.promote(A, by="RA", why=" ")
    store.promote(A, by="RA", why="better")
    with pytest.raises(InputError, match="live already"):
        store.promote(A, by="RA", why="better")
    with pytest.raises(UsageError, match="say why"):
        store.rollback(by="RA", why="")
    assert store.live_model().sha256 == A


def test_trainings(store):
    number = store.start_run(by="RA", settings={"minutes": 5})
    assert store.runs()[0].finished is None
    store.finish_run(number, outcome="refused: worse in GGO", model=A)
    (run,) = store.runs()
    assert (run.number, run.by, run.outcome, run.model) == (1, "RA", "refused: worse in GGO", A)
    assert run.finished >= run.started
    with pytest.raises(InputError):
        store.finish_run(number, outcome="again")


def test_events(store):
    store.record_event("gate refused", actor="gate", detail={"dice": [0.5, 0.4]}, model=A)
    (event,) = store.events(kind="gate refused")
    assert (event.actor, event.model, event.detail) == ("gate", A, {"dice": [0.5, 0.4]})
    assert [one.kind for one in store.events()] == ["store created", "case added", "gate refused"]
    assert [one.kind for one in store.events(case="case_0001")] == ["case added"]


def test_history_cannot_be_rewritten(store):
    predicted(store)
    for statement in (
        "DELETE FROM events",
        "UPDATE events SET actor = 'me'",
        "DELETE FROM versions",
        "UPDATE versions SET author = 'me'",
    ):
        with (
            pytest.raises(InputError, match="never changed"),
            store._db.write() as session,
        ):
            session.execute(text(statement))
    with store._db.write() as session:
        session.execute(text("UPDATE versions SET set_aside = (1 = 1)"))
    assert store.history("case_0001")[0].set_aside
    assert len(store.events()) == 3
