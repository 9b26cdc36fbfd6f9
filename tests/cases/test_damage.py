"""Tampered files, vanished and read-only folders, full disks, other versions: nothing is lost."""

import errno
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest
from small_stores import corrected, lungs, new_store, predicted, volume

from napari_covseg.cases import database, sqlite
from napari_covseg.cases.records import Kind, NewVersion, State
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, ResourceError


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store")


def _overwrite(file: Path, content: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(content)


def test_a_tampered_label_file_is_noticed_and_not_used(store):
    first = predicted(store)
    second = corrected(store, first)
    path = store.folder / "versions" / f"{second.sha256}.nii.gz"
    good = path.read_bytes()
    _overwrite(path, (store.folder / "versions" / f"{first.sha256}.nii.gz").read_bytes())
    for use in (
        lambda: store.labels(second.id),
        lambda: store.accept(second.id, reader="B"),
        lambda: store.edited_voxels(second.id),
    ):
        with pytest.raises(InputError, match=r"case_0001 version 2: .* was changed after"):
            use()
    (problem,) = store.verify()
    assert problem.file == f"versions/{second.sha256[:12]}..."
    assert "changed after it was saved: case_0001 version 2" in problem.message
    assert not problem.harmless
    assert store.case("case_0001").accepted is None
    assert store.labels(first.id).labels.any(), "the other version is untouched"
    built_on_it = corrected(store, second, size=5)
    assert (store.labels(built_on_it.id).labels == lungs(size=5)).all(), "work is never refused"
    assert (built_on_it.parent, built_on_it.edited_voxels) == (second.id, np.count_nonzero(lungs()))
    _overwrite(path, good)
    assert store.verify() == []


def test_saving_the_same_labels_again_heals_a_damaged_file(store):
    first = predicted(store)
    _overwrite(store.folder / "versions" / f"{first.sha256}.nii.gz", b"damaged")
    assert store.save_version(
        "case_0001", lungs(), NewVersion(author="B", kind=Kind.IMPORT)
    ).version
    assert store.verify() == []
    assert (store.labels(first.id).labels == lungs()).all()


def test_missing_files_are_told(store):
    version = corrected(store, predicted(store))
    store.accept(version.id, reader="B")
    (store.folder / "versions" / f"{version.sha256}.nii.gz").unlink()
    store.labels_path("case_0001").unlink()
    store.image_path("case_0001").unlink()
    with pytest.raises(InputError, match=r"case_0001 version 2: .* is missing"):
        store.labels(version.id)
    with pytest.raises(InputError, match="no such file"):
        store.image("case_0001")
    assert [p.file.split("/")[0] for p in store.verify()] == ["versions", "imagesTr", "labelsTr"]
    assert len(CaseStore.open(store.folder).history("case_0001")) == 2


def test_changed_images_and_accepted_labels_are_told(store):
    version = corrected(store, predicted(store))
    store.accept(version.id, reader="B")
    for path in (store.image_path("case_0001"), store.labels_path("case_0001")):
        path.write_bytes(path.read_bytes() + b"x")
    assert [p.message.split(" after")[0] for p in store.verify()] == [
        "changed",
        "missing or changed",
    ]
    store.accept(version.id, reader="B")
    assert [p.file for p in store.verify()] == ["imagesTr/case_0001_0000.nii.gz"]


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_loses_nothing(store, monkeypatch):
    first = predicted(store)
    before = sorted(p.name for p in store.folder.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr("napari_covseg.io.atomic.os.fsync", _full)
        with pytest.raises(ResourceError, match="store/versions: the disk is full"):
            corrected(store, first)
        with pytest.raises(ResourceError, match="store/imagesTr: the disk is full"):
            store.add_case(volume(9), author="RA")
    assert sorted(p.name for p in store.folder.rglob("*")) == before
    assert store.history("case_0001") == [first]
    assert corrected(store, first).number == 2
    assert store.verify() == []


def test_an_index_that_cannot_grow(store, monkeypatch):
    """SQLite's own limit of pages stands for a disk that is full when the row is written."""
    first = predicted(store)

    def connect(*arguments: object, **settings: object) -> sqlite3.Connection:
        made = real(*arguments, **settings)
        made.execute("PRAGMA max_page_count = 1").close()
        return made

    real = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite.sqlite3, "connect", connect)
        with pytest.raises(ResourceError, match="the disk is full; nothing was saved"):
            corrected(store, first, comment="long " * 5000)
    again = CaseStore.open(store.folder)
    assert again.history("case_0001") == [first]
    assert all(p.harmless for p in again.verify())


def test_accepting_on_a_full_disk_is_made_up_for(store, monkeypatch):
    version = corrected(store, predicted(store))
    with monkeypatch.context() as patch:
        patch.setattr("napari_covseg.io.atomic.os.fsync", _full)
        with pytest.raises(ResourceError, match="the decision is kept, but labelsTr"):
            store.accept(version.id, reader="B")
    assert not store.labels_path("case_0001").exists()
    again = CaseStore.open(store.folder)
    assert again.case("case_0001").state is State.ACCEPTED
    assert again.labels_path("case_0001").exists()
    assert again.verify() == []


def test_a_vanished_folder(store, tmp_path):
    first = predicted(store)
    shutil.rmtree(store.folder)
    for use in (
        lambda: corrected(store, first),
        lambda: store.cases(),
        lambda: store.next_case("A"),
        lambda: store.verify(),
        lambda: store.add_case(volume(3), author="A"),
        lambda: CaseStore.open(store.folder),
    ):
        with pytest.raises(InputError):
            use()
    assert not store.folder.exists(), "it does not come back half empty"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs another user")
def test_a_store_that_may_only_be_read():
    """As another user, because root may write anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = new_store(Path(folder) / "store")
        first = predicted(store)
        for path in [store.folder, *store.folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                again = CaseStore.open(store.folder)
                assert again.history("case_0001") == [first]
                assert again.labels(first.id).labels.any()
                assert again.verify() == []
                for use in (
                    lambda: corrected(again, first),
                    lambda: again.next_case("A"),
                    lambda: again.add_case(volume(3), author="A"),
                    lambda: again.flag("case_0001", reader="A", comment="x"),
                ):
                    with pytest.raises(
                        ResourceError, match=r"may not be written|cannot be written"
                    ):
                        use()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        for path in [store.folder, *store.folder.rglob("*")]:
            path.chmod(0o755)
        assert len(store.history("case_0001")) == 1


def _set_version(store: CaseStore, version: int) -> None:
    with sqlite3.connect(store.folder / "covseg.sqlite") as index:
        index.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(version),))


def test_a_store_of_a_newer_version_is_left_alone(store):
    _set_version(store, 99)
    before = (store.folder / "covseg.sqlite").read_bytes()
    with pytest.raises(InputError, match=r"made by a newer napari-covseg \(store version 99"):
        CaseStore.open(store.folder)
    assert (store.folder / "covseg.sqlite").read_bytes() == before


def test_an_older_store_is_migrated_or_refused(store, monkeypatch):
    _set_version(store, 0)
    with pytest.raises(InputError, match="too old"):
        CaseStore.open(store.folder)

    def fails(connection) -> None:
        connection.exec_driver_sql("UPDATE cases SET comment = 'half'")
        raise ResourceError("the disk is full")

    monkeypatch.setattr(database, "MIGRATIONS", {0: fails})
    with pytest.raises(ResourceError):
        CaseStore.open(store.folder)

    def works(connection) -> None:
        connection.exec_driver_sql("UPDATE cases SET comment = comment || 'migrated'")

    monkeypatch.setattr(database, "MIGRATIONS", {0: works})
    assert CaseStore.open(store.folder).case("case_0001").comment == "migrated"
    assert CaseStore.open(store.folder).case("case_0001").comment == "migrated", "once"


@pytest.mark.parametrize("content", [b"", b"not a database, by far" * 100])
def test_a_damaged_index(store, content):
    (store.folder / "covseg.sqlite").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        CaseStore.open(store.folder)


def test_a_locked_index_says_so(store, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    other = sqlite3.connect(store.folder / "covseg.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ResourceError, match="another program is writing"):
        predicted(store)
    assert store.history("case_0001") == [], "reading goes on"
    other.execute("ROLLBACK")
    other.close()
    assert predicted(store).number == 1


def test_the_journal_is_one_that_is_safe_on_network_shares(store):
    predicted(store)
    with store._db.read() as session:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        values = [session.connection().exec_driver_sql(f"PRAGMA {p}").scalar() for p in pragmas]
    assert values == ["delete", 3, 1]
    assert not list(store.folder.glob("*-wal"))
