"""The Quantify widget in a real viewer: figures, lesions, following the painting, saving."""

import csv
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from doubtful import likely_maps

from napari_covseg.domain.errors import InputError, ModelError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import Lobe, LobeMap
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import write_labels
from napari_covseg.plugin import autosave, preferences
from napari_covseg.plugin import findings as findings_module
from napari_covseg.plugin.layers import ct_layer, label_layers, placement_of
from napari_covseg.plugin.planes import CORONAL
from napari_covseg.plugin.quantify_texts import copied_text, live_cells, ml_text, number_text
from napari_covseg.plugin.reading import reading_of
from napari_covseg.plugin.session import as_segmented, session_of
from napari_covseg.plugin.widgets import quantify as module
from napari_covseg.plugin.widgets.correct import CorrectWidget
from napari_covseg.plugin.widgets.quantify import QuantifyWidget
from napari_covseg.quantify.case import quantify
from napari_covseg.quantify.volumes import measure
from napari_covseg.workflows import lobes as workflow
from napari_covseg.workflows.segment import SegmentResult, write_result

NAMES = "left upper=1,left lower=2,right upper=3,right middle=4,right lower=5"


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(findings_module, "findings_folder", lambda: tmp_path / "findings")
    monkeypatch.setattr(autosave, "drafts_folder", lambda: tmp_path / "drafts")
    monkeypatch.setattr(module, "QUIET_MS", 200)


@pytest.fixture(scope="module")
def truth(phantom):
    return run_to_end(quantify(phantom.labels, phantom.volume))


def open_ct(viewer, phantom, labels=True):
    data, arguments, _ = ct_layer(phantom.volume)
    ct = viewer.add_image(data, **arguments)
    for data, arguments, _ in label_layers(phantom.labels) if labels else ():
        viewer.add_labels(data.copy(), **arguments)
    viewer.layers.selection.active = ct
    return ct


@pytest.fixture
def bare(viewer, qtbot):
    widget = QuantifyWidget(viewer)
    qtbot.addWidget(widget)
    widget.resize(380, 800)
    widget.show()
    return widget


@pytest.fixture
def widget(bare, phantom, qtbot):
    open_ct(bare.session.viewer, phantom)
    qtbot.waitUntil(lambda: bare.result is not None)
    return bare


def measured(widget, qtbot):
    """Wait for what was edited to be measured anew."""
    qtbot.waitUntil(lambda: not widget._outdated() and not widget.jobs_running())


def test_without_ct_or_labels_it_says_what_to_do(bare, phantom, qtbot):
    assert bare.view.empty.isVisible()
    assert not bare.view.pages.isVisible()
    open_ct(bare.session.viewer, phantom, labels=False)
    assert not bare.view.empty.isVisible()
    assert "segment it" in bare.view.nothing.text()
    assert bare.view.nothing.isVisible()


def test_tables_hold_the_truth(widget, truth):
    severity = widget.view.severity
    for name in ("both", "left", "right", "upper_third", "dorsal", "peripheral"):
        part = truth.parts[name]
        assert severity.parts.cell(name, 0) == ml_text(part.lung_ml)
        assert severity.parts.cell(name, 1) == ml_text(part.ggo.ml)
        assert severity.parts.cell(name, 4) == number_text(part.consolidation.percent, 1)
        assert severity.parts.cell(name, 6) == number_text(part.lesions.percent, 1)
    # More disease on the left than on the right, and in the lower third: nothing is turned round.
    assert float(severity.parts.cell("left", 6)) > float(severity.parts.cell("right", 6))
    assert float(severity.parts.cell("lower_third", 6)) > float(
        severity.parts.cell("upper_third", 6)
    )
    assert severity.scores.cell("po", 0) == f"{truth.parts['both'].lesions.percent:.1f} %"
    assert severity.scores.cell("pho", 0) == f"{truth.parts['both'].high_opacity.percent:.1f} %"
    for key, most in (
        ("lung_severity_score", "20"),
        ("lung_high_opacity_score", "20"),
        ("ct_score_25", "25"),
        ("total_severity_score", "20"),
        ("ct_severity_score", "40"),
    ):
        assert severity.scores.cell(key, 0) == f"≈ {truth.scores[key].value}"
        assert severity.scores.cell(key, 1) == most
    assert "approximate" in severity.lobes_from.text()
    assert severity.lobes.cell("left_lower", 6) == number_text(
        truth.lobes["left_lower"].lesions.percent, 1
    )
    density = truth.density["both"]
    assert widget.view.density.table.cell("both", 2) == f"−{-density.perc15_hu}"
    assert widget.view.density.bands.cell("both", 1) == number_text(
        density.bands_percent["inflated"], 1
    )
    assert "labelled are" in widget.view.density.opinion.text()


def test_it_fits_into_its_dock(widget):
    view = widget.view
    for index in range(view.pages.count()):
        view.pages.setCurrentIndex(index)
        assert view.scroll.widget().minimumSizeHint().width() <= view.scroll.viewport().width()
    for row in range(view.severity.parts.rowCount()):
        for column in range(view.severity.parts.columnCount()):
            text = view.severity.parts.item(row, column).text()
            width = view.severity.parts.fontMetrics().horizontalAdvance(text)
            assert width + 6 <= view.severity.parts.columnWidth(column), text


def test_a_click_on_a_lesion_goes_to_it(widget, truth, qtbot):
    reading = reading_of(widget.session.viewer)
    table = widget.view.lesions.table
    assert table.rowCount() == truth.lesions.count
    for number, lesion in enumerate(truth.lesions.listed[:3], start=1):
        table.cellClicked.emit(number - 1, 0)
        z, y, x = reading.voxel
        assert z == lesion.slice_index
        assert widget.session.viewer.dims.current_step[0] == z
        assert widget.source.lesions.data[z, y, x] in (Label.GGO, Label.CONSOLIDATION)
        side = widget.source.lungs.data[z, y, x]
        assert side == (Label.LEFT_LUNG if lesion.side == "left" else Label.RIGHT_LUNG)
        assert table.cell(str(number), 4) == str(z + 1)
        assert table.cell(str(number), 0).lower().startswith(lesion.side)
    assert reading._crosshair.flashing
    qtbot.waitUntil(lambda: not reading._crosshair.flashing)
    reading.viewing.set_plane(CORONAL)
    table.cellClicked.emit(0, 0)
    assert reading.voxel[0] == truth.lesions.listed[0].slice_index
    assert reading.viewing.plane is CORONAL


def test_figures_follow_the_painting_and_are_grey_until_then(widget, qtbot, phantom):
    table, lesions = widget.view.severity.parts, widget.source.lesions
    before = table.cell("left", 5)
    left = np.argwhere((widget.source.lungs.data == Label.LEFT_LUNG) & (lesions.data == 0))[:4000]
    lesions.data_setitem(tuple(left.T), int(Label.CONSOLIDATION))
    assert table.is_stale("dorsal")
    assert table.is_stale("left")
    assert not widget.view.save.isEnabled()
    assert "edited" in widget.view.state.text()
    measured(widget, qtbot)
    assert not table.is_stale("dorsal")
    assert widget.view.save.isEnabled()
    more = 4000 * phantom.volume.geometry.voxel_ml
    assert float(table.cell("left", 5)) == pytest.approx(float(before) + more, abs=1)
    lesions.undo()
    assert table.is_stale("left")
    measured(widget, qtbot)
    assert table.cell("left", 5) == before


def test_volumes_by_side_are_live_beside_correct(viewer, phantom, qtbot):
    correct, widget = CorrectWidget(viewer), QuantifyWidget(viewer)
    for each in (correct, widget):
        qtbot.addWidget(each)
        each.show()
    open_ct(viewer, phantom)
    qtbot.waitUntil(lambda: widget.result is not None and correct.correction.tally is not None)
    widget._quiet.setInterval(10**6)
    table, lesions = widget.view.severity.parts, widget.source.lesions
    before = float(table.cell("right", 5))
    right = np.argwhere((widget.source.lungs.data == Label.RIGHT_LUNG) & (lesions.data == 0))[:4000]
    lesions.data_setitem(tuple(right.T), int(Label.GGO))
    more = 4000 * phantom.volume.geometry.voxel_ml
    qtbot.waitUntil(lambda: abs(float(table.cell("right", 5)) - before - more) <= 1)
    assert not table.is_stale("right")
    assert table.is_stale("dorsal")
    assert "at once" in widget.view.state.text()
    assert not widget._measurer.busy


def test_no_ml_of_an_assumed_voxel_while_painting(truth, phantom):
    side = measure(phantom.labels).left
    cells = live_cells(side, ml_known=True)
    assert cells[0] == ml_text(truth.parts["left"].lung_ml)
    assert cells[6] == number_text(truth.parts["left"].lesions.percent, 1)
    unknown = live_cells(side, ml_known=False)
    assert [unknown[at] for at in (0, 1, 3, 5)] == ["–"] * 4
    assert unknown[6] == cells[6]


def test_painting_while_it_measures_measures_again(widget, qtbot):
    lesions = widget.source.lesions
    widget.measure()
    lesions.data_setitem((np.array([20]), np.array([40]), np.array([60])), int(Label.GGO))
    assert widget._outdated()
    measured(widget, qtbot)
    joined = np.where(lesions.data > 0, lesions.data, widget.source.lungs.data)
    expected = run_to_end(quantify(LabelMap(joined.astype(np.uint8), widget_geometry(widget))))
    assert widget.result.parts["both"].ggo.ml == pytest.approx(expected.parts["both"].ggo.ml)


def widget_geometry(widget):
    return widget.source.ct.metadata["napari_covseg"].geometry


def test_nothing_is_measured_while_nobody_looks(bare, phantom, qtbot):
    bare.hide()
    open_ct(bare.session.viewer, phantom)
    assert not bare._measurer.busy
    bare.show()
    qtbot.waitUntil(lambda: bare.result is not None)


def test_figures_of_other_labels_are_gone_at_once(widget, monkeypatch, errors):
    view = widget.view
    assert view.pages.isVisible()

    def broken(*_):
        raise InputError("labels.nii.gz: no label map")

    monkeypatch.setattr(module, "quantify_steps", broken)
    widget.session.viewer.layers.remove("Lesions")
    for part in (view.pages, view.warnings, view.buttons):
        assert not part.isVisible()


def test_lobes_from_a_file_take_the_place_of_the_approximation(widget, phantom, tmp_path, qtbot):
    labels, lobes = phantom.labels.labels, np.zeros(phantom.labels.labels.shape, np.uint8)
    lungs = np.asarray(widget.source.lungs.data)
    middle = labels.shape[0] // 2
    lobes[:middle][lungs[:middle] == Label.LEFT_LUNG] = Lobe.LEFT_LOWER
    lobes[middle:][lungs[middle:] == Label.LEFT_LUNG] = Lobe.LEFT_UPPER
    third = labels.shape[0] // 3
    for start, stop, lobe in (
        (0, third, Lobe.RIGHT_LOWER),
        (third, 2 * third, Lobe.RIGHT_MIDDLE),
        (2 * third, None, Lobe.RIGHT_UPPER),
    ):
        lobes[start:stop][lungs[start:stop] == Label.RIGHT_LUNG] = lobe
    path = write_labels(LabelMap(lobes, phantom.labels.geometry), tmp_path / "lobes.nii.gz")
    widget.files.read_lobes(path, NAMES)
    qtbot.waitUntil(lambda: widget.result is not None and widget.result.lobes_from == "map")
    severity = widget.view.severity
    assert severity.lobes_from.text() == "Lobes: from the lobe map (lobes.nii.gz)."
    upper = int((lobes == Lobe.LEFT_UPPER).sum()) * phantom.volume.geometry.voxel_ml
    assert severity.lobes.cell("left_upper", 0) == ml_text(upper)
    assert not severity.scores.cell("ct_score_25", 0).startswith("≈")
    assert severity.scores.cell("ct_severity_score", 0).startswith("≈")


def test_lobes_by_lungmask_and_back(widget, qtbot, monkeypatch):
    lungs = np.asarray(widget.source.lungs.data)
    halves = np.where(np.arange(len(lungs))[:, None, None] < len(lungs) // 2, 2, 1)
    found = np.where(lungs == Label.LEFT_LUNG, halves, 0) + 5 * (lungs == Label.RIGHT_LUNG)

    def network_lobes(volume, choice, device="auto"):
        yield Progress(1, 4, "finding lobes")
        return LobeMap(found.astype(np.uint8), volume.geometry, source="lungmask-LTRCLobes")

    monkeypatch.setattr(workflow, "network_lobes", network_lobes)
    severity = widget.view.severity
    widget.files.find_lobes()
    assert (severity.load_lobes.text(), severity.load_lobes.menu()) == ("Stop", None)
    qtbot.waitUntil(lambda: widget.result is not None and widget.result.lobes_from == "map")
    assert severity.lobes_from.text() == "Lobes: from the lobe map (lungmask-LTRCLobes)."
    assert severity.lobes.cell("right_lower", 0) == severity.parts.cell("right", 0)
    assert severity.load_lobes.text() == "Lobes from"
    widget.files.approximate_lobes()
    qtbot.waitUntil(lambda: widget.result.lobes_from == "approximate")
    assert widget.session.lobes.get(widget.source.ct) is None


def test_where_lobes_come_from_is_of_what_is_shown(widget, qtbot, monkeypatch, errors):
    go = threading.Event()

    def network_lobes(volume, choice, device="auto"):
        yield Progress(1, 4, "finding lobes")
        go.wait(30)
        raise ModelError("lungmask failed")

    monkeypatch.setattr(workflow, "network_lobes", network_lobes)
    widget.files.find_lobes()
    shown = replace(widget.result, lobes_from="map", lobes_source="lobes.nii.gz")
    widget.files.take(widget.source.ct, shown)
    go.set()
    qtbot.waitUntil(lambda: not widget.files.busy)
    said = widget.view.severity.lobes_from
    assert said.text() == "Lobes: from the lobe map (lobes.nii.gz)."


def test_lungmask_without_its_weights_says_what_to_get(widget, tmp_path, qtbot, errors):
    pytest.importorskip("lungmask")
    preferences.save_text("lobes/weights", str(tmp_path))
    widget.files.find_lobes()
    qtbot.waitUntil(lambda: not widget.files.busy)
    assert any("unet_ltrclobes-3a07043d.pth" in text for text in errors("error"))
    assert widget.view.severity.load_lobes.text() == "Lobes from"
    assert widget.result.lobes_from == "approximate"


def test_lobes_that_do_not_fit_are_refused(widget, phantom, tmp_path, qtbot, errors):
    from napari_covseg.domain.geometry import Geometry

    small = Geometry.from_spacing((5, 6, 7), (1.0, 1.0, 1.0))
    path = write_labels(LabelMap(np.ones((5, 6, 7), np.uint8), small), tmp_path / "x.nii.gz")
    widget.files.read_lobes(path, NAMES)
    qtbot.waitUntil(lambda: not widget.jobs_running())
    assert any("another grid" in text for text in errors("error"))
    assert widget.result.lobes_from == "approximate"


def test_a_readers_scores_are_held_against_ours_and_kept(widget, truth, qtbot):
    page = widget.view.reader
    ours = truth.scores["ct_score_25"].parts
    for name, points in ours.items():
        page.boxes[name].setCurrentIndex(points + 1)
    total = sum(ours.values())
    assert page.agreement.text().startswith(f"Yours {total}, measured {total} of 25.")
    page.boxes["left_lower"].setCurrentIndex(1)
    assert f"Yours {total - ours['left_lower']}, measured {total}" in page.agreement.text()
    kept = widget.study.reader(widget.source.ct)["ct_score_25"]
    assert kept == {**ours, "left_lower": 0}
    page.kind.setCurrentIndex(2)
    assert len(page.boxes) == 20
    page.kind.setCurrentIndex(0)
    assert page.boxes["left_lower"].currentText() == "0"
    page.clear.click()
    assert "Choose your points" in page.agreement.text()
    assert widget.study.reader(widget.source.ct)["ct_score_25"] == {}


def test_copy_and_save(widget, truth, tmp_path, qtbot):
    from qtpy.QtGui import QGuiApplication

    widget.view.copy.click()
    text = QGuiApplication.clipboard().text()
    assert text == copied_text(widget.result)
    rows = [line.split("\t") for line in text.splitlines()]
    left = next(row for row in rows if row[0] == "Left" and len(row) == 8)
    assert left[1] == ml_text(truth.parts["left"].lung_ml)
    widget.files.save_to(tmp_path / "a.csv")
    qtbot.waitUntil(lambda: (tmp_path / "a.csv").exists() and not widget.jobs_running())
    with (tmp_path / "a.csv").open(encoding="utf-8") as file:
        found = {(row["name"], row["figure"], row["unit"]): row for row in csv.DictReader(file)}
    assert float(found["left", "lung", "ml"]["value"]) == pytest.approx(truth.parts["left"].lung_ml)
    widget.files.save_to(tmp_path / "b.json")
    qtbot.waitUntil(lambda: (tmp_path / "b.json").exists() and not widget.jobs_running())
    held = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert held["parts"]["left"]["lesions"]["percent"] == pytest.approx(
        truth.parts["left"].lesions.percent
    )


def test_what_is_wrong_stands_on_top_and_nothing_is_made_up(bare, phantom, qtbot):
    viewer = bare.session.viewer
    ct = open_ct(viewer, phantom)
    lungs, lesions = viewer.layers["Lungs"], viewer.layers["Lesions"]
    gone = lungs.data == Label.LEFT_LUNG
    lesions.data[gone] = 0
    lungs.data[gone] = 0
    assert ct is bare.ct.value
    bare.measure()
    qtbot.waitUntil(lambda: bare.result is not None and "left" not in bare.result.parts)
    assert "⚠ No left lung was found" in bare.view.warnings.text()
    scores = bare.view.severity.scores
    assert scores.cell("ct_score_25", 0) == "–"
    assert not bare.view.severity.lobes.isVisible()


def test_it_lets_go(widget):
    widget.session.viewer.layers.clear()
    assert widget.source is None
    assert widget.view.empty.isVisible()
    widget.close()
    assert not widget.jobs_running()


def segmented(viewer, phantom):
    """The phantom with a result of which the model was half sure."""
    data, arguments, _ = ct_layer(phantom.volume)
    ct = viewer.add_image(data, **arguments)
    result = SegmentResult(phantom.labels, measure(phantom.labels), (), {})
    result = replace(result, likely=likely_maps(phantom.labels.labels))
    return session_of(viewer).show(ct, as_segmented(result))


def test_likely_ranges_follow_the_painting(bare, phantom, qtbot):
    viewer = bare.session.viewer
    case = segmented(viewer, phantom)
    qtbot.waitUntil(lambda: bare.result is not None)
    page = bare.view.severity
    assert page.ranges.isVisibleTo(bare)
    assert "4 times in 5" in page.ranges_about.text()
    assert page.ranges.cell("right", 2).startswith("0.0 to ")
    assert page.ranges.cell("left", 2) == "0.0 to 100.0"
    assert page.scores.cell("po", 2).startswith("0.0 to ")
    assert "Likely range" in copied_text(bare.result)
    before = bare.result.parts["left"].lesions
    # All of the left lung is a lesion now, by hand: nothing there is in doubt but what was one.
    sick = case.lesions.data.copy()
    sick[(case.lungs.data == Label.LEFT_LUNG) & (sick == 0)] = Label.GGO
    case.lesions.data = sick
    measured(bare, qtbot)
    after = bare.result.parts["left"].lesions
    assert after.percent == after.percent_range[1] == 100.0
    assert after.percent_range[0] == pytest.approx(100.0 - before.percent)


def test_reviewed_slices_are_in_doubt_no_more(bare, phantom, qtbot):
    viewer = bare.session.viewer
    segmented(viewer, phantom)
    qtbot.waitUntil(lambda: bare.result is not None)
    correct = CorrectWidget(viewer)
    qtbot.addWidget(correct)
    correct.show()
    qtbot.waitUntil(lambda: bare.desk.correction is not None)
    bare.measure()
    qtbot.waitUntil(lambda: not bare.jobs_running())
    marks = bare.desk.correction.slices
    marks.take_reviewed(np.ones_like(marks.reviewed))
    measured(bare, qtbot)
    part = bare.result.parts["both"]
    assert part.lesions.percent_range == pytest.approx((part.lesions.percent,) * 2)
    score = bare.result.scores["ct_score_25"]
    assert score.value_range == (score.value, score.value)


def test_without_a_model_nothing_is_said_of_ranges(widget):
    page = widget.view.severity
    assert not page.ranges.isVisibleTo(widget)
    assert page.ranges_about.text() == ""
    assert page.scores.isColumnHidden(2)
    assert copied_text(widget.result).count("ikely") == 1  # the empty column


def test_ranges_come_back_with_a_saved_label_map(bare, phantom, tmp_path, qtbot):
    viewer = bare.session.viewer
    case = segmented(viewer, phantom)
    qtbot.waitUntil(lambda: bare.result is not None)
    told = bare.result.parts["both"].lesions.percent_range
    labels = write_result(case.shown.result, tmp_path, "scan").labels_path
    viewer.layers.clear()
    open_ct(viewer, phantom, labels=False)
    steps = findings_module.labels_steps(labels, placement_of(viewer.layers[0]))
    for data, arguments, _ in run_to_end(steps):
        viewer.add_labels(data, **arguments)
    qtbot.waitUntil(lambda: bare.result is not None)
    assert bare.result.parts["both"].lesions.percent_range == told


def test_lobes_that_come_while_nobody_looks_are_measured_when_one_does(widget, phantom, qtbot):
    widget.hide()
    halves = np.where(np.asarray(widget.source.lungs.data) == Label.LEFT_LUNG, 2, 5)
    lobes = halves * (phantom.labels.labels > 0)
    found = LobeMap(lobes.astype(np.uint8), phantom.volume.geometry)
    widget._on_lobes(widget.source.ct, found)
    assert widget.result.lobes_from == "approximate"
    widget.show()
    qtbot.waitUntil(lambda: widget.result.lobes_from == "map")
