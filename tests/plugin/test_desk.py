"""A case of a store goes into the viewer with its labels, and out again."""

import numpy as np
import pytest

from napari_covseg.cases.records import Kind
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.plugin.desk import desk_of, load_steps
from napari_covseg.plugin.session import session_of


@pytest.fixture
def store(tmp_path, phantom):
    made = CaseStore.create(tmp_path / "store", author="RA")
    bare = made.add_case(phantom.volume, author="RA")
    labels = phantom.labels
    made.save_version(bare.name, labels, author="RA", kind=Kind.CORRECTION, reviewed=[3])
    emptied = np.where(labels.labels == Label.GGO, Label.LEFT_LUNG, labels.labels)
    made.save_version(
        bare.name, emptied.astype(np.uint8), author="RA", kind=Kind.CORRECTION, reviewed=[4]
    )
    return made


def _load(store, version=None):
    return run_to_end(load_steps(store.folder, "case_0001", version), lambda step: None)


def test_a_case_comes_with_its_newest_or_an_asked_version_and_goes(viewer, store, phantom):
    desk, told = desk_of(viewer), []
    desk.served_changed.connect(lambda: told.append(desk.served is not None))
    first, newest = store.history("case_0001")

    served = desk.serve(_load(store))
    assert served.version.id == newest.id
    assert served.record.name == "case_0001"
    assert np.array_equal(served.ct.data, phantom.volume.hu)
    _, lesions = session_of(viewer).labels_of(served.ct)
    assert not (lesions.data == Label.GGO).any()

    desk.serve(_load(store, first.id))
    assert len(viewer.layers) == 3
    _, lesions = session_of(viewer).labels_of(desk.served.ct)
    assert (lesions.data == Label.GGO).sum() == (phantom.labels.labels == Label.GGO).sum()

    viewer.layers.remove(desk.served.ct)
    assert desk.served is None
    assert told == [True, False, True, False]


def test_another_store_is_told_once(viewer, tmp_path):
    desk, told = desk_of(viewer), []
    desk.store_changed.connect(lambda: told.append(desk.store))
    desk.store = tmp_path
    desk.store = tmp_path
    assert told == [tmp_path]
    assert desk_of(viewer) is desk


def test_a_case_that_is_not_there(store):
    with pytest.raises(InputError, match="case_0009"):
        run_to_end(load_steps(store.folder, "case_0009"), lambda step: None)
