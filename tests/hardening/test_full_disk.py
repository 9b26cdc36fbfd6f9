"""A disk that fills up, or may only be read: one line, no half file, and nothing lost.

On a real file system of two megabytes, where the tests may mount one (as root on Linux).
"""

from functools import partial

import numpy as np
import pytest
from kill_actions import model_in
from label_phantom import label_map, series
from small_disks import files_of, fill, mount, small_disk
from small_stores import corrected, lungs, new_store, predicted, volume

from napari_covseg.cases.records import Kind, NewVersion, State
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import ResourceError
from napari_covseg.io import read_labels, write_labels, write_volume
from napari_covseg.io.atomic import write_json
from napari_covseg.models.zoo import load

LEFT = (0, 4096, 12_288, 40_960, 90_112)
"""Bytes that are free when it is tried; tmpfs gives pages of 4096."""


@pytest.fixture
def disk(tmp_path):
    """A folder that holds two megabytes."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def test_saving_and_accepting(disk):
    store = new_store(disk / "store")
    first = predicted(store)
    failures: list[str] = []
    for number, leave in enumerate(LEFT):
        before = store.history("case_0001")
        filler = fill(disk, leave)
        labels = lungs(size=1 + number)
        labels[5, 9] = np.arange(12) % 3 + number % 2
        saved = None
        try:
            saved = store.save_version(
                "case_0001",
                labels,
                NewVersion(
                    author="A", kind=Kind.CORRECTION, parent=before[-1].id, reviewed=[0, number]
                ),
            )
            store.accept(saved.version.id, reader="B", whole=True)
        except ResourceError as error:
            failures.append(str(error))
        filler.unlink()
        store = CaseStore.open(store.folder)
        assert [p for p in store.verify() if not p.harmless] == []
        history = store.history("case_0001")
        assert history[: len(before)] == before
        assert (saved is not None) == (len(history) == len(before) + 1)
        if saved is not None:
            assert (store.labels(saved.version.id).labels == labels).all()
    assert 0 < len(failures) < len(LEFT), "some must fail and some not, or nothing was tried"
    assert not any("\n" in line for line in failures)
    assert store.history("case_0001")[0] == first


def test_importing(disk):
    store = new_store(disk / "store")
    for number, leave in enumerate((0, 2000, 6000)):
        filler = fill(disk, leave)
        before = files_of(store.folder / "imagesTr")
        with pytest.raises(ResourceError, match=r"full|No space left"):
            store.add_case(volume(number + 5, (6, 60, 70)), author="A")
        filler.unlink()
        assert files_of(store.folder / "imagesTr") == before
        assert len(CaseStore.open(store.folder).cases()) == 1
        assert store.verify() == []
    assert store.add_case(volume(9), author="A").name == "case_0002"


def _writers(folder):
    """Everything that writes one file, each with how its result is looked at."""
    from napari_covseg.editing.draft import Draft, read_draft, write_draft
    from napari_covseg.io.dicom import read_dicom
    from napari_covseg.io.dicom_maker import Maker
    from napari_covseg.io.dicom_rtstruct_write import write_rtstruct
    from napari_covseg.io.dicom_seg_write import write_dicom_seg
    from napari_covseg.io.dicom_source import open_source
    from napari_covseg.training.state import read_state, write_state

    ct, centre = series(folder / "ct")
    scan = read_dicom(ct)
    labels = label_map(scan.geometry, centre, scan.case)
    source, maker = open_source(ct, labels.geometry), Maker("automatic", "m", "2", "ab" * 32)
    noise = np.random.default_rng(0).integers(0, 5, (40, 60, 70)).astype(np.uint8)
    drawn = Draft(noise, None, np.ones(40, bool), 2.0)
    state = {"epoch": 3, "long": [float(x) for x in range(40_000)]}
    return {
        "a.nii.gz": (lambda path: write_labels(labels, path), read_labels),
        "a.seg.nrrd": (lambda path: write_labels(labels, path), read_labels),
        "a.mha": (lambda path: write_volume(scan, path), None),
        "seg.dcm": (lambda path: write_dicom_seg(labels, source, path, maker), read_labels),
        "rt.dcm": (lambda path: write_rtstruct(labels, source, path, maker), None),
        "a.json": (lambda path: write_json(path, {"x": ["long"] * 20_000}), None),
        "a.covseg-draft": (
            lambda path: write_draft(path, drawn),
            lambda path: read_draft(path, noise.shape),
        ),
        "state": (lambda path: write_state(path, state), read_state),
    }


def test_files_are_whole_or_as_they_were(disk, tmp_path):
    for name, (write, read) in _writers(tmp_path).items():
        target = disk / name
        filler = fill(disk, 0)
        with pytest.raises(ResourceError, match=r"full|No space left") as told:
            write(target)
        assert name in str(told.value)
        assert files_of(disk) == {}, name
        filler.unlink()
        write(target)
        good = target.read_bytes()
        filler = fill(disk, 4096)
        if len(good) > 4096:
            with pytest.raises(ResourceError):
                write(target)
        assert files_of(disk) == {name: good}
        if read:
            read(target)
        filler.unlink()
        target.unlink()


def test_a_models_older_self_stays(disk, tmp_path):
    from napari_covseg.models.checkpoint import write_checkpoint
    from napari_covseg.models.unet2d import UNet2D

    first = load(model_in(disk, 0))
    home = disk / "model-0"
    made = ("unet2d", {"channels": [4, 8]}, first.recipe, {"version": "2"})
    for leave in (0, 4096, 8192):
        filler = fill(disk, leave)
        with pytest.raises(ResourceError, match="make room"):
            write_checkpoint(home, "tiny", UNet2D((4, 8)), *made)
        assert load(home).sha256 == first.sha256
        filler.unlink()
    write_checkpoint(home, "tiny", UNet2D((4, 8)), *made)
    assert load(home).version == "2"
    assert sorted(p.name for p in home.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_bringing_a_model_in_and_promoting_it(disk, tmp_path):
    from napari_covseg.workflows.models import add_model

    store = new_store(disk / "store")
    first = add_model(store, str(model_in(tmp_path, 0)), author="A")
    store.promote(first.sha256, by="A", why="good")
    for leave in (0, 4096, 8192):
        filler = fill(disk, leave)
        with pytest.raises(ResourceError):
            add_model(store, str(model_in(tmp_path, 1)), author="A")
        filler.unlink()
        live = CaseStore.open(store.folder).live_model()
        assert live is not None
        assert load(store.model_folder(live.sha256)).sha256 == first.sha256
        assert [p for p in store.verify() if not p.harmless] == []
        assert [p.name for p in (store.folder / "models").iterdir() if p.name[0] == "."] == []
    assert add_model(store, str(model_in(tmp_path, 1)), author="A").sha256 != first.sha256


def test_a_disk_that_may_only_be_read(disk, tmp_path):
    store = new_store(disk / "store")
    version = corrected(store, predicted(store))
    store.accept(version.id, reader="B", whole=True)
    home = model_in(disk, 0)
    before = files_of(disk)
    assert mount("mount", "-o", "remount,ro", str(disk))
    again = CaseStore.open(store.folder)
    assert again.case("case_0001").state is State.ACCEPTED
    assert again.verify() == []
    for act in (
        lambda: corrected(again, version, size=2),
        lambda: again.add_case(volume(7), author="A"),
        lambda: again.accept(version.id, reader="C"),
        lambda: again.flag("case_0001", reader="C", comment="look"),
        lambda: CaseStore.create(disk / "new", author="A"),
        lambda: write_json(disk / "a.json", {}),
        lambda: model_in(disk, 0),
        *(partial(w, disk / name) for name, (w, _) in _writers(tmp_path).items()),
    ):
        with pytest.raises(ResourceError) as told:
            act()
        assert "\n" not in str(told.value)
    assert load(home).name == "tiny"
    assert files_of(disk) == before
