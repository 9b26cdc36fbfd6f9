"""The Classify panel: answers, doubt, heat maps in their place, folders."""

import csv
import os
import threading
from dataclasses import replace

import numpy as np
import pytest

if not os.environ.get("DISPLAY") and not os.environ.get("QT_QPA_PLATFORM"):
    pytest.skip("needs a display: run under xvfb-run", allow_module_level=True)

from PIL import Image

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.progress import Progress
from napari_covseg.domain.volume import CTVolume
from napari_covseg.plugin import classify_texts as texts
from napari_covseg.plugin.classifying import HEAT_MARK, bring_forward, grey_of
from napari_covseg.plugin.classifying_folder import FileRow, Order, write_rows
from napari_covseg.plugin.layers import ct_layer
from napari_covseg.plugin.napari_versions import camera_of
from napari_covseg.plugin.planes import AXIAL, CORONAL
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.widgets import classify as classify_widget
from napari_covseg.plugin.widgets import errors as errors_shown
from napari_covseg.plugin.widgets import model_panel
from napari_covseg.plugin.widgets.classify import SHIPPED, ClassifyWidget


def answer(source, doubtful=False, similar=True):
    """Heat in the picture's first corner; of a CT in its slice 14."""
    from napari_covseg.workflows.classify import Classification, SimilarCase, SliceAnswer

    is_ct = isinstance(source, CTVolume)
    shape = source.hu.shape[1:] if is_ct else source.grey.shape
    heat = np.zeros(shape, np.float32)
    heat[0, 0] = 1
    chances = (0.55, 0.45) if doubtful else (0.1, 0.9)
    entropy = -sum(p * np.log(p) for p in chances)
    slices = tuple(SliceAnswer(z, chances, entropy) for z in (13, 14)) if is_ct else ()
    near = (SimilarCase("somebody/secret_007.jpg", "ill", 0.31),) if similar else ()
    about = {"device": {"title": "CPU"}}
    limit, shown = 0.64, 14 if is_ct else None
    told = (chances, (0.05, 0.05), float(entropy), limit, doubtful, near, shown, heat, heat)
    return Classification(("ill", "well"), *told, slices, ("one warning",), about)


class Eye:
    """A classifier's name and card."""

    def __init__(self):
        self.name, self.version = "eye", "1"
        self.card = {
            "name": "eye",
            "version": "1",
            "training": {"classifier": "knn", "pictures": {"ill": 3, "well": 4}},
            "figures": [{"classifier": "knn", "pictures": 5, "of_ensemble": {"auc": 0.81}}],
        }


@pytest.fixture
def asked(monkeypatch):
    """Answers at once; a bright picture is one of doubt.

    After ``held_from`` answers ``gate`` is waited for, if it is cleared.
    """
    from napari_covseg.workflows import classify as workflow

    class Asked(list):
        gate, held_from, similar = threading.Event(), 0, True

    found = Asked()
    found.gate.set()

    def classify(source, settings, classifier):
        found.append(settings)
        yield Progress(0, 2, "classifying slice 1")
        if len(found) > found.held_from:
            found.gate.wait(20)
        yield Progress(1, 2, "classifying slice 2")
        doubtful = not isinstance(source, CTVolume) and bool(source.grey.mean() > 0.5)
        return answer(source, doubtful, found.similar)

    monkeypatch.setattr(workflow, "classify", classify)
    monkeypatch.setattr(workflow, "load_classifier", lambda settings: Eye())
    return found


@pytest.fixture
def told(monkeypatch):
    """Errors that were shown."""
    found = []
    monkeypatch.setattr(errors_shown, "show_error", found.append)
    return found


@pytest.fixture
def widget(viewer):
    made = ClassifyWidget(viewer)
    viewer.window.add_dock_widget(made)
    return made


@pytest.fixture
def ct(viewer, phantom):
    data, arguments, _ = ct_layer(phantom.volume)
    return viewer.add_image(data, **arguments)


@pytest.fixture
def folder(tmp_path):
    """A dark and a bright picture, the latter named as a formula, and text called .png."""
    made = tmp_path / "pictures"
    made.mkdir()
    for name, grey in (("dark.png", 20), ("=bright.png", 220)):
        picture = np.full((24, 32), grey, np.uint8)
        picture[:4] = 0
        Image.fromarray(picture).save(made / name)
    (made / "note.png").write_text("no picture")
    return made


def settle(widget, qtbot):
    # The shipped classifier is read from disk: that takes its time on a busy machine.
    qtbot.waitUntil(lambda: not widget.jobs_running(), timeout=60_000)


def run(widget, qtbot):
    widget.start()
    settle(widget, qtbot)


def heats(viewer):
    return [layer for layer in viewer.layers if HEAT_MARK in layer.metadata]


def test_a_ct_gets_class_bars_words_and_its_heat_map_in_place(widget, ct, viewer, qtbot, asked):
    assert widget.view.run.text() == "Classify CT"
    run(widget, qtbot)
    view = widget.view.result
    assert "<b>well</b> 90 %" in view.headline.text()
    assert [(name, chance) for name, chance, _ in view.bars.rows] == [("well", 0.9), ("ill", 0.1)]
    assert view.unsure.isHidden()
    assert "one warning" in view.words.text()
    assert "Mean over 2 slices" in view.words.text()
    (heat,) = heats(viewer)
    np.testing.assert_allclose(heat.data_to_world((0, 0, 0)), ct.data_to_world((14, 0, 0)))
    np.testing.assert_allclose(heat.data_to_world((0, 9, 5)), ct.data_to_world((14, 9, 5)))
    assert heat.get_value(ct.data_to_world((14, 0, 0)), world=True) == 1
    assert heat.get_value(ct.data_to_world((14, 9, 5)), world=True) == 0
    assert viewer.dims.current_step[0] == 14
    assert viewer.layers.selection.active is ct
    run(widget, qtbot)
    assert len(heats(viewer)) == 1, "a second answer takes the first one's place"
    said = session_of(viewer).classified_of(ct)
    assert said is not None
    assert said.result.label == "well", "the Report panel can tell it"
    viewer.layers.remove(ct)
    assert not heats(viewer)
    assert widget.view.result.isHidden()


def test_similar_cases_are_class_and_distance_never_names(widget, ct, qtbot, asked):
    run(widget, qtbot)
    view = widget.view.result
    table = view.similar_table
    assert [table.cell("1", column) for column in (0, 1)] == ["ill", "0.31"]
    assert "secret" not in view.similar_words.text() + table.item(0, 0).toolTip()
    assert "AUC 0.81" in view.about_words.text()
    asked.similar = False
    run(widget, qtbot)
    assert view.similar_table.isHidden()
    assert view.similar_words.text() == texts.NO_SIMILAR


def test_a_picture_placed_anywhere_gets_its_heat_map_there(widget, ct, viewer, qtbot, asked):
    bright = np.full((24, 32, 3), 230, np.uint8)
    layer = viewer.add_image(bright, rgb=True, scale=(0.5, 2.0), translate=(7, -3), name="X-ray")
    assert widget.view.run.text() == "Classify picture"
    assert ct.visible, "a layer that comes hides nothing"
    run(widget, qtbot)
    (heat,) = heats(viewer)
    np.testing.assert_allclose(heat.data_to_world((0, 0)), (7, -3))
    np.testing.assert_allclose(heat.data_to_world((23, 31)), layer.data_to_world((23, 31)))
    assert heat.data.shape == (24, 32)
    assert heat.data[0, 0] == 1
    assert not ct.visible
    assert widget.view.result.unsure.text() == "Unsure: ask a second reader"
    assert not widget.view.result.unsure.isHidden()
    assert widget.view.result.go.isHidden()


def test_a_folder_is_a_table_by_doubt_and_a_safe_csv(
    widget, viewer, qtbot, asked, folder, tmp_path
):
    widget.take_folder(folder)
    assert widget.view.run.text() == "Classify folder pictures"
    run(widget, qtbot)
    table = widget.view.rows.table
    rows = [[table.cell(str(row), column) for column in range(4)] for row in range(3)]
    assert rows == [
        ["=bright.png", "ill", "55", "unsure"],
        ["dark.png", "well", "90", ""],
        ["note.png", "not read", "–", "–"],
    ]
    assert "3 files" in widget.view.rows.words.text()
    assert "1 could not be read" in widget.view.rows.words.text()
    assert not heats(viewer)
    assert not any(settings.explain for settings in asked), "heat maps that nobody sees"
    widget.save_to(tmp_path / "said.csv")
    with (tmp_path / "said.csv").open(newline="") as file:
        said = list(csv.DictReader(file))
    assert [row["file"] for row in said] == ["'=bright.png", "dark.png", "note.png"]
    assert said[1]["probability_well"] == "0.9000"
    assert "holds text" in said[2]["error"]
    widget.open_row("0")
    qtbot.waitUntil(lambda: not widget.jobs_running() and bool(heats(viewer)))
    assert viewer.layers[0].name == "=bright"
    assert not widget.view.rows.isHidden(), "the table stays beside a file that it led to"


def test_one_row_after_the_other_is_opened_in_the_same_place(widget, viewer, qtbot, asked, folder):
    widget.take_folder(folder)
    run(widget, qtbot)
    for row, name in (("0", "=bright"), ("1", "dark"), ("0", "=bright")):
        widget.open_row(row)
        qtbot.waitUntil(lambda: not widget.jobs_running() and bool(heats(viewer)))
        assert [layer.name for layer in viewer.layers if layer not in heats(viewer)] == [name]
        assert len(heats(viewer)) == 1
    widget.open_row("2")
    assert not widget.jobs_running(), "what could not be read cannot be opened"


def test_columns_sort_and_what_was_not_read_stays_last(widget, qtbot, asked, folder, tmp_path):
    widget.take_folder(folder)
    run(widget, qtbot)
    table = widget.view.rows.table

    def names():
        return [table.cell(str(row), 0) for row in range(3)]

    header = table.horizontalHeader()
    header.sectionClicked.emit(2)
    assert names() == ["dark.png", "=bright.png", "note.png"]
    assert "doubtful first" not in widget.view.rows.words.text()
    header.sectionClicked.emit(2)
    assert names() == ["=bright.png", "dark.png", "note.png"]
    header.sectionClicked.emit(1)
    assert names() == ["=bright.png", "dark.png", "note.png"], "ill comes before well"
    header.sectionClicked.emit(1)
    assert names() == ["dark.png", "=bright.png", "note.png"]
    widget.save_to(tmp_path / "said.csv")
    with (tmp_path / "said.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["file"] == "dark.png"


def test_cancel_keeps_what_was_classified(widget, qtbot, asked, folder, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(model_panel, "show_info", said.append)
    monkeypatch.setattr(classify_widget, "_LIST_EVERY_S", 0)
    asked.gate.clear()
    asked.held_from = 1
    widget.take_folder(folder)
    widget.start()
    qtbot.waitUntil(lambda: len(asked) == 2)
    rows = widget.view.rows
    qtbot.waitUntil(lambda: not rows.isHidden())
    assert "1 file so far" in rows.words.text(), "rows are listed while others come"
    assert not rows.save.isEnabled()
    assert widget.view.run.isHidden()
    widget.cancel()
    asked.gate.set()
    settle(widget, qtbot)
    assert len(asked) == 2, "the third file was not begun"
    assert not widget.view.run.isHidden()
    assert said == ["Cancelled: what was classified is listed."]
    assert rows.table.rowCount() == 1
    first = rows.table.cell("0", 0)
    assert rows.words.text().startswith("1 file, ")
    widget.save_to(tmp_path / "said.csv")
    with (tmp_path / "said.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["file"].lstrip("'") == first
    assert row["label"] in ("ill", "well")


def test_cancel_before_the_first_answer_lists_nothing(widget, qtbot, asked, folder):
    asked.gate.clear()
    widget.take_folder(folder)
    widget.start()
    qtbot.waitUntil(lambda: len(asked) == 1)
    widget.cancel()
    asked.gate.set()
    settle(widget, qtbot)
    assert len(asked) == 1
    assert widget.view.rows.isHidden()


def test_wrong_input_is_one_line_and_the_button_is_back(widget, qtbot, asked, folder, told, viewer):
    widget.open(folder / "note.png")
    settle(widget, qtbot)
    assert len(told) == 1
    assert "note.png: holds text" in told[0]
    viewer.add_image(np.zeros((4, 4), np.uint8), name="tiny")
    widget.start()
    assert "layer 'tiny': 4 x 4 pixels are too few" in told[1]
    assert not asked
    assert not widget.view.run.isHidden()


def test_empty_says_what_to_do(widget):
    assert not widget.view.run.isEnabled()
    assert not widget.view.empty.isHidden()
    assert widget.view.model.currentData() == SHIPPED
    assert "axial CT slices only" in widget.view.shipped.text()
    assert widget.minimumSizeHint().width() <= 380


def test_a_model_of_ones_own_is_remembered(widget, viewer, tmp_path):
    (tmp_path / "mine").mkdir()
    widget.take_model(tmp_path / "mine")
    again = ClassifyWidget(viewer)
    assert again.settings.model == str(tmp_path / "mine")
    assert again.view.shipped.isHidden()
    again.view.model.setCurrentIndex(0)
    assert again.settings.model == SHIPPED
    (tmp_path / "mine").rmdir()
    assert ClassifyWidget(viewer).view.model.count() == 1
    again.close()


@pytest.mark.parametrize(
    ("data", "rgb", "expected"),
    [
        (np.array([[0, 51], [102, 255]], np.uint8), False, [[0, 0.2], [0.4, 1]]),
        (np.array([[0, 1023]], np.uint16), False, [[0, 1]]),
        (np.array([[0.25, 0.5]], np.float32), False, [[0.25, 0.5]]),
        (np.array([[[255, 0, 0], [255, 255, 255]]], np.uint8), True, [[0.299, 1]]),
        (np.array([[[255, 255, 255, 0]]], np.uint8), True, [[0]]),
    ],
)
def test_grey_of_layers_is_that_of_files(data, rgb, expected):
    grey, warnings = grey_of(data, rgb, (0, 1))
    np.testing.assert_allclose(grey, expected, atol=1e-6)
    assert warnings == ()


def test_other_values_are_taken_as_shown_and_it_is_said():
    grey, warnings = grey_of(np.array([[-1350, -600, 150, 900]], np.int16), False, (-1350, 150))
    np.testing.assert_allclose(grey, [[0, 0.5, 1, 1]])
    assert "contrast limits, -1350 to 150" in warnings[0]


def test_unsure_without_much_entropy_comes_before_more_entropy_that_is_not(tmp_path):
    def row(name, entropy, unsure):
        return FileRow(name, tmp_path, ("a", "b"), (0.9, 0.1), entropy, unsure)

    rows = [row("sure", 0.1, False), row("some", 0.5, False), row("far", 0.2, True)]
    rows.insert(0, FileRow("broken", tmp_path, error="no"))
    assert [one.name for one in Order().of(rows)] == ["far", "some", "sure", "broken"]
    with pytest.raises(InputError):
        write_rows(rows, tmp_path / "absent" / "x.csv")


def test_the_shipped_classifier_answers_for_a_ct(widget, viewer, qtbot, phantom):
    v = phantom.volume
    two = replace(v, hu=v.hu[16:18], geometry=replace(v.geometry, shape=(2, *v.hu.shape[1:])))
    data, arguments, _ = ct_layer(two)
    viewer.add_image(data, **arguments)
    run(widget, qtbot)
    (shown,) = widget._shown
    assert shown.classified.result.classes == ("covid", "noncovid")
    assert sum(shown.classified.result.probabilities) == pytest.approx(1)
    assert shown.heat is not None
    assert shown.heat.data.shape == (1, *v.hu.shape[1:])
    assert 0.5 < shown.heat.data.max() <= 1
    assert len(shown.classified.result.similar) == 5
    assert "421 pictures" in widget.view.result.about_words.text()


def test_a_picture_beside_a_ct_stands_upright_and_leaves_the_ct_its_slices(widget, viewer, phantom):
    data, arguments, _ = ct_layer(phantom.volume)
    ct = viewer.add_image(data, **arguments)
    steps = [one.step for one in viewer.dims.range]
    widget.viewing.set_plane(CORONAL)
    grey = np.zeros((30, 50), np.float32)
    picture = widget._on_opened((grey, {"name": "X-ray"}, "image"))
    assert (ct.visible, picture.visible) == (False, True)
    assert widget.viewing.plane is AXIAL
    assert [one.step for one in viewer.dims.range] == steps
    assert [str(unit) for unit in viewer.layers.extent.units] == ["millimeter"] * 3
    middle, own = camera_of(viewer).center[-2:], picture.extent.world
    assert np.allclose(middle, own.mean(axis=0))
    assert np.allclose(middle, ct.extent.world.mean(axis=0)[1:], atol=ct.scale[1])
    bring_forward(viewer, ct)
    assert (ct.visible, picture.visible) == (True, False)
    zoom = camera_of(viewer).zoom = 9.0
    bring_forward(viewer, ct)
    assert camera_of(viewer).zoom == zoom, "it was seen already: the view stays"
