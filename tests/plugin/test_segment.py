"""The Segment widget, driven in a real viewer."""

import json

import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox

from napari_covseg.cases.records import Kind, NewVersion
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io import read_labels
from napari_covseg.plugin import autosave, preferences
from napari_covseg.plugin.desk import desk_of, load_steps
from napari_covseg.plugin.expected_time import duration
from napari_covseg.plugin.layers import ct_layer
from napari_covseg.plugin.widgets.correct import CorrectWidget
from napari_covseg.plugin.widgets.options import CHOOSE
from napari_covseg.plugin.widgets.results_table import cells, format_ml, format_percent
from napari_covseg.plugin.widgets.segment import SegmentWidget
from napari_covseg.quantify.volumes import measure


@pytest.fixture
def widget(viewer, qtbot, fake_segment):
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    yield widget
    widget.retire()
    qtbot.waitUntil(lambda: not widget.jobs_running())


@pytest.fixture
def with_ct(widget, viewer, phantom):
    data, arguments, _ = ct_layer(phantom.volume)
    viewer.add_image(data, **arguments)
    return widget


def press_run(widget, qtbot):
    widget.view.run.click()
    qtbot.waitUntil(lambda: not widget.jobs_running())


def table_texts(widget):
    table = widget.view.table
    return {
        table.verticalHeaderItem(row).text(): tuple(
            table.item(row, column).text() for column in range(table.columnCount())
        )
        for row in range(table.rowCount())
    }


def shown(part):
    """Whether it would be visible if the window was."""
    return not part.isHidden()


def test_empty_state_says_what_to_do(widget):
    view = widget.view
    assert not view.run.isEnabled()
    assert shown(view.empty)
    assert not shown(view.result)
    assert not shown(view.view_bar)
    assert "Research use only" in view.notice.text()


def test_sample_opens_and_is_chosen(widget, viewer, qtbot, monkeypatch, phantom):
    import napari_covseg.io as io

    monkeypatch.setattr(io, "make_phantom", lambda: phantom, raising=False)
    widget.view.empty.sample.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1)
    assert widget.ct.value is viewer.layers[0]
    assert not shown(widget.view.empty)
    assert widget.view.run.isEnabled()


def test_run_shows_layers_table_and_state(with_ct, viewer, qtbot, phantom, errors):
    press_run(with_ct, qtbot)
    assert [layer.name for layer in viewer.layers] == ["CT phantom", "Lungs", "Lesions"]
    truth = phantom.labels.labels
    np.testing.assert_array_equal(viewer.layers["Lesions"].data, truth * (truth >= Label.GGO))
    assert viewer.layers["Lungs"].contour == 1
    assert tuple(viewer.layers["Lungs"].scale) == tuple(viewer.layers[0].scale)
    expected = measure(phantom.labels)
    assert table_texts(with_ct) == {title: cells(side) for title, side in expected.rows}
    assert table_texts(with_ct)["Left"] != table_texts(with_ct)["Right"]
    state = with_ct.view.result.state.text()
    assert state == "Model fake 1.0 on CPU (1 core) · not corrected · not saved"
    assert with_ct.view.warnings.text() == "⚠ made of nothing"
    assert errors("warning") == ["made of nothing"]


def test_run_goes_to_the_slice_with_most_lesion_and_rows_to_their_side(
    with_ct, viewer, qtbot, phantom
):
    press_run(with_ct, qtbot)
    labels = phantom.labels.labels
    lesion = np.isin(labels, (Label.GGO, Label.CONSOLIDATION))
    assert viewer.dims.current_step[0] == lesion.sum(axis=(1, 2)).argmax()
    half = labels.shape[2] // 2
    for row, side in enumerate(("Right", "Left")):
        part = lesion[..., :half] if side == "Right" else lesion[..., half:]
        viewer.dims.set_current_step(0, 0)
        with_ct.view.table.cellClicked.emit(row, 0)
        assert viewer.dims.current_step[0] == part.sum(axis=(1, 2)).argmax()
    viewer.dims.set_current_step(0, 0)
    with_ct.view.go_to_most.click()
    assert viewer.dims.current_step[0] == lesion.sum(axis=(1, 2)).argmax()


def test_running_again_replaces_the_layers(with_ct, viewer, qtbot):
    press_run(with_ct, qtbot)
    press_run(with_ct, qtbot)
    assert [layer.name for layer in viewer.layers] == ["CT phantom", "Lungs", "Lesions"]


def test_progress_and_cancel_take_the_place_of_the_button(with_ct, viewer, qtbot, fake_segment):
    fake_segment.steps, fake_segment.seconds = 500, 0.02
    view = with_ct.view
    view.run.click()
    assert not shown(view.run)
    assert shown(view.running)
    qtbot.waitUntil(lambda: view.running.bar.value() > 3)
    assert view.running.bar.maximum() == 500
    assert view.running.step.text().startswith("Segmenting on CPU, ")
    assert view.running.step.text().endswith(" left")
    done = view.running.bar.value()
    view.cancel.click()
    assert view.running.step.text() == "Cancelling…"
    qtbot.waitUntil(lambda: shown(view.run))
    assert fake_segment.done - done < 50
    assert [layer.name for layer in viewer.layers] == ["CT phantom"]
    assert not shown(view.result)
    assert fake_segment.closed == 1


def test_window_stays_alive_while_it_works(with_ct, qtbot, fake_segment):
    fake_segment.steps, fake_segment.seconds = 2, 2.0
    with_ct.view.run.click()
    ticks = 0
    while with_ct.jobs_running():
        qtbot.wait(10)
        ticks += 1
    assert ticks > 10


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (InputError("scan: one slice only"), "scan: one slice only"),
        (ResourceError("not enough memory"), "not enough memory"),
        (RuntimeError("CUDA error\ntrace"), "the work stopped: CUDA error"),
    ],
)
def test_errors_are_told_in_the_words_of_the_command_line(
    with_ct, viewer, qtbot, fake_segment, errors, raised, told
):
    fake_segment.error = raised
    press_run(with_ct, qtbot)
    assert errors("error") == [told]
    assert [layer.name for layer in viewer.layers] == ["CT phantom"]
    assert shown(with_ct.view.run)
    assert with_ct.view.run.isEnabled()


def test_result_of_a_ct_that_was_closed_is_dropped(with_ct, viewer, qtbot, fake_segment):
    fake_segment.seconds = 0.1
    with_ct.view.run.click()
    viewer.layers.clear()
    qtbot.waitUntil(lambda: not with_ct.jobs_running())
    assert len(viewer.layers) == 0
    assert shown(with_ct.view.empty)


def test_edits_are_measured_again_and_undone_edits_too(with_ct, viewer, qtbot, phantom):
    press_run(with_ct, qtbot)
    before = table_texts(with_ct)
    lesions = viewer.layers["Lesions"]
    where = np.nonzero(phantom.labels.labels == Label.RIGHT_LUNG)
    chosen = tuple(axis[:2000] for axis in where)
    lesions.data_setitem(chosen, int(Label.CONSOLIDATION))
    assert "corrected by hand" in with_ct.view.result.state.text()
    qtbot.waitUntil(lambda: table_texts(with_ct) != before)
    edited = phantom.labels.labels.copy()
    edited[chosen] = Label.CONSOLIDATION
    from napari_covseg.domain.volume import LabelMap

    expected = measure(LabelMap(edited, phantom.labels.geometry))
    texts = table_texts(with_ct)
    assert texts["Right"][3] == format_ml(expected.right.consolidation_ml)
    lesions.undo()
    qtbot.waitUntil(lambda: table_texts(with_ct) == before)


def test_save_writes_the_files_of_the_command_line(with_ct, qtbot, phantom, tmp_path):
    press_run(with_ct, qtbot)
    with_ct.save_to(tmp_path)
    qtbot.waitUntil(lambda: not with_ct.jobs_running())
    assert sorted(path.name for path in tmp_path.glob("phantom*")) == [
        "phantom.json",
        "phantom_consolidation_probability.nii.gz",
        "phantom_labels.nii.gz",
        "phantom_lesion_probability.nii.gz",
    ]
    back = read_labels(tmp_path / "phantom_labels.nii.gz")
    np.testing.assert_array_equal(back.labels, phantom.labels.labels)
    report = json.loads((tmp_path / "phantom.json").read_text())
    assert report["measurements"] == measure(phantom.labels).to_dict()
    assert report["provenance"]["model"]["name"] == "fake"
    assert "saved as phantom_labels.nii.gz" in with_ct.view.result.state.text()


def test_saving_right_after_a_stroke_saves_the_stroke(with_ct, viewer, qtbot, tmp_path):
    press_run(with_ct, qtbot)
    viewer.layers["Lesions"].data_setitem((np.array([3]),) * 3, int(Label.GGO))
    with_ct.save_to(tmp_path)  # before the pause after which edits are measured
    qtbot.waitUntil(lambda: not with_ct.jobs_running())
    back = read_labels(tmp_path / "phantom_labels.nii.gz").labels
    assert back[3, 3, 3] == Label.GGO
    report = json.loads((tmp_path / "phantom.json").read_text())
    voxels = int((back == Label.GGO).sum())
    both = report["measurements"]["both"]
    assert both["ggo_ml"] == pytest.approx(voxels * report["measurements"]["voxel_ml"])
    assert report["provenance"]["edited"] is True


def test_what_was_edited_while_it_was_saved_is_not_called_saved(with_ct, viewer, qtbot, tmp_path):
    press_run(with_ct, qtbot)
    with_ct.save_to(tmp_path)
    viewer.layers["Lesions"].data_setitem((np.array([3]),) * 3, int(Label.GGO))
    qtbot.waitUntil(lambda: not with_ct.jobs_running())
    assert "not saved" in with_ct.view.result.state.text()


def test_saving_asks_before_it_replaces(with_ct, qtbot, tmp_path, monkeypatch):
    press_run(with_ct, qtbot)
    (tmp_path / "phantom_labels.nii.gz").write_text("mine")
    asked = []

    def no(_parent, _title, question, *_):
        asked.append(question)
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", no)
    with_ct.save_to(tmp_path)
    assert asked == ["phantom_labels.nii.gz is there already. Replace it?"]
    assert (tmp_path / "phantom_labels.nii.gz").read_text() == "mine"


def test_corrections_are_not_lost_without_asking(with_ct, viewer, qtbot, monkeypatch, fake_segment):
    press_run(with_ct, qtbot)
    corner = (np.array([0]),) * 3
    viewer.layers["Lesions"].data_setitem(corner, int(Label.GGO))
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    with_ct.view.run.click()
    assert len(fake_segment.calls) == 1
    press_run(with_ct, qtbot)
    assert len(fake_segment.calls) == 2
    assert viewer.layers["Lesions"].data[0, 0, 0] == 0


def test_a_served_case_gets_the_result_in_place_of_its_labels(
    widget, viewer, qtbot, monkeypatch, phantom, tmp_path, fake_segment
):
    monkeypatch.setattr(autosave, "drafts_folder", lambda: tmp_path / "drafts")
    store = CaseStore.create(tmp_path / "store", author="RA")
    case = store.add_case(phantom.volume, author="RA").name
    store.save_version(
        case, phantom.labels, NewVersion(author="RA", kind=Kind.CORRECTION, reviewed=[4])
    )
    correct = CorrectWidget(viewer)
    qtbot.addWidget(correct)
    desk = desk_of(viewer)
    served = desk.serve(run_to_end(load_steps(store.folder, case)))
    correct.correction.slices.mark(9)
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    widget.view.run.click()
    assert not fake_segment.calls
    press_run(widget, qtbot)
    assert [layer.name for layer in viewer.layers] == [served.ct.name, "Lungs", "Lesions"]
    assert correct.correction.lesions is viewer.layers["Lesions"]
    assert not desk.hold().reviewed, "nobody has looked at the new labels"
    assert desk.work.changed
    correct.retire()


def test_settings_are_used_and_remembered(with_ct, viewer, qtbot, fake_segment):
    with_ct.view.form["flips"].value = "all"
    with_ct.view.form["device"].value = "cpu"
    press_run(with_ct, qtbot)
    assert (fake_segment.calls[0].flips, fake_segment.calls[0].device) == ("all", "cpu")
    assert preferences.load_settings() == fake_segment.calls[0]
    again = SegmentWidget(viewer)
    qtbot.addWidget(again)
    assert again.view.form.settings == fake_segment.calls[0]


def test_settings_that_make_no_sense_any_more_are_defaults(settings_file):
    preferences.save_text("segment/flips", "sideways")
    assert preferences.load_settings().flips == "none"


def test_device_is_looked_for_in_a_thread_and_named_on_the_button(with_ct, qtbot, monkeypatch):
    from napari_covseg.models import device

    found = device.Device("cuda:0", "NVIDIA H100")
    monkeypatch.setattr(device, "choose_device", lambda requested: found)
    with_ct.look("auto")
    assert with_ct.view.device.text() == "Looking for a GPU…"
    assert with_ct.view.run.text() == "Segment"
    qtbot.waitUntil(lambda: with_ct.view.run.text() == "Segment on NVIDIA H100")
    cpu = device.Device("cpu", "CPU (2 cores)", hint="Get one (https://pytorch.org/get-started).")
    monkeypatch.setattr(device, "choose_device", lambda requested: cpu)
    with_ct.look("cpu")
    qtbot.waitUntil(lambda: with_ct.view.run.text().startswith("Segment on CPU, about "))
    text = with_ct.view.device.text()
    assert text.startswith("Runs on CPU (2 cores).")
    assert 'href="https://pytorch.org/get-started"' in text


def test_a_device_that_is_not_there_is_told(with_ct, qtbot, monkeypatch):
    from napari_covseg.domain.errors import UsageError
    from napari_covseg.models import device

    def none(requested):
        raise UsageError(f"no {requested} here")

    monkeypatch.setattr(device, "choose_device", none)
    with_ct.look("mps")
    qtbot.waitUntil(lambda: "no mps here" in with_ct.view.device.text())


def test_the_time_is_learnt_from_the_last_run(with_ct, qtbot, monkeypatch):
    from napari_covseg.models import device

    cpu = device.Device("cpu", "CPU (2 cores)")
    monkeypatch.setattr(device, "choose_device", lambda requested: cpu)
    with_ct.look("auto")
    qtbot.waitUntil(lambda: "about" in with_ct.view.run.text())
    preferences.save_rate("CPU (2 cores)", 100.0)
    with_ct.view.form["flips"].value = "left-right"
    slices, width = 40, 96 * 3.6 / 1.35
    minutes = round(slices * width**2 * 2 * 100 / 1e6 / 60)
    assert with_ct.view.run.text() == f"Segment on CPU, about {minutes} min"


def test_a_model_can_be_a_folder(with_ct, qtbot, monkeypatch, tmp_path):
    from qtpy.QtWidgets import QFileDialog

    box = with_ct.view.form["model"]
    default = box.value
    answers = [str(tmp_path / "mine"), ""]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: answers.pop(0))
    box.value = CHOOSE
    assert with_ct.view.form.settings.model == str(tmp_path / "mine")
    assert default in box.choices
    box.value = CHOOSE
    assert with_ct.view.form.settings.model == str(tmp_path / "mine")
    assert answers == []


def test_keys_work_from_the_widget_too(with_ct, viewer):
    bar = with_ct.view.view_bar
    keys = {name: button.shortcut().toString() for name, button in bar.presets.items()}
    assert keys == {"Lung": "F2", "Mediastinum": "F3", "Bone": "F4"}
    assert bar.planes["Sagittal"].shortcut().toString() == "F7"
    assert bar.overlay.shortcut().toString() == "H"


def test_a_retired_widget_leaves_the_viewer_alone(with_ct, viewer, qtbot, fake_segment, phantom):
    """napari deletes the dock; what still runs must not touch it."""
    fake_segment.seconds = 0.3
    with_ct.view.run.click()
    viewer.window.remove_dock_widget(with_ct)
    with_ct.deleteLater()
    qtbot.waitUntil(lambda: fake_segment.closed == 1)
    qtbot.wait(100)
    data, arguments, _ = ct_layer(phantom.volume)
    viewer.add_image(data, **arguments)
    assert [layer.name for layer in viewer.layers] == ["CT phantom", "CT phantom [1]"]


def test_view_bar_follows_keys_and_napari(with_ct, viewer, qtbot):
    press_run(with_ct, qtbot)
    bar = with_ct.view.view_bar
    bar.presets["Mediastinum"].click()
    assert tuple(viewer.layers[0].contrast_limits) == (-160, 240)
    bar.planes["Coronal"].click()
    assert viewer.dims.order == (1, 0, 2)
    viewer.dims.order = (2, 0, 1)
    assert bar.planes["Sagittal"].isChecked()
    assert bar.overlay.text() == "Hide overlay  (H)"
    bar.overlay.click()
    assert not viewer.layers["Lesions"].visible
    assert bar.overlay.text() == "Show overlay  (H)"
    viewer.layers["Lungs"].visible = True
    assert bar.overlay.text() == "Hide overlay  (H)"


def test_it_fits_in_380_pixels_without_sideways_scrolling(
    make_napari_viewer, settings_file, qtbot, fake_segment, phantom
):
    from napari_covseg.plugin.workspace import open_workspace

    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1366, 768)
    open_workspace(viewer)
    dock = viewer.window.dock_widgets["Segment (napari-covseg)"]
    widget = dock if isinstance(dock, SegmentWidget) else dock.widget()
    data, arguments, _ = ct_layer(phantom.volume)
    viewer.add_image(data, **arguments)
    press_run(widget, qtbot)
    qtbot.waitUntil(lambda: widget.view.minimumSizeHint().width() <= 380)
    assert widget.width() <= 400
    inner = widget.view.scroll.widget()
    assert inner.minimumSizeHint().width() <= widget.view.scroll.viewport().width()
    widget.close()


@pytest.mark.parametrize(
    ("value", "text"), [(2301.4, "2301"), (9.96, "10"), (9.94, "9.9"), (0.04, "0.0")]
)
def test_millilitres_have_no_decimals_above_ten(value, text):
    assert format_ml(value) == text


def test_percent_has_one_decimal_and_a_dash_without_lung():
    assert format_percent(12.345) == "12.3"
    assert format_percent(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (8.4, "8 s"), (12, "10 s"), (88, "90 s"), (200, "3 min")]
)
def test_durations_are_as_exact_as_they_are_known(seconds, text):
    assert duration(seconds) == text


def test_the_live_model_of_the_store_in_use_is_offered_and_followed(widget, qtbot, tmp_path):
    from toy_stores import untrained

    from napari_covseg.cases.store import CaseStore
    from napari_covseg.workflows.models import add_model, promote_model

    box, store = widget.view.form["model"], CaseStore.create(tmp_path / "ward", author="RA")

    def offered() -> dict[str, str]:
        qtbot.waitUntil(lambda: not widget.jobs_running())
        return {box.native.itemText(i): box.choices[i] for i in range(box.native.count())}

    widget.desk.store = store.folder
    assert "live model of ward" not in offered()
    model = add_model(store, str(untrained(tmp_path / "base")), author="RA")
    promote_model(store, model, by="RA", why="to start with")
    widget.desk.touched.emit()
    folder = offered()["live model of ward"]
    assert folder == str(store.model_folder(model.sha256))
    box.value = folder
    assert widget.view.form.settings.model == folder
    store.rollback(by="RA", why="back")
    widget.desk.touched.emit()
    assert "live model of ward" not in offered()
    assert widget.view.form.settings.model == "covseg-default"
