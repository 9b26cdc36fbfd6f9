"""A case of a store goes into the viewer with its labels, and out again."""

import numpy as np
import pytest

from napari_covseg.cases.records import Kind, NewVersion
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
    made.save_version(
        bare.name, labels, NewVersion(author="RA", kind=Kind.CORRECTION, reviewed=[3])
    )
    emptied = np.where(labels.labels == Label.GGO, Label.LEFT_LUNG, labels.labels)
    made.save_version(
        bare.name,
        emptied.astype(np.uint8),
        NewVersion(author="RA", kind=Kind.CORRECTION, reviewed=[4]),
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


def _corrected(viewer):
    """A correction of the served case, as the Correct widget begins one."""
    from napari_covseg.plugin.correction import Correction
    from napari_covseg.plugin.viewing import viewing_of

    desk = desk_of(viewer)
    lungs, lesions = session_of(viewer).labels_of(desk.served.ct)
    desk.correction = Correction(viewing_of(viewer), desk.served.ct, lungs, lesions)
    return desk.correction


def test_marks_time_and_changes_outlive_a_correction(viewer, store, phantom):
    desk, told = desk_of(viewer), []
    desk.saved.connect(lambda: told.append(desk.served.version.number))
    served = desk.serve(_load(store))
    first = _corrected(viewer)
    assert np.flatnonzero(first.slices.reviewed).tolist() == [4]
    assert not desk.work.changed
    first.slices.mark(7)
    first.seconds = 30.0
    assert desk.work.changed

    second = _corrected(viewer)
    assert np.flatnonzero(second.slices.reviewed).tolist() == [4, 7]
    assert second.seconds == 30.0
    held = desk.hold()
    assert (held.reviewed, held.seconds) == ({4, 7}, 30.0)
    second.slices.mark(8)
    second.seconds = 42.0
    desk.mark_saved(served.record, served.version, held)
    assert (second.seconds, told) == (12.0, []), "slice 8 was marked since: not all is saved"
    desk.mark_saved(served.record, served.version, desk.hold())
    assert not desk.work.changed
    assert told == [2]


def test_other_labels_over_the_case_were_reviewed_by_nobody(viewer, store, phantom):
    from napari_covseg.plugin.layers import label_layers

    desk = desk_of(viewer)
    desk.serve(_load(store))
    _corrected(viewer)
    for data, arguments, _ in label_layers(phantom.labels):
        viewer.add_labels(data, **arguments)
    other = _corrected(viewer)
    assert not other.slices.reviewed.any()
    assert desk.work.changed
    assert np.array_equal(desk.hold().labels().labels, phantom.labels.labels)
    desk.clear()
    assert len(viewer.layers) == 0


def test_the_layers_of_a_case_go_together(viewer, store):
    """napari collects garbage whenever some went: once is slow enough."""
    if not hasattr(viewer.layers, "batched_update"):
        pytest.skip("this napari takes them out one by one")
    desk = desk_of(viewer)
    desk.serve(_load(store))
    batches, left = [], []
    viewer.layers.events.begin_batch.connect(lambda: batches.append(len(viewer.layers)))
    viewer.layers.events.end_batch.connect(lambda: left.append(len(viewer.layers)))
    desk.clear()
    assert (batches, left) == ([3], [0])
    desk.clear()
    assert (batches, left) == ([3], [0])


def test_labels_of_imports_come_back_as_they_were(viewer, store, phantom):
    labels = phantom.labels.labels.copy()
    labels[5:9][labels[5:9] == Label.GGO] = Label.INFECTION
    labels[np.isin(labels, (Label.LEFT_LUNG, Label.RIGHT_LUNG))] = Label.LUNG
    labels[-6:] = Label.IGNORE
    labels[20, 10:20, 10:20] = Label.INFECTION
    newest = store.case("case_0001").newest
    made = {"author": "RA", "kind": Kind.CORRECTION, "parent": newest, "reviewed": [1]}
    store.save_version("case_0001", labels, NewVersion(**made))
    desk = desk_of(viewer)
    desk.serve(_load(store))
    back = desk.hold().labels().labels
    assert {5, 6, 7} <= set(np.unique(back).tolist())
    assert np.array_equal(back, labels)


def _over(viewer, scan, labels):
    from napari_covseg.plugin.layers import ct_layer, label_layers

    data, arguments, _ = ct_layer(scan)
    ct = viewer.add_image(data, **arguments)
    return ct, [viewer.add_labels(data, **more) for data, more, _ in label_layers(labels)]


def test_labels_that_lay_on_the_grid_before_cost_a_case_no_marks(
    viewer, store, phantom, qtbot, monkeypatch, tmp_path
):
    from napari_covseg.plugin import autosave
    from napari_covseg.plugin.widgets.correct import CorrectWidget

    monkeypatch.setattr(autosave, "drafts_folder", lambda: tmp_path / "drafts")
    widget = CorrectWidget(viewer)
    qtbot.addWidget(widget)
    _over(viewer, phantom.volume, phantom.labels)
    desk = desk_of(viewer)
    desk.serve(_load(store))
    assert widget.correction.ct is desk.served.ct
    assert np.flatnonzero(widget.correction.slices.reviewed).tolist() == [4]
    assert not desk.work.changed
    widget.correction.slices.mark(7)
    assert desk.hold().reviewed == {4, 7}
    widget.retire()


def test_the_result_of_another_ct_is_no_label_of_the_case(
    viewer, store, phantom, fake_segment, qtbot
):
    from napari_covseg.plugin.session import as_segmented

    desk, session = desk_of(viewer), session_of(viewer)
    other, _ = _over(viewer, phantom.volume, phantom.labels)
    served = desk.serve(_load(store))
    mine = session.labels_of(served.ct)
    result = as_segmented(run_to_end(fake_segment(phantom.volume)))
    case = session.show(other, result)
    assert session.labels_of(served.ct) == mine
    assert session.labels_of(other) == (case.lungs, case.lesions)
    desk.clear()
    assert case.lesions in viewer.layers


def test_what_was_held_of_a_case_says_nothing_of_the_next(viewer, store):
    desk = desk_of(viewer)
    served = desk.serve(_load(store))
    held = desk.hold()
    desk.serve(_load(store, store.history("case_0001")[0].id))
    correction = _corrected(viewer)
    correction.slices.mark(9)
    desk.mark_saved(served.record, served.version, held)
    assert desk.work.changed
    assert desk.served.version.number == 1


def test_labels_make_way_for_others(viewer, store, phantom):
    desk = desk_of(viewer)
    served = desk.serve(_load(store))
    other, theirs = _over(viewer, phantom.volume, phantom.labels)
    desk.make_way(other)
    assert len(viewer.layers) == 6
    for layer in theirs:
        viewer.layers.remove(layer)
    desk.make_way(served.ct)
    assert list(viewer.layers) == [served.ct, other]
    desk.clear()
    assert list(viewer.layers) == [other]
