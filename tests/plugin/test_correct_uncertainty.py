"""Uncertainty in the Correct widget: its layer, the way to the next slice, a store's cases."""

import time
from dataclasses import replace

import numpy as np
import pytest

from napari_covseg.cases.records import Kind, NewVersion
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import ModelError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.models.zoo import shipped_sha256
from napari_covseg.plugin import autosave
from napari_covseg.plugin.desk import desk_of, load_steps
from napari_covseg.plugin.layers import ct_layer, is_ct, label_layers
from napari_covseg.plugin.uncertainty import Fractions, next_uncertain
from napari_covseg.plugin.widgets.correct import CorrectWidget
from napari_covseg.quantify.volumes import measure
from napari_covseg.workflows import dataset_predict, segment
from napari_covseg.workflows.segment import SegmentResult
from napari_covseg.workflows.uncertainty import keep_map, uncertainty_map

PEAKS = {12: 250, 13: 240, 14: 230, 25: 200, 30: 100}
"""How unsure the stand-in is in a square of these slices."""


def by_slice(**values):
    sums = np.zeros(20, np.int64)
    for name, value in values.items():
        sums[int(name[1:])] = value
    return sums


def marks(*slices):
    marked = np.zeros(20, bool)
    marked[list(slices)] = True
    return marked


def test_the_way_goes_from_the_most_uncertain_slice_down_and_neighbours_wait():
    sums, shown = by_slice(z5=90, z6=80, z7=70, z15=50, z18=10), marks()
    way = []
    while (z := next_uncertain(sums, marks(), shown, 5.0)) is not None:
        way.append(z)
        shown[z] = True
    # 10 mm apart first (5, 7, 15, 18), then what lies between.
    assert way == [5, 7, 15, 18, 6]


@pytest.mark.parametrize(
    ("reviewed", "thickness_mm", "expected"),
    [
        ((), 5.0, 5),
        ((5,), 5.0, 7),
        ((5,), 1.0, 15),  # 6 and 7 are 1 and 2 mm away
        ((5,), 20.0, 7),  # one slice at least lies between
        ((5, 15, 18), 1.0, 6),  # all others are near: the most uncertain of them
        ((5, 6, 7, 15, 18), 5.0, None),  # where it is sure nobody need look
    ],
)
def test_reviewed_slices_and_their_neighbours(reviewed, thickness_mm, expected):
    sums = by_slice(z5=90, z6=80, z7=70, z15=50, z18=10)
    assert next_uncertain(sums, marks(*reviewed), marks(), thickness_mm) == expected


def test_fractions_are_made_where_one_looks():
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 11
    seen = Fractions(values)
    assert (seen.shape, seen.ndim, seen.size, seen.dtype) == ((2, 3, 4), 3, 24, np.float32)
    np.testing.assert_allclose(seen[1], values[1] / 255, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(seen), values / 255, rtol=1e-6)
    assert seen[0, 0].dtype == np.float32


@pytest.fixture
def doubt(phantom):
    found = np.zeros(phantom.volume.hu.shape, np.uint8)
    for z, level in PEAKS.items():
        found[z, 40:50, 40:50] = level
    return found


@pytest.fixture
def network(monkeypatch, phantom, doubt):
    """In the place of a segmentation, in the widget and in a store."""

    class Fake:
        calls, seconds, error, closed = (), 0.0, None, 0

        def __call__(self, volume, settings, uncertainty):
            assert uncertainty
            self.calls = (*self.calls, settings)
            try:
                for done in range(5):
                    yield Progress(done, 5, "segmenting on CPU")
                    time.sleep(self.seconds)
                if self.error is not None:
                    raise self.error
            finally:
                self.closed += 1
            return SegmentResult(phantom.labels, measure(phantom.labels), (), {}, doubt)

    fake = Fake()
    monkeypatch.setattr(segment, "segment", fake)
    monkeypatch.setattr(dataset_predict, "segment", fake)
    return fake


@pytest.fixture
def make_widget(viewer, tmp_path, monkeypatch):
    monkeypatch.setattr(autosave, "drafts_folder", lambda: tmp_path / "drafts")
    made = []

    def make():
        widget = CorrectWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Correct", area="right")
        widget.activate()
        made.append(widget)
        return widget

    yield make
    for widget in made:
        widget.retire()


@pytest.fixture
def widget(make_widget, viewer, phantom, network):
    data, arguments, _ = ct_layer(phantom.volume)
    viewer.add_image(data, **arguments)
    for data, arguments, _ in label_layers(phantom.labels):
        viewer.add_labels(data.copy(), **arguments)
    return make_widget()


def idle(widget):
    return not widget.jobs_running()


def press(viewer, key):
    viewer.keymap[next(k for k in viewer.keymap if str(k) == key)](viewer)


def test_a_layer_from_0_to_1_comes_between_ct_and_labels_and_goes(
    widget, viewer, network, doubt, qtbot
):
    active = viewer.layers.selection.active
    press(viewer, "Shift+U")
    assert not widget.view.uncertainty.running.isHidden()
    qtbot.waitUntil(lambda: idle(widget))
    assert widget.view.uncertainty.running.isHidden()
    names = [layer.name for layer in viewer.layers]
    assert names == ["CT phantom", "Uncertainty", "Lungs", "Lesions"]
    layer = viewer.layers["Uncertainty"]
    assert tuple(layer.contrast_limits) == (0.0, 1.0)
    assert layer.blending == "additive"
    assert viewer.layers.selection.active is active
    assert not is_ct(layer)
    widget.viewing.go_to_slice(12)
    assert float(np.max(layer._slice.image.raw)) == pytest.approx(250 / 255)
    np.testing.assert_allclose(layer.extent.world, viewer.layers[0].extent.world)
    (settings,) = network.calls
    assert settings.flips == "left-right"
    press(viewer, "Shift+U")
    assert "Uncertainty" not in viewer.layers
    press(viewer, "Shift+U")
    assert "Uncertainty" in viewer.layers
    assert len(network.calls) == 1  # not computed twice
    viewer.layers.remove("Uncertainty")
    assert not widget.view.uncertainty.toggle.isChecked()
    np.testing.assert_array_equal(widget.uncertainty._unsure.map, doubt)


def test_the_key_leads_through_the_slices_and_skips_what_was_reviewed(widget, viewer, qtbot):
    way = []

    def go():
        press(viewer, "Shift+N")
        qtbot.waitUntil(lambda: idle(widget))
        way.append(widget.correction.slice)

    go()  # computes first, shows no layer
    assert "Uncertainty" not in viewer.layers
    assert way == [12]
    widget.toggle_reviewed()
    widget.correction.slices.mark(25)
    go()
    go()
    assert way == [12, 14, 30]  # slices are 7.5 mm thick, so that 14 is far enough
    go()
    assert way[-1] == 13
    go()
    assert way[-1] == 14
    assert "From the most uncertain one again" in widget.view.state.text()
    for z in (13, 14, 30):
        widget.correction.slices.mark(z)
    here = widget.correction.slice
    go()
    assert way[-1] == here
    assert "No slice is left" in widget.view.state.text()


def test_cancel_leaves_nothing_and_it_can_be_begun_again(widget, viewer, network, qtbot):
    network.seconds = 0.2
    widget.view.uncertainty.toggle.click()
    qtbot.waitUntil(lambda: bool(network.calls))
    widget.view.uncertainty.running.cancel.click()
    qtbot.waitUntil(lambda: idle(widget))
    assert network.closed == 1
    assert not widget.view.uncertainty.toggle.isChecked()
    assert widget.view.uncertainty.running.isHidden()
    assert "Uncertainty" not in viewer.layers
    network.seconds = 0.0
    widget.view.uncertainty.toggle.click()
    qtbot.waitUntil(lambda: "Uncertainty" in viewer.layers)


def test_an_error_is_shown_in_one_line(widget, viewer, network, qtbot, errors):
    network.error = ModelError("weights.safetensors: not found")
    widget.view.uncertainty.toggle.click()
    qtbot.waitUntil(lambda: idle(widget))
    assert errors("error") == ["weights.safetensors: not found"]
    assert not widget.view.uncertainty.toggle.isChecked()


def test_another_ct_or_the_end_takes_the_layer_away(widget, viewer, phantom, qtbot):
    widget.view.uncertainty.toggle.click()
    qtbot.waitUntil(lambda: "Uncertainty" in viewer.layers)
    data, arguments, _ = ct_layer(replace(phantom.volume, case="other"))
    viewer.add_image(data, **arguments)
    assert "Uncertainty" not in viewer.layers
    assert not widget.view.uncertainty.toggle.isChecked()
    widget.ct.value = viewer.layers["CT phantom"]
    widget.view.uncertainty.toggle.click()
    qtbot.waitUntil(lambda: "Uncertainty" in viewer.layers)
    widget.retire()
    assert "Uncertainty" not in viewer.layers


@pytest.fixture
def store(tmp_path, phantom):
    made = CaseStore.create(tmp_path / "store", author="RA")
    case = made.add_case(phantom.volume, author="RA").name
    made.save_version(
        case, phantom.labels, NewVersion(author="RA", kind=Kind.CORRECTION, reviewed=[12, 20])
    )
    return made


def serve(viewer, store):
    return desk_of(viewer).serve(run_to_end(load_steps(store.folder, "case_0001")))


def test_a_stores_case_brings_its_marks_and_its_map(
    make_widget, viewer, store, phantom, network, doubt, qtbot
):
    widget = make_widget()
    keep_map(store, "case_0001", shipped_sha256(), doubt // 2, phantom.labels)
    serve(viewer, store)
    assert list(np.flatnonzero(widget.correction.slices.reviewed)) == [12, 20]
    assert (widget.correction.lesions.data == Label.GGO).any()
    press(viewer, "Shift+N")
    qtbot.waitUntil(lambda: idle(widget))
    assert network.calls == ()
    assert widget.correction.slice == 14  # 12 was reviewed and 13 lies beside it
    assert widget.uncertainty._unsure.map.max() == 125


def test_a_map_that_was_computed_is_kept_for_the_queue(make_widget, viewer, store, network, qtbot):
    widget = make_widget()
    serve(viewer, store)
    widget.view.uncertainty.toggle.click()
    qtbot.waitUntil(lambda: "Uncertainty" in viewer.layers)
    assert len(network.calls) == 1
    kept = uncertainty_map(store, "case_0001", shipped_sha256())
    assert kept.max() == 250
    assert store.scores(shipped_sha256())["case_0001"].slice == 12
    assert len(store.history("case_0001")) == 1
