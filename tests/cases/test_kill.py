"""Killed at any moment, the store opens again and has all that a caller was told is kept."""

import random

import pytest
from kill_actions import annotate
from killed import check_store, killing_context, until_killed
from small_stores import new_store

from napari_covseg.cases.store import CaseStore

ROUNDS = 20


@pytest.mark.slow
def test_kill_9_in_a_loop(tmp_path):
    """While one case is corrected and accepted, and others are added, in turn."""
    store = new_store(tmp_path / "store")
    rng, context, told = random.Random(0), killing_context(), []
    for seed in range(ROUNDS):
        told += until_killed(context, annotate, store.folder, tmp_path, seed, rng)
        check_store(store.folder, told)
    assert len({what for kind, what in told if kind == "version"}) >= ROUNDS
    for one in CaseStore.open(store.folder).history("case_0001"):
        store.labels(one.id)


def test_a_save_cut_off_before_its_row_is_completed(tmp_path, monkeypatch):
    from small_stores import lungs, predicted

    from napari_covseg.cases import versions
    from napari_covseg.cases.records import Kind, NewVersion

    store = new_store(tmp_path / "store")
    first = predicted(store)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    def save() -> None:
        store.save_version(
            "case_0001",
            lungs(size=5),
            NewVersion(
                author="A", kind=Kind.CORRECTION, parent=first.id, reviewed=[1, 2], minutes=4.0
            ),
        )

    with monkeypatch.context() as patch:
        patch.setattr(versions, "insert", die)
        with pytest.raises(Killed):
            save()
    assert [p.harmless for p in store.verify()] == [True, True]
    assert len(store.history("case_0001")) == 1
    for name, content in (("0" * 32, "{}"), ("1" * 32, "damaged")):
        (store.folder / "versions" / f"pending-{name}.json").write_text(content)
    again = CaseStore.open(store.folder)
    found = again.history("case_0001")[1]
    assert (found.author, found.kind, found.parent) == ("A", Kind.CORRECTION, first.id)
    assert (found.reviewed, found.minutes, found.edited_voxels) == ({1, 2}, 4.0, 12)
    assert (again.labels(found.id).labels == lungs(size=5)).all()
    assert [p.file for p in again.verify()] == ["versions/pending-000000000000..."]
    assert [e.version for e in again.events(kind="recovered")] == [found.id]
    assert len(CaseStore.open(store.folder).history("case_0001")) == 2


def test_accepted_but_killed_before_it_was_written(tmp_path, monkeypatch):
    from small_stores import corrected, predicted

    store = new_store(tmp_path / "store")
    version = corrected(store, predicted(store))
    with monkeypatch.context() as patch:
        patch.setattr(CaseStore, "_refresh", lambda self: None)
        store.accept(version.id, reader="B")
    assert not store.labels_path("case_0001").exists()
    assert "not up to date" in store.verify()[0].message
    again = CaseStore.open(store.folder)
    assert again.labels_path("case_0001").exists()
    assert again.verify() == []
