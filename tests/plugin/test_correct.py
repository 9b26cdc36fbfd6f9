"""The Correct widget, driven in a real viewer."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from qtpy.QtWidgets import QMessageBox
from scipy import ndimage

from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.editing.tally import count
from napari_covseg.io import read_labels
from napari_covseg.plugin import autosave
from napari_covseg.plugin.layers import ct_layer, label_layers
from napari_covseg.plugin.live_volumes import measurements_of
from napari_covseg.plugin.planes import CORONAL
from napari_covseg.plugin.widgets.correct import CorrectWidget
from napari_covseg.plugin.widgets.results_table import cells
from napari_covseg.quantify.volumes import measure

GGO, CONSOLIDATION = int(Label.GGO), int(Label.CONSOLIDATION)


@pytest.fixture
def drafts(tmp_path, monkeypatch):
    folder = tmp_path / "drafts"
    monkeypatch.setattr(autosave, "drafts_folder", lambda: folder)
    return folder


@pytest.fixture
def make_widget(viewer, qtbot, drafts):
    made = []

    def make():
        widget = CorrectWidget(viewer)
        viewer.window.add_dock_widget(widget, name=f"Correct {len(made)}", area="right")
        widget.activate()
        made.append(widget)
        return widget

    yield make
    for widget in made:
        widget.retire()


def open_ct(viewer, phantom, labels=True):
    data, arguments, _ = ct_layer(phantom.volume)
    ct = viewer.add_image(data, **arguments)
    if labels:
        for data, arguments, _ in label_layers(phantom.labels):
            viewer.add_labels(data.copy(), **arguments)
    return ct


@pytest.fixture
def widget(make_widget, viewer, phantom, qtbot):
    open_ct(viewer, phantom)
    widget = make_widget()
    qtbot.waitUntil(lambda: widget.view.table.item(0, 0) is not None)
    return widget


@pytest.fixture
def lesions(widget, viewer):
    return viewer.layers["Lesions"]


@pytest.fixture
def ggo_voxel(phantom):
    """A voxel within GGO, in the slice with most of it."""
    labels = phantom.labels.labels
    z = int((labels == GGO).sum(axis=(1, 2)).argmax())
    inner = ndimage.binary_erosion(labels[z] == GGO)
    y, x = np.argwhere(inner)[inner.sum() // 2]
    return z, int(y), int(x)


def event(kind, **kwargs):
    defaults = {
        "type": kind, "pos": (100, 100), "button": 1, "modifiers": (), "handled": False,
        "position": (0.0, 0.0, 0.0), "is_dragging": kind == "mouse_move",
        "dims_displayed": (1, 2), "view_direction": None, "camera_zoom": 1.0,
    }  # fmt: skip
    return ReadOnlyWrapper(SimpleNamespace(**{**defaults, **kwargs}), exceptions=("handled",))


def world(layer, voxel):
    return tuple(float(v) for v in layer.data_to_world(voxel))


def drag(target, layer, voxels, step_px=10):
    """Press at the first voxel, move over the others, release at the last."""
    at = [{"position": world(layer, v), "pos": (step_px * i, 0)} for i, v in enumerate(voxels)]
    mouse_press_callbacks(target, event("mouse_press", **at[0]))
    for place in at[1:]:
        mouse_move_callbacks(target, event("mouse_move", **place))
    mouse_release_callbacks(target, event("mouse_release", **at[-1]))


def click(viewer, layer, voxel):
    drag(viewer, layer, [voxel])


def press(viewer, key):
    viewer.keymap[next(k for k in viewer.keymap if str(k) == key)](viewer)


def press_at(viewer, layer, voxel, key):
    viewer.dims.set_point(0, world(layer, voxel)[0])
    viewer.cursor.position = world(layer, voxel)
    press(viewer, key.replace("-", "+"))


def table_texts(widget):
    table = widget.view.table
    return {
        table.verticalHeaderItem(row).text(): tuple(
            table.item(row, column).text() for column in range(table.columnCount())
        )
        for row in range(table.rowCount())
    }


def counted_anew(widget):
    correction = widget.correction
    return run_to_end(count(correction.lungs.data, correction.lesions.data))


def lung_voxel(phantom, z):
    """A voxel of healthy lung with healthy lung around it."""
    inner = ndimage.binary_erosion(phantom.labels.labels[z] == Label.RIGHT_LUNG, iterations=4)
    y, x = np.argwhere(inner)[inner.sum() // 2]
    return z, int(y), int(x)


# What is corrected


def test_without_labels_it_says_what_to_do_and_empty_ones_can_be_drawn(
    make_widget, viewer, phantom
):
    widget = make_widget()
    assert not widget.view.save.isEnabled()
    assert "Open a CT" in widget.view.empty.text()
    open_ct(viewer, phantom, labels=False)
    assert "no labels yet" in widget.view.empty.text()
    widget.view.start.click()
    assert [layer.name for layer in viewer.layers] == ["CT phantom", "Lungs", "Lesions"]
    assert widget.view.save.isEnabled()
    lesions = viewer.layers["Lesions"]
    lesions.brush_size = 5
    widget.tools.choose_mode("brush")
    drag(lesions, lesions, [(20, 5, 5)])
    assert lesions.data[20, 5, 5] == GGO  # no lung was drawn, so nothing is limited to it


def test_volumes_are_those_of_measuring(widget, phantom):
    expected = measure(phantom.labels)
    assert table_texts(widget) == {title: cells(side) for title, side in expected.rows}


def test_a_new_pair_of_layers_is_corrected_instead(widget, viewer, phantom):
    first = widget.correction
    viewer.layers.remove(viewer.layers["Lesions"])
    assert widget.correction is not first
    assert widget.correction.lesions is None
    assert not widget.view.palette_.buttons[GGO].isEnabled()
    for data, arguments, _ in label_layers(phantom.labels):
        viewer.add_labels(data, **arguments)
    assert widget.correction.lesions is viewer.layers[-1]
    assert "paint" not in vars(first.lesions)
    viewer.layers.clear()
    assert widget.correction is None
    assert "Open a CT" in widget.view.empty.text()


# Painting


def test_the_brush_keeps_to_lung_range_and_locks_and_follows_the_volumes(
    widget, viewer, lesions, phantom, qtbot
):
    before = table_texts(widget)
    z, y, x = lung_voxel(phantom, 20)
    view = widget.view
    view.tools.ranged.setChecked(True)
    view.tools.low.setValue(-1000)
    view.tools.high.setValue(-500)
    view.palette_.locks[GGO].setChecked(True)
    press(viewer, "W")
    widget.tools.choose_mode("brush")
    assert lesions.mode == "paint"
    lesions.brush_size = 60
    held = lesions.data.copy()
    drag(lesions, lesions, [(z, y, x), (z, y + 3, x), (z, y + 6, x)])
    painted = lesions.data != held
    assert painted.any()
    assert (lesions.data[painted] == CONSOLIDATION).all()
    assert (viewer.layers["Lungs"].data[painted] > 0).all()
    hu = phantom.volume.hu[painted]
    assert hu.min() >= -1000
    assert hu.max() <= -500
    assert ((held == GGO) == (lesions.data == GGO)).all()
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)
    qtbot.waitUntil(lambda: table_texts(widget) != before)
    voxel_ml = phantom.volume.geometry.voxel_ml
    expected = measurements_of(counted_anew(widget), voxel_ml)
    assert table_texts(widget) == {title: cells(side) for title, side in expected.rows}


def test_volumes_follow_within_a_stroke(widget, lesions, phantom):
    voxel = lung_voxel(phantom, 20)
    widget.tools.choose_mode("brush")
    before = widget.correction.tally.pairs.copy()
    mouse_press_callbacks(lesions, event("mouse_press", position=world(lesions, voxel)))
    during = widget.correction.tally.pairs.copy()
    assert (during != before).any()
    mouse_release_callbacks(lesions, event("mouse_release", position=world(lesions, voxel)))
    np.testing.assert_array_equal(widget.correction.tally.pairs, during)
    np.testing.assert_array_equal(during, counted_anew(widget).pairs)


def test_the_brush_is_naparis(make_widget, viewer, phantom):
    """Without limits the same voxels, in each plane, at the edges, in 2D and 3D."""
    from napari.layers import Labels

    open_ct(viewer, phantom)
    widget = make_widget()
    widget.view.tools.inside.setChecked(False)
    ours = widget.correction.lesions
    ours.data[:] = 0
    for order in ((0, 1, 2), (1, 0, 2)):
        viewer.dims.order = order
        theirs = Labels(np.zeros_like(ours.data), scale=ours.scale, translate=ours.translate)
        viewer.add_layer(theirs)
        for dimensions in (2, 3):
            for size, voxel in ((1, (20, 40, 40)), (7, (0, 0, 0)), (10, (39, 95, 50))):
                for layer in (ours, theirs):
                    layer.n_edit_dimensions, layer.brush_size = dimensions, size
                    layer.paint(voxel, GGO)
                np.testing.assert_array_equal(ours.data, theirs.data)
        assert theirs.data.any()
        ours.data[:] = 0
        viewer.layers.remove(theirs)


def test_bucket_eraser_and_polygon_keep_to_the_limits_too(widget, viewer, lesions, phantom):
    lungs = viewer.layers["Lungs"].data
    z, y, x = lung_voxel(phantom, 20)
    held = lesions.data.copy()
    lesions.fill((z, y, x), CONSOLIDATION)
    filled = lesions.data != held
    assert filled.any()
    assert (lungs[filled] > 0).all()
    assert set(np.nonzero(filled)[0]) == {z}
    lesions.undo()
    np.testing.assert_array_equal(lesions.data, held)
    lesions.paint_polygon([(z, 0, 0), (z, 0, 95), (z, 95, 95), (z, 95, 0)], CONSOLIDATION)
    np.testing.assert_array_equal(lesions.data[z] == CONSOLIDATION, lungs[z] > 0)
    widget.view.palette_.locks[CONSOLIDATION].setChecked(True)
    widget.tools.choose_mode("erase")
    drag(lesions, lesions, [(z, y, x)])
    assert lesions.data[z, y, x] == CONSOLIDATION
    widget.view.palette_.locks[CONSOLIDATION].setChecked(False)
    drag(lesions, lesions, [(z, y, x)])
    assert lesions.data[z, y, x] == 0
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)


def test_lungs_are_painted_in_their_layer(widget, viewer):
    widget.view.palette_.buttons[int(Label.LEFT_LUNG)].click()
    lungs = viewer.layers["Lungs"]
    assert viewer.layers.selection.active is lungs
    widget.tools.choose_mode("brush")
    lungs.brush_size = 5
    drag(lungs, lungs, [(20, 3, 3)])
    assert lungs.data[20, 3, 3] == Label.LEFT_LUNG
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)
    press(viewer, "Q")
    assert viewer.layers.selection.active is viewer.layers["Lesions"]
    assert viewer.layers["Lesions"].mode == "paint"
    assert lungs.mode == "pan_zoom"


def test_hidden_behind_a_tab_painting_and_keys_are_naparis_again(widget, viewer, lesions):
    widget.rest()
    assert "paint" not in vars(lesions)
    assert not any(str(key) == "Shift+D" for key in viewer.keymap)
    lesions.paint((20, 2, 2), GGO)
    assert lesions.data[20, 2, 2] == GGO
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)
    widget.activate()
    lesions.paint((22, 2, 2), GGO)
    assert lesions.data[22, 2, 2] == 0


# Undo


def test_undo_and_redo_across_slices_and_layers_are_exact_and_show_where(
    widget, viewer, lesions, phantom, ggo_voxel
):
    lungs = viewer.layers["Lungs"]
    states = [(lesions.data.copy(), lungs.data.copy())]
    widget.tools.choose_mode("brush")
    for z in (15, 25):
        voxel = lung_voxel(phantom, z)
        drag(lesions, lesions, [voxel, (z, voxel[1] + 2, voxel[2])])
        states.append((lesions.data.copy(), lungs.data.copy()))
    widget.view.palette_.buttons[int(Label.RIGHT_LUNG)].click()
    drag(lungs, lungs, [(30, 4, 4)])
    states.append((lesions.data.copy(), lungs.data.copy()))
    press(viewer, "Q")
    press_at(viewer, lesions, ggo_voxel, "Shift-D")
    states.append((lesions.data.copy(), lungs.data.copy()))
    assert all((a[0] != b[0]).any() or (a[1] != b[1]).any() for a, b in pairwise(states))
    widget.viewing.go_to_slice(0)
    shown = []
    for held_lesions, held_lungs in reversed(states[:-1]):
        widget.view.tools.steps["undo"].click()
        np.testing.assert_array_equal(lesions.data, held_lesions)
        np.testing.assert_array_equal(lungs.data, held_lungs)
        np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)
        shown.append(viewer.dims.current_step[0])
    assert shown[1:] == [30, 25, 15]
    widget.view.tools.steps["undo"].click()
    assert "nothing to undo" in widget.view.state.text()
    for held_lesions, held_lungs in states[1:]:
        widget.view.tools.steps["redo"].click()
        np.testing.assert_array_equal(lesions.data, held_lesions)
        np.testing.assert_array_equal(lungs.data, held_lungs)
        np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)


def test_naparis_own_undo_is_followed(widget, viewer, lesions, phantom):
    before = widget.correction.tally.pairs.copy()
    widget.tools.choose_mode("brush")
    drag(lesions, lesions, [lung_voxel(phantom, 15)])
    after = widget.correction.tally.pairs.copy()
    lesions.undo()
    np.testing.assert_array_equal(widget.correction.tally.pairs, before)
    lesions.redo()
    np.testing.assert_array_equal(widget.correction.tally.pairs, after)
    assert (after != before).any()
    widget.view.tools.steps["undo"].click()
    np.testing.assert_array_equal(widget.correction.tally.pairs, before)


def test_the_undo_key_takes_steps_of_both_layers(widget, viewer, lesions, phantom):
    widget.tools.choose_mode("brush")
    held = lesions.data.copy()
    drag(lesions, lesions, [lung_voxel(phantom, 15)])
    viewer.layers.selection.active = widget.correction.ct
    press(viewer, "Ctrl+Z")
    np.testing.assert_array_equal(lesions.data, held)
    press(viewer, "Ctrl+Shift+Z")
    assert (lesions.data != held).any()


def test_labels_changed_from_outside_are_counted_anew(widget, viewer, lesions, qtbot):
    lesions.data = np.zeros_like(lesions.data)
    assert widget.correction.tally is None
    qtbot.waitUntil(lambda: widget.correction.tally is not None)
    assert widget.correction.tally.pairs[:, 1:].sum() == 0
    assert not widget.correction.slices.lesions.any()


def test_the_history_is_bounded(widget, lesions, monkeypatch):
    from napari_covseg.plugin import history

    monkeypatch.setattr(history, "HISTORY_BYTES", 200_000)
    flat = np.zeros((5, 96, 96), bool)
    flat[2] = True
    for turn in range(6):
        value = GGO if turn % 2 else CONSOLIDATION
        where = np.nonzero(np.ones((1, 50, 50)))
        lesions.data_setitem(where, value)
    assert 1 <= len(lesions._undo_history) < 6
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)
    lesions.undo()
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)


# Tools at a place


def test_keys_change_delete_and_keep_the_lesion_under_the_cursor(
    widget, viewer, lesions, ggo_voxel
):
    z, y, x = ggo_voxel
    held = lesions.data.copy()
    press_at(viewer, lesions, ggo_voxel, "S")
    assert lesions.data[z, y, x] == CONSOLIDATION
    np.testing.assert_array_equal(np.delete(lesions.data, z, 0), np.delete(held, z, 0))
    press_at(viewer, lesions, ggo_voxel, "S")
    lesions.undo()
    lesions.undo()
    np.testing.assert_array_equal(lesions.data, held)
    press_at(viewer, lesions, ggo_voxel, "Shift-S")
    assert set(np.nonzero(lesions.data != held)[0]) > {z}
    assert "Changed to Consolidation: " in widget.view.state.text()
    lesions.undo()
    press_at(viewer, lesions, ggo_voxel, "D")
    assert lesions.data[z, y, x] == 0
    np.testing.assert_array_equal(np.delete(lesions.data, z, 0), np.delete(held, z, 0))
    lesions.undo()
    press_at(viewer, lesions, ggo_voxel, "K")
    kept = lesions.data > 0
    assert kept[z, y, x]
    assert kept.sum() < (held > 0).sum()
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)
    press_at(viewer, lesions, (z, 1, 1), "D")
    assert "No lesion there" in widget.view.state.text()
    press_at(viewer, lesions, (z, -9, 1), "D")
    assert "Point at the picture" in widget.view.state.text()
    lungs = viewer.layers["Lungs"].data.copy()
    viewer.layers.remove(lesions)
    press_at(viewer, viewer.layers["Lungs"], ggo_voxel, "D")
    assert "no layer of lesions" in widget.view.state.text()
    np.testing.assert_array_equal(viewer.layers["Lungs"].data, lungs)


def test_clicks_do_what_the_button_says_and_drags_do_not(widget, viewer, lesions, ggo_voxel):
    viewer.dims.set_point(0, world(lesions, ggo_voxel)[0])
    held = lesions.data.copy()
    widget.view.tools.modes["delete"].click()
    assert lesions.mode == "pan_zoom"
    z, y, x = ggo_voxel
    drag(viewer, lesions, [ggo_voxel, (z, y + 5, x)])
    np.testing.assert_array_equal(lesions.data, held)
    click(viewer, lesions, ggo_voxel)
    assert lesions.data[z, y, x] == 0
    widget.view.tools.modes["move"].click()
    lesions.undo()
    click(viewer, lesions, ggo_voxel)
    np.testing.assert_array_equal(lesions.data, held)


def test_growing_from_a_click_takes_the_lesion(widget, viewer, lesions, phantom, ggo_voxel):
    truth = lesions.data > 0
    lesions.data = np.zeros_like(lesions.data)
    widget.view.tools.radius.setValue(60)
    widget.view.tools.tolerance.setValue(80)
    viewer.dims.set_point(0, world(lesions, ggo_voxel)[0])
    widget.view.tools.modes["grow"].click()
    click(viewer, lesions, ggo_voxel)
    grown = lesions.data == GGO
    assert grown[ggo_voxel]
    assert grown.sum() > 200
    assert (grown & truth).sum() / grown.sum() > 0.8
    assert len(set(np.nonzero(grown)[0])) > 1


def test_a_lasso_fills_its_outline_in_the_lung(widget, viewer, lesions, phantom):
    z, y, x = lung_voxel(phantom, 20)
    press(viewer, "W")
    press(viewer, "A")
    assert widget.view.tools.modes["lasso"].isChecked()
    viewer.dims.set_point(0, world(lesions, (z, 0, 0))[0])
    held = lesions.data.copy()
    corners = [(z, y - 2, x - 2), (z, y - 2, x + 2), (z, y + 2, x + 2), (z, y + 2, x - 2)]
    drag(viewer, lesions, corners)
    changed = np.argwhere(lesions.data != held)
    assert (lesions.data[z, y - 1 : y + 2, x - 1 : x + 2] == CONSOLIDATION).all()
    assert (np.abs(changed - (z, y, x)).max(axis=0) <= (0, 2, 2)).all()
    assert widget.correction.slices.reviewed[z]


def test_napari_keys_show_on_the_buttons(widget, lesions, viewer):
    viewer.layers.selection.active = lesions
    widget.tools.choose_mode("grow")
    lesions.mode = "paint"
    assert widget.view.tools.modes["brush"].isChecked()
    lesions.mode = "erase"
    assert widget.view.tools.modes["erase"].isChecked()
    lesions.mode = "fill"
    assert not any(button.isChecked() for button in widget.view.tools.modes.values())
    lesions.selected_label = CONSOLIDATION
    assert widget.correction.value == CONSOLIDATION
    assert widget.view.palette_.buttons[CONSOLIDATION].isChecked()


# Slices


def test_interpolation_fills_between_painted_slices(widget, viewer, lesions, phantom):
    lesions.data = np.zeros_like(lesions.data)
    _, y, x = lung_voxel(phantom, 20)
    widget.tools.choose_mode("brush")
    lesions.brush_size = 6
    for z in (18, 22):
        widget.viewing.go_to_slice(z)
        drag(lesions, lesions, [(z, y, x)])
    widget._show_now()
    assert widget.view.slice.interpolate.text() == "Interpolate  (I): 2 painted slices"
    press(viewer, "I")
    areas = (lesions.data == GGO).sum(axis=(1, 2))
    assert (areas[18:23] == areas[18]).all()
    assert areas.sum() == 5 * areas[18]
    reviewed = np.flatnonzero(widget.correction.slices.reviewed)
    assert reviewed.tolist() == [18, 22]  # those between were not looked at
    press(viewer, "I")
    assert "paint the lesion in two slices" in widget.view.state.text().lower()


def test_a_single_slice_between_painted_ones_was_not_looked_at_either(
    widget, viewer, lesions, phantom
):
    lesions.data = np.zeros_like(lesions.data)
    _, y, x = lung_voxel(phantom, 20)
    widget.tools.choose_mode("brush")
    for z in (18, 20):
        widget.viewing.go_to_slice(z)
        drag(lesions, lesions, [(z, y, x)])
    press(viewer, "I")
    assert (lesions.data[19] == GGO).any()
    assert np.flatnonzero(widget.correction.slices.reviewed).tolist() == [18, 20]


def test_copy_smooth_and_fill_act_on_the_shown_slice(
    widget, viewer, lesions, ggo_voxel, phantom, qtbot
):
    z, y, x = ggo_voxel
    lesions.data = np.where(np.arange(40)[:, None, None] == z, lesions.data, 0).astype(np.uint8)
    held = lesions.data.copy()
    widget.viewing.go_to_slice(z + 1)
    press(viewer, ",")
    lungs = viewer.layers["Lungs"].data
    np.testing.assert_array_equal(lesions.data[z + 1], held[z] * (lungs[z + 1] > 0))
    widget.viewing.go_to_slice(z - 1)
    widget.view.slice.buttons["above"].click()
    np.testing.assert_array_equal(lesions.data[z - 1], held[z] * (lungs[z - 1] > 0))
    widget.viewing.go_to_slice(0)
    press(viewer, ",")
    assert "no neighbouring slice" in widget.view.state.text()
    widget.viewing.go_to_slice(z)
    lesions.data_setitem((np.array([z]), np.array([y]), np.array([x])), 0)
    press(viewer, "J")
    assert lesions.data[z, y, x] == GGO
    speck = tuple(np.array([n]) for n in lung_voxel(phantom, z))
    lesions.data_setitem(speck, GGO)
    press(viewer, "U")
    assert lesions.data[speck] == 0
    assert lesions.data[z, y, x] == GGO
    qtbot.waitUntil(lambda: widget.correction.tally is not None)
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)


def test_reviewing_by_key_and_the_next_open_slice(widget, viewer):
    widget.viewing.go_to_slice(10)
    press(viewer, "R")
    assert widget.correction.slices.reviewed[10]
    assert widget.view.review.text.text() == "Slice 11: reviewed. 1 of 40 reviewed."
    widget.viewing.go_to_slice(9)
    press(viewer, "N")
    assert viewer.dims.current_step[0] == 11
    widget.viewing.go_to_slice(10)
    press(viewer, "R")
    assert not widget.correction.slices.reviewed.any()
    widget.correction.slices.take_reviewed(np.ones(40, bool))
    press(viewer, "N")
    assert "Every slice was reviewed" in widget.view.state.text()


def test_painting_in_another_plane_marks_no_axial_slice(widget, viewer, lesions, phantom):
    widget.viewing.set_plane(CORONAL)
    widget.tools.choose_mode("brush")
    lesions.brush_size = 1
    held = lesions.data.copy()
    drag(lesions, lesions, [lung_voxel(phantom, 20)])
    assert (lesions.data != held).any()
    assert not widget.correction.slices.reviewed.any()


def test_the_bar_shows_slices_and_goes_there(widget, viewer, lesions, qtbot):
    bar = widget.view.review.bar
    bar.resize(400, bar.height())
    assert [bar.slice_at(x) for x in (0, 5, 15, 399, 900)] == [0, 0, 1, 39, 39]
    bar.slice_chosen.emit(7)
    assert viewer.dims.current_step[0] == 7
    np.testing.assert_array_equal(
        widget.correction.slices.lesions, (lesions.data > 0).any(axis=(1, 2))
    )
    press(viewer, "R")
    widget.viewing.go_to_slice(20)
    picture = bar.grab().toImage()
    cell = picture.width() / 40
    green, grey = (picture.pixelColor(int((z + 0.4) * cell), 10) for z in (7, 9))
    assert green.green() > green.red() + 40
    assert abs(grey.green() - grey.red()) < 20


# Threshold


def test_the_threshold_is_previewed_counted_and_written_on_demand(
    widget, viewer, lesions, phantom, qtbot
):
    part = widget.view.threshold
    held = lesions.data.copy()
    press(viewer, "T")
    qtbot.waitUntil(lambda: not widget.jobs_running())
    preview = viewer.layers["Threshold"]
    lungs, hu = viewer.layers["Lungs"].data, phantom.volume.hu
    part.low.setValue(-600)
    part.high.setValue(-250)
    mask = (hu >= -600) & (hu <= -250) & (lungs > 0)
    np.testing.assert_array_equal(preview.data[12], mask[12])
    np.testing.assert_array_equal(np.asarray(preview.data), mask)
    ml = mask.sum() * phantom.volume.geometry.voxel_ml
    share = 100 * mask.sum() / (lungs > 0).sum()
    assert part.volume.text() == f"<b>{ml:.0f} ml</b>, {share:.1f} % of the lung"
    np.testing.assert_array_equal(lesions.data, held)
    assert widget.correction.lesions is lesions
    widget.view.palette_.locks[CONSOLIDATION].setChecked(True)
    widget.viewing.go_to_slice(20)
    part.in_slice.click()
    expected = held.copy()
    expected[20][mask[20] & (held[20] != CONSOLIDATION)] = GGO
    np.testing.assert_array_equal(lesions.data, expected)
    part.everywhere.click()
    expected = np.where(mask & (held != CONSOLIDATION), GGO, held)
    np.testing.assert_array_equal(lesions.data, expected)
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)
    press(viewer, "T")
    assert "Threshold" not in [layer.name for layer in viewer.layers]


# Drafts


@pytest.mark.parametrize("with_labels", [True, False])
def test_a_draft_is_kept_and_offered_after_a_crash(
    widget, viewer, lesions, phantom, qtbot, drafts, with_labels
):
    widget.tools.choose_mode("brush")
    widget.viewing.go_to_slice(20)
    drag(lesions, lesions, [lung_voxel(phantom, 20)])
    corrected = lesions.data.copy()
    widget.files.autosave.save()
    qtbot.waitUntil(lambda: not widget.jobs_running())
    (draft,) = drafts.iterdir()
    assert "phantom" not in draft.name
    qtbot.waitUntil(lambda: "Draft kept at " in widget.view.state.text())
    widget.files.autosave.finish = lambda: None  # as if killed
    viewer.layers.clear()
    open_ct(viewer, phantom, labels=with_labels)
    assert not widget.view.draft.isHidden()
    assert "were not saved" in widget.view.draft.text.text()
    widget.view.draft.restore.click()
    lesions = viewer.layers["Lesions"]
    np.testing.assert_array_equal(lesions.data, corrected)
    assert widget.correction.slices.reviewed[20]
    assert widget.view.draft.isHidden()
    qtbot.waitUntil(lambda: widget.correction.tally is not None)
    np.testing.assert_array_equal(widget.correction.tally.pairs, counted_anew(widget).pairs)
    widget.view.tools.steps["undo"].click()
    before = (phantom.labels.labels >= GGO) & with_labels
    np.testing.assert_array_equal(lesions.data > 0, before)


def test_a_draft_is_written_when_the_widget_goes_and_can_be_discarded(
    widget, viewer, lesions, phantom, drafts, monkeypatch, make_widget
):
    widget.tools.choose_mode("brush")
    drag(lesions, lesions, [lung_voxel(phantom, 20)])
    assert not drafts.exists()
    widget.retire()
    assert len(list(drafts.iterdir())) == 1
    again = make_widget()
    assert not again.view.draft.isHidden()
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    again.view.draft.discard.click()
    assert len(list(drafts.iterdir())) == 1
    again.view.draft.discard.click()
    assert list(drafts.iterdir()) == []
    assert again.view.draft.isHidden()


def test_work_begun_beside_an_offered_draft_loses_neither(
    widget, viewer, lesions, phantom, make_widget, qtbot
):
    widget.tools.choose_mode("brush")
    drag(lesions, lesions, [lung_voxel(phantom, 20)])
    corrected = lesions.data.copy()
    widget.retire()
    lesions.data = np.zeros_like(lesions.data)
    again = make_widget()
    again.tools.choose_mode("brush")
    drag(lesions, lesions, [lung_voxel(phantom, 25)])
    mine = lesions.data.copy()
    again.files.autosave.save()
    qtbot.waitUntil(lambda: not again.jobs_running())
    again.view.draft.restore.click()
    np.testing.assert_array_equal(lesions.data, corrected)
    assert (mine != corrected).any()
    again.view.tools.steps["undo"].click()
    np.testing.assert_array_equal(lesions.data, mine)


def test_a_damaged_draft_is_told_and_changes_nothing(
    widget, lesions, phantom, drafts, make_widget, errors
):
    widget.files.autosave.path.parent.mkdir()
    widget.files.autosave.path.write_bytes(b"half")
    widget.retire()
    again = make_widget()
    again.view.draft.restore.click()
    assert "cannot be read" in errors("error")[-1]
    np.testing.assert_array_equal(lesions.data > 0, phantom.labels.labels >= GGO)


def test_saving_writes_both_layers_and_drops_the_draft(
    widget, lesions, phantom, qtbot, tmp_path, drafts, viewer
):
    widget.tools.choose_mode("brush")
    drag(lesions, lesions, [lung_voxel(phantom, 20)])
    widget.files.autosave.save()
    qtbot.waitUntil(lambda: not widget.jobs_running())
    target = tmp_path / "out"
    target.mkdir()
    widget.files.save_to(target)
    qtbot.waitUntil(lambda: not widget.jobs_running())
    back = read_labels(target / "phantom_labels.nii.gz")
    lungs = viewer.layers["Lungs"].data
    np.testing.assert_array_equal(back.labels, np.where(lesions.data > 0, lesions.data, lungs))
    assert list(drafts.iterdir()) == []
    assert "Saved as phantom_labels.nii.gz" in widget.view.state.text()


def test_saving_a_segmented_case_writes_its_json_and_tells_the_session(
    make_widget, viewer, phantom, fake_segment, qtbot, tmp_path
):
    from napari_covseg.plugin.session import as_segmented, session_of

    result = run_to_end(fake_segment(phantom.volume))
    session = session_of(viewer)
    ct = open_ct(viewer, phantom, labels=False)
    case = session.show(ct, as_segmented(result))
    widget = make_widget()
    assert widget.correction.lesions is case.lesions
    widget.tools.choose_mode("brush")
    drag(case.lesions, case.lesions, [lung_voxel(phantom, 20)])
    assert case.edited
    widget.files.save_to(tmp_path)
    qtbot.waitUntil(lambda: not widget.jobs_running())
    assert (tmp_path / "phantom.json").is_file()
    assert case.saved == tmp_path / "phantom_labels.nii.gz"
    labels = read_labels(case.saved).labels
    expected = measure(LabelMap(labels, phantom.labels.geometry)).both.ggo_ml
    live = measurements_of(counted_anew(widget), phantom.volume.geometry.voxel_ml)
    assert live.both.ggo_ml == pytest.approx(expected)


# Keys


def test_keys_clash_neither_with_napari_nor_with_ours():
    from app_model.types import KeyBinding
    from napari._app_model import get_app_model
    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from napari.utils.shortcuts import default_shortcuts

    from napari_covseg.plugin.viewing import OVERLAY_KEY, PLANE_KEYS
    from napari_covseg.plugin.widgets.correct_actions import ACTIONS, KEYS
    from napari_covseg.plugin.window_level import PRESET_KEYS

    other_layers = ("points", "shape", "vector", "tracks", "surface", "vertex", "direct")
    drawn = ("activate_add_", "activate_select_mode", "select_all", "finish_drawing")
    taken = {OVERLAY_KEY, *PLANE_KEYS.values(), *PRESET_KEYS.values()}
    for name, bindings in default_shortcuts.items():
        if not any(part in name for part in (*other_layers, *drawn)):
            taken |= {str(binding) for binding in bindings}
    for provider in (ViewerModel, Labels, Image):
        taken |= {str(key) for key in provider.class_keymap}
    taken |= {str(rule.keybinding) for rule in get_app_model().keybindings}
    assert {"P", "E", "Ctrl+Z", "V", "H", "F5"} <= taken
    ours = {str(KeyBinding.from_str(key.replace("-", "+"))) for key in KEYS}
    assert ours & taken == set()
    assert len(ours) == len(KEYS) == sum(bool(a.key) + bool(a.whole_key) for a in ACTIONS)


def test_every_key_is_bound_and_shown(widget, viewer):
    from napari_covseg.plugin.widgets.correct_actions import ACTIONS, KEYS

    assert len(viewer.keymap) >= len(KEYS)
    for action in ACTIONS:
        if action.key:
            shown = action.key.replace("-", "+")
            assert action.text.endswith(f"({shown})")
            assert f"Key: {shown}." in action.tooltip
        if action.whole_key:
            assert "the whole lesion" in action.tooltip
    bound = dict(viewer.keymap)
    widget.retire()
    assert len(viewer.keymap) == len(bound) - len(KEYS) - 2  # and undo and redo


def test_marking_slices_takes_time_and_a_pause_does_not(widget, monkeypatch):
    from napari_covseg.plugin import correction as module

    correction, now = widget.correction, [1e6]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    correction.slices.mark(0)
    before = correction.seconds
    now[0] += 12
    correction.slices.mark(1)
    assert correction.seconds - before == pytest.approx(12)
    now[0] += 5000
    correction.slices.mark(2)
    assert correction.seconds - before == pytest.approx(12 + 60)
