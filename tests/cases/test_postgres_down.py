"""A server that goes away in the middle and comes back: one line, and nothing is lost."""

from threading import Thread
from time import sleep

import pytest
from postgres_server import Server
from small_stores import corrected, lungs, predicted, volume

from napari_covseg.cases import postgres, versions
from napari_covseg.cases.index_errors import ConnectionLost, Undecided
from napari_covseg.cases.records import Kind, NewVersion
from napari_covseg.cases.store import CaseStore

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed (the extra postgres)")


@pytest.fixture
def store(own_postgres: Server, tmp_path) -> CaseStore:
    made = CaseStore.create(
        tmp_path / "store", author="RA", index=own_postgres.url(), schema=own_postgres.schema()
    )
    made.add_case(volume(), author="RA")
    return made


def _notes(store: CaseStore) -> list[str]:
    return [one.name for one in (store.folder / "versions").glob("pending-*")]


def test_a_server_that_is_down_is_told_in_one_line(store, own_postgres, monkeypatch):
    monkeypatch.setattr(postgres, "RETRY_SECONDS", 0.5)
    first = predicted(store)
    own_postgres.stop()
    files = sorted(one.name for one in store.folder.rglob("*"))
    try:
        for use in (
            lambda: CaseStore.open(store.folder),
            lambda: store.cases(),
            lambda: corrected(store, first),
            lambda: store.next_case("A"),
            lambda: store.add_case(volume(3), author="A"),
        ):
            with pytest.raises(ConnectionLost, match="does not answer") as caught:
                use()
            assert "\n" not in str(caught.value)
        assert sorted(one.name for one in store.folder.rglob("*")) == files
    finally:
        own_postgres.start()
    assert store.history("case_0001") == [first]
    assert corrected(store, first).number == 2
    assert store.verify() == []


def test_a_server_that_is_started_anew_is_waited_for(store, own_postgres, monkeypatch):
    monkeypatch.setattr(postgres, "RETRY_SECONDS", 60)
    first = predicted(store)
    own_postgres.stop()
    starting = Thread(target=lambda: (sleep(0.5), own_postgres.start()))
    starting.start()
    try:
        assert corrected(store, first).number == 2
    finally:
        starting.join()


def test_started_anew_in_the_middle_of_a_save(store, own_postgres, monkeypatch):
    """The save is made once more, and is there once."""
    monkeypatch.setattr(postgres, "RETRY_SECONDS", 60)
    first, real, broken = predicted(store), versions.insert, []

    def insert(*arguments):
        saved = real(*arguments)
        if not broken:
            own_postgres.stop()
            own_postgres.start()
            broken.append(saved)
        return saved

    with monkeypatch.context() as patch:
        patch.setattr(versions, "insert", insert)
        second = corrected(store, first)
    assert broken
    assert [one.id for one in store.history("case_0001")] == [first.id, second.id]
    assert _notes(store) == []
    assert [one.kind for one in store.events(case="case_0001")].count("correction") == 1


@pytest.mark.parametrize("kept", [True, False])
def test_the_end_of_a_change_is_asked_for(store, monkeypatch, kept):
    """The connection breaks just before or just after the change was kept."""
    first, real, broken = predicted(store), psycopg.Connection.commit, []

    def commit(self) -> None:
        if broken or self.info.transaction_status.name != "INTRANS":
            return real(self)
        broken.append(True)
        if kept:
            real(self)
        self.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "commit", commit)
        if kept:
            store.flag("case_0001", reader="A", comment="motion")
        else:
            with pytest.raises(ConnectionLost, match="nothing was saved"):
                store.flag("case_0001", reader="A", comment="motion")
        assert broken
    assert [one.comment for one in store.reviews("case_0001")] == (["motion"] if kept else [])
    assert corrected(store, first).number == 2


def test_a_save_of_which_nothing_was_heard_any_more(store, own_postgres, monkeypatch):
    """The labels wait in the folder; the same work saved again makes no second version."""
    monkeypatch.setattr(postgres, "RETRY_SECONDS", 0.5)
    first, real = predicted(store), psycopg.Connection.commit

    def commit(self) -> None:
        if self.info.transaction_status.name != "INTRANS":
            return real(self)
        own_postgres.stop()
        return real(self)

    def save():
        return store.save_version(
            "case_0001",
            lungs(size=5),
            NewVersion(author="A", kind=Kind.CORRECTION, parent=first.id, reviewed=[1]),
        ).version

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "commit", commit)
        with pytest.raises(Undecided, match="your labels are in the store's folder"):
            save()
    assert len(_notes(store)) == 1
    own_postgres.start()
    again = CaseStore.open(store.folder)
    found = again.history("case_0001")
    assert [one.number for one in found] == [1, 2]
    assert _notes(store) == []
    assert save().id == found[1].id
    assert len(again.history("case_0001")) == 2
    assert again.verify() == []


def test_a_scan_of_which_nothing_was_heard_any_more(store, own_postgres, monkeypatch):
    """It was kept, so its image must be there."""
    monkeypatch.setattr(postgres, "RETRY_SECONDS", 0.5)
    real = psycopg.Connection.commit

    def commit(self) -> None:
        if self.info.transaction_status.name != "INTRANS":
            return real(self)
        real(self)
        own_postgres.stop()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "commit", commit)
        with pytest.raises(Undecided):
            store.add_case(volume(5), author="A")
    own_postgres.start()
    again = CaseStore.open(store.folder)
    assert [one.name for one in again.cases()] == ["case_0001", "case_0002"]
    assert again.verify() == []
