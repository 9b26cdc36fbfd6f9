"""An index moves to a server and back: everything is there, whenever it is stopped."""

import sqlite3
from hashlib import sha256
from threading import Thread
from time import sleep

import pytest
from postgres_server import Server
from small_stores import MODEL, corrected, lungs, new_store, predicted, volume

from napari_covseg.cases import moving, sqlite
from napari_covseg.cases.moving import move_index
from napari_covseg.cases.records import Difficulty, Kind, NewModel, NewVersion, Score
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, ResourceError, UsageError

WEIGHTS = b"weights"


class Killed(BaseException):
    pass


@pytest.fixture
def store(tmp_path) -> CaseStore:
    """With something in every table."""
    made = new_store(tmp_path / "store", cases=3)
    drawn = corrected(made, predicted(made))
    corrected(made, made.history("case_0001")[0], author="B", size=5)
    made.accept(
        drawn.id,
        reader="B",
        instead_of=[one.id for one in made.branches(drawn.id)],
        comment="'fine' \\ 肺",
        difficulty=Difficulty.HARD,
    )
    made.claim("case_0002", "RA")
    made.record_scores([Score("case_0003", MODEL, 0.25, 4, (1.0, 2.5), {"ml": [1, None]})])
    model = sha256(WEIGHTS).hexdigest()
    home = made.model_folder(model)
    home.mkdir()
    (home / "first.safetensors").write_bytes(WEIGHTS)
    (home / "first.json").write_text("{}")
    made.record_model(
        NewModel(
            model,
            "first",
            trained_on={"case_0001": drawn.sha256},
            settings={"epochs": 2},
            seeds={"torch": 0},
            code_version="0.1",
            metrics={"dice": float("nan")},
        ),
        author="RA",
    )
    made.promote(model, by="RA", why="better")
    made.finish_run(made.start_run(by="RA", settings={"a": 1}), outcome="done")
    return made


def _all(store: CaseStore) -> list[object]:
    told = [vars(one) | {"geometry": one.geometry.affine.tolist()} for one in store.cases()]
    about = (store.histories(), store.acceptances(), store.scores(MODEL), store.models())
    events = [one for one in store.events() if one.kind != "index moved"]
    more = (store.promotions(), store.runs(), store.reviews("case_0001"), events)
    return [repr(one) for one in (told, *about, *more)]


def test_there_and_back(store, postgres: Server):
    before, schema = _all(store), postgres.schema()
    moved = move_index(store.folder, postgres.url(), schema=schema, author="RA")
    assert moved.before.endswith(".sqlite.moved")
    assert (store.folder / moved.before).is_file()
    assert not (store.folder / "covseg.sqlite").exists()
    assert _all(store) == before, "also for who had opened the store before"
    assert store.verify() == []
    assert store.add_case(volume(9), author="RA", patient="P").name == "case_0004"
    newest = store.case("case_0001").newest
    corrected(store, store.version(newest), author="RA", size=1)
    assert [one.detail["to"] for one in store.events(kind="index moved")]
    between = _all(store)
    back = move_index(store.folder, "sqlite", author="RA")
    assert back.before.startswith(f"schema {schema} of PostgreSQL")
    assert not (store.folder / "covseg-index.json").exists()
    assert _all(CaseStore.open(store.folder)) == between
    assert store.verify() == []
    assert store.add_case(volume(10), author="RA").name == "case_0005"
    with pytest.raises(UsageError, match="holds an index already"):
        move_index(store.folder, postgres.url(), schema=schema, author="RA")
    with pytest.raises(UsageError, match="in the store's folder already"):
        move_index(store.folder, "sqlite", author="RA")
    with sqlite3.connect(store.folder / "covseg.sqlite") as index:
        assert index.execute("SELECT value FROM meta WHERE key = 'store'").fetchall() == []


@pytest.mark.parametrize("where", ["_copy", "_tell", "keep_place", "_put_away"])
def test_stopped_on_the_way_to_a_server(store, postgres, monkeypatch, where):
    before, schema = _all(store), postgres.schema()
    _killed_in(monkeypatch, where, store, postgres.url(), schema)
    assert _all(CaseStore.open(store.folder)) == before
    kept = corrected(store, store.history("case_0001")[0], author="C", size=6)
    if where != "_put_away":
        move_index(store.folder, postgres.url(), schema=schema, author="RA")
    assert (store.folder / "covseg-index.json").is_file()
    assert kept in CaseStore.open(store.folder).history("case_0001")
    assert store.verify() == []
    assert postgres.sql(f"SELECT value FROM {schema}.meta WHERE key = 'schema'") == [("1",)]


@pytest.mark.parametrize("where", ["_copy", "_tell", "forget_place"])
def test_stopped_on_the_way_back(store, postgres, monkeypatch, where):
    move_index(store.folder, postgres.url(), schema=postgres.schema(), author="RA")
    before = _all(store)
    _killed_in(monkeypatch, where, store, "sqlite", None)
    assert _all(CaseStore.open(store.folder)) == before
    kept = corrected(store, store.history("case_0001")[0], author="C", size=6)
    move_index(store.folder, "sqlite", author="RA")
    assert not (store.folder / "covseg-index.json").exists()
    assert kept in CaseStore.open(store.folder).history("case_0001")
    assert store.verify() == []


def _killed_in(monkeypatch, where, store, to, schema) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(moving, where, die)
        with pytest.raises(Killed):
            move_index(store.folder, to, schema=schema, author="RA")


def test_refused_while_others_hold_it(store, postgres, monkeypatch):
    place = {"schema": postgres.schema(), "author": "RA"}
    store.claim("case_0003", "B")
    with pytest.raises(InputError, match=r"B has case_0003 in work until \d\d:\d\d UTC"):
        move_index(store.folder, postgres.url(), **place)
    store.release("case_0003", "B")
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    other = sqlite3.connect(store.folder / "covseg.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ResourceError, match="another program is writing"):
        move_index(store.folder, postgres.url(), **place)
    other.execute("ROLLBACK")
    other.close()
    move_index(store.folder, postgres.url(), **place)
    store.claim("case_0003", "B")
    with pytest.raises(InputError, match="B has case_0003 in work"):
        move_index(store.folder, "sqlite", author="RA")


@pytest.mark.parametrize("back", [False, True])
def test_who_waits_for_the_lock_writes_to_the_new_index(store, postgres, monkeypatch, back):
    place = {"schema": postgres.schema(), "author": "RA"}
    if back:
        move_index(store.folder, postgres.url(), **place)
    real, saved = moving._copy, []

    def save() -> None:
        labels, parent = lungs(size=6), store.history("case_0001")[0].id
        kind, more = Kind.CORRECTION, {"parent": parent, "reviewed": [0]}
        saved.append(
            store.save_version("case_0001", labels, NewVersion(author="C", kind=kind, **more))
        )

    writer = Thread(target=save)

    def copy(*arguments):
        count = real(*arguments)
        writer.start()
        sleep(1.0)
        assert saved == []
        return count

    monkeypatch.setattr(moving, "_copy", copy)
    move_index(
        store.folder, "sqlite" if back else postgres.url(), **({"author": "RA"} if back else place)
    )
    writer.join()
    assert saved[0].version in store.history("case_0001")
    assert (store.folder / "covseg-index.json").exists() is not back


def test_a_copy_that_differs_is_not_used(store, postgres, monkeypatch):
    real, calls = moving._rows, []

    def rows(session, table):
        calls.append(table.name)
        for row in real(session, table):
            if calls.count(table.name) == 2 and table.name == "versions":
                row["minutes"] += 1e-9
            yield row

    monkeypatch.setattr(moving, "_rows", rows)
    with pytest.raises(ResourceError, match=r"not what the old one holds \(versions\)"):
        move_index(store.folder, postgres.url(), schema=postgres.schema(), author="RA")
    assert len(store.history("case_0001")) == 3
    assert not (store.folder / "covseg-index.json").exists()
