"""Clocks are set back, and time zones change: what came later stays later."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from small_stores import corrected, lungs, new_store, predicted

from napari_covseg.cases import clock
from napari_covseg.cases.records import CaseTaken, Kind, NewModel
from napari_covseg.cases.store import CaseStore


class _Clock(datetime):
    """Runs backwards: each time it is asked it says a day less."""

    moment = datetime(2026, 3, 29, 3, 0, tzinfo=UTC)

    @classmethod
    def now(cls, tz=None):
        cls.moment -= timedelta(days=1)
        return cls.moment


@pytest.fixture
def backwards(monkeypatch):
    monkeypatch.setattr(_Clock, "moment", datetime(2026, 3, 29, 3, 0, tzinfo=UTC))
    monkeypatch.setattr(clock, "datetime", _Clock)


def _record(store, letter):
    return store.record_model(NewModel(letter * 64, letter, code_version="1"), author="A")


def test_versions_models_and_events_keep_their_order(tmp_path, backwards):
    store = new_store(tmp_path / "store")
    version = predicted(store)
    for size in (3, 4, 5):
        version = corrected(store, version, size=size)
    store.accept(version.id, reader="B")
    for letter in "fadc":
        _record(store, letter)
        store.promote(letter * 64, by="A", why="newer")
    store.rollback(by="A", why="worse")
    again = CaseStore.open(store.folder)
    history = again.history("case_0001")
    assert [one.number for one in history] == [1, 2, 3, 4]
    assert [one.created for one in history] == sorted((v.created for v in history), reverse=True)
    assert again.case("case_0001").newest == history[-1].id == version.id
    assert (again.labels(version.id).labels == lungs(size=5)).all()
    assert [one.name for one in again.models()] == ["f", "a", "d", "c"]
    assert again.live_model().name == "d"
    assert [one.number for one in again.events()] == sorted(one.number for one in again.events())
    assert [one.model[0] for one in again.promotions()] == ["f", "a", "d", "c", "d"]
    assert {one.file.split("/")[0] for one in again.verify()} == {"models"}, "they have no files"


def test_cases_are_accepted_in_the_order_of_the_decisions(tmp_path, backwards):
    from napari_covseg.cases.effort import effort_of
    from napari_covseg.domain.progress import run_to_end

    store = new_store(tmp_path / "store", cases=3)
    for case in ("case_0002", "case_0003", "case_0001"):
        store.accept(corrected(store, predicted(store, case)).id, reader="B")
    assert list(store.acceptances()) == ["case_0002", "case_0003", "case_0001"]
    found = run_to_end(effort_of(store))
    assert [one.case for one in found.cases] == ["case_0002", "case_0003", "case_0001"]
    store.accept(store.case("case_0002").accepted, reader="C")
    assert list(store.acceptances()) == ["case_0003", "case_0001", "case_0002"]


def test_a_recovered_save_comes_after_what_was_there(tmp_path, backwards, monkeypatch):
    from napari_covseg.cases import versions

    store = new_store(tmp_path / "store")
    first = predicted(store)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions, "insert", die)
        with pytest.raises(KeyboardInterrupt):
            corrected(store, first)
    history = CaseStore.open(store.folder).history("case_0001")
    assert [one.kind for one in history] == [Kind.PREDICTION, Kind.CORRECTION]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="no time zones to change here")
def test_another_time_zone_changes_nothing(tmp_path, monkeypatch):
    store = new_store(tmp_path / "store")
    version = predicted(store)
    found = {}
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        again = CaseStore.open(store.folder)
        version = corrected(again, version, size=3 + len(found) % 3)
        found[zone] = again.version(version.id).created
    monkeypatch.undo()
    time.tzset()
    apart = max(found.values()) - min(found.values())
    assert apart < timedelta(minutes=10)
    assert all(moment.utcoffset() == timedelta(0) for moment in found.values())
    assert [one.number for one in CaseStore.open(store.folder).history("case_0001")] == [1, 2, 3, 4]


def test_a_claim_of_a_clock_that_is_years_ahead_locks_no_case(tmp_path, monkeypatch):
    """One that is ahead by a time zone is believed, and later ones count again."""
    store = new_store(tmp_path / "store", cases=2)
    ahead = timedelta(0)

    class Wrong(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + ahead

    monkeypatch.setattr(clock, "datetime", Wrong)
    ahead = timedelta(days=3650)
    store.claim("case_0001", "A")
    assert store.case("case_0001").claimed_by == "A"
    ahead = timedelta(hours=14)
    store.claim("case_0002", "A")
    ahead = timedelta(0)
    assert [store.case(f"case_000{n}").claimed_by for n in (1, 2)] == ["", "A"]
    with pytest.raises(CaseTaken):
        store.claim("case_0002", "B")
    store.claim("case_0001", "B")
    claimed = store.case("case_0001")
    assert claimed.claimed_by == "B"
    assert claimed.claimed_until - datetime.now(UTC) < timedelta(minutes=121)
    with pytest.raises(CaseTaken, match="B has it in work"):
        store.claim("case_0001", "A")
