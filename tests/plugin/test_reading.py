"""The reading room: crosshair, side views, slabs, distances, and findings found again."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.io import write_labels
from napari_covseg.plugin import findings as findings_module
from napari_covseg.plugin.findings import Findings, Written, read_findings, write_findings
from napari_covseg.plugin.layers import ct_layer, label_layers
from napari_covseg.plugin.napari_versions import camera_of, canvas_position, canvas_widget
from napari_covseg.plugin.panes import Panes
from napari_covseg.plugin.planes import AXIAL, CORONAL, SAGITTAL
from napari_covseg.plugin.reader_scores import ReaderScores
from napari_covseg.plugin.reading import reading_of
from napari_covseg.plugin.rulers import LAYER, Ruler, length_text
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.slabs import MINIP, MIP, SLICE, Slab
from napari_covseg.plugin.study import study_of
from napari_covseg.plugin.widgets.found_again import FoundAgain
from napari_covseg.plugin.widgets.view_bar import ViewBar

SPACING = (7.5, 3.6, 3.6)


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Findings go to a temporary folder."""
    monkeypatch.setattr(findings_module, "findings_folder", lambda: tmp_path / "findings")
    return tmp_path / "findings"


def open_ct(viewer, phantom, labels=True):
    data, arguments, _ = ct_layer(phantom.volume)
    ct = viewer.add_image(data, **arguments)
    for data, arguments, _ in label_layers(phantom.labels) if labels else ():
        viewer.add_labels(data, **arguments)
    viewer.layers.selection.active = ct
    return ct


@pytest.fixture
def reading(viewer, phantom):
    made = reading_of(viewer)
    open_ct(viewer, phantom)
    return made


def event(kind, **kwargs):
    defaults = {
        "type": kind, "pos": (100, 100), "button": None, "modifiers": (), "handled": False,
        "position": (0.0, 0.0, 0.0), "is_dragging": False,
    }  # fmt: skip
    return ReadOnlyWrapper(SimpleNamespace(**{**defaults, **kwargs}), exceptions=("handled",))


def press(viewer, key):
    viewer.keymap[next(k for k in viewer.keymap if str(k) == key)](viewer)


def panes(viewer):
    (found,) = viewer.window._qt_window.findChildren(Panes)
    return found.panes


def drag(layer, start, end):
    """Press, move and release over a layer, at points in napari's coordinates."""
    middle = tuple((np.array(start) + end) / 2)
    for callbacks, kind, at in (
        (mouse_press_callbacks, "mouse_press", start),
        (mouse_move_callbacks, "mouse_move", middle),
        (mouse_move_callbacks, "mouse_move", end),
        (mouse_release_callbacks, "mouse_release", end),
    ):
        callbacks(layer, event(kind, button=1, position=at, is_dragging=kind == "mouse_move"))


# The crosshair


def test_go_to_moves_all_three_axes_and_stays_in_the_plane(reading):
    viewer = reading.viewer
    reading.viewing.set_plane(CORONAL)
    reading.go_to((12, 50, 33))
    assert reading.voxel == (12, 50, 33)
    assert viewer.dims.current_step == (12, 50, 33)
    assert reading.viewing.plane is CORONAL


@pytest.mark.parametrize("plane", [AXIAL, CORONAL, SAGITTAL])
def test_it_is_drawn_where_napari_sees_the_voxel(reading, qtbot, plane):
    viewer = reading.viewer
    viewer.window._qt_window.show()
    reading.viewing.set_plane(plane)
    camera_of(viewer).zoom *= 1.3
    reading.go_to((20, 40, 60))
    canvas, widget = viewer.window._qt_viewer.canvas, canvas_widget(viewer)
    size = canvas._scene_canvas
    qtbot.waitUntil(lambda: tuple(size.size) == (widget.width(), widget.height()))
    x, y = canvas_position(viewer, viewer.dims.point)
    world = canvas._map_canvas2world((x, y), canvas.view)
    assert world == pytest.approx(viewer.dims.point, abs=0.01)


def test_a_click_moves_it_while_three_planes_are_shown_and_a_drag_does_not(reading):
    viewer = reading.viewer
    target = np.asarray(reading.viewing.ct.data_to_world((15, 30, 70)))

    def click(move):
        mouse_press_callbacks(viewer, event("mouse_press", button=1, position=tuple(target)))
        if move:
            mouse_move_callbacks(
                viewer, event("mouse_move", button=1, pos=(140, 100), is_dragging=True)
            )
        mouse_release_callbacks(viewer, event("mouse_release", button=1, position=tuple(target)))

    before = reading.voxel
    click(move=False)
    assert reading.voxel == before
    reading.set_linked(True)
    click(move=True)
    assert reading.voxel == before
    click(move=False)
    assert reading.voxel == (15, 30, 70)


def test_a_point_out_of_sight_is_brought_into_view(reading):
    viewer = reading.viewer
    camera_of(viewer).zoom *= 8
    reading.go_to((10, 5, 5))
    x, y = canvas_position(viewer, viewer.dims.point)
    canvas = canvas_widget(viewer)
    assert (x, y) == pytest.approx((canvas.width() / 2, canvas.height() / 2), abs=1)
    held = camera_of(viewer).center
    reading.go_to((10, 6, 6))
    assert camera_of(viewer).center == held


# The side views


def test_side_views_show_no_labels_of_another_ct_of_the_same_size(reading, qtbot, phantom):
    viewer = reading.viewer
    press(viewer, "F8")
    coronal, _ = panes(viewer)
    reading.go_to((20, 48, 30))
    qtbot.waitUntil(lambda: coronal.picture is not None)
    assert np.ptp(coronal.picture, axis=2).max() > 50
    moved = phantom.volume.geometry.affine.copy()
    moved[2, 3] += 500.0
    other = Geometry(phantom.volume.geometry.shape, moved)
    data, arguments, _ = ct_layer(replace(phantom.volume, geometry=other))
    viewer.layers.selection.active = viewer.add_image(data, **arguments)
    reading.go_to((20, 48, 30))
    coronal.show_plane(CORONAL)
    # The labels of the first CT are as large, and elsewhere.
    assert np.ptp(coronal.picture, axis=2).max() == 0


def test_side_views_show_the_other_planes_through_the_crosshair(reading, qtbot, phantom):
    viewer = reading.viewer
    press(viewer, "F8")
    assert reading.linked
    reading.go_to((20, 40, 60))
    coronal, sagittal = panes(viewer)
    viewer.layers["Lungs"].visible = viewer.layers["Lesions"].visible = False
    low, high = reading.viewing.ct.contrast_limits
    hu = phantom.volume.hu

    def grey(plane):
        return np.clip((plane[::-1].astype(float) - low) * 255 / (high - low), 0, 255)

    def shows(pane, plane):
        picture = pane.picture
        return picture is not None and picture.shape[:2] == plane.shape and (
            np.abs(picture[:, :, 0] - grey(plane)).max() <= 1
        )  # fmt: skip

    qtbot.waitUntil(lambda: shows(coronal, hu[:, 40, :]) and shows(sagittal, hu[:, :, 60]))
    assert (coronal.plane, sagittal.plane) == (CORONAL, SAGITTAL)
    reading.viewing.set_plane(CORONAL)
    qtbot.waitUntil(lambda: {coronal.plane, sagittal.plane} == {AXIAL, SAGITTAL})
    press(viewer, "F8")
    assert not reading.linked


def test_a_press_in_a_side_view_moves_the_crosshair(reading, qtbot):
    viewer = reading.viewer
    reading.set_linked(True)
    coronal, sagittal = panes(viewer)
    qtbot.waitUntil(lambda: coronal.picture is not None and coronal.width() > 150)
    reading.go_to((20, 40, 60))
    at = coronal.position((31, 40, 22))
    QTest.mousePress(coronal, Qt.MouseButton.LeftButton, pos=at.toPoint())
    assert reading.voxel == (31, 40, 22)
    # Superior is up, and the patient's left on the right of the screen.
    assert coronal.position((35, 40, 22)).y() < at.y()
    assert coronal.position((31, 40, 30)).x() > at.x()
    assert sagittal.position((31, 60, 22)).x() > sagittal.position((31, 40, 22)).x()


def test_side_views_keep_true_proportions(reading, qtbot):
    reading.set_linked(True)
    coronal, _ = panes(reading.viewer)
    qtbot.waitUntil(lambda: coronal.picture is not None)
    origin = coronal.position((0, 0, 0))
    up, across = coronal.position((10, 0, 0)), coronal.position((0, 0, 10))
    assert (origin.y() - up.y()) / (across.x() - origin.x()) == pytest.approx(7.5 / 3.6)


def test_side_views_follow_the_brush(reading, qtbot):
    viewer, lesions = reading.viewer, reading.viewer.layers["Lesions"]
    reading.set_linked(True)
    coronal, _ = panes(viewer)
    reading.go_to((20, 40, 60))
    lesions.data[:] = 0
    lesions.refresh()
    amber = np.array([0xFF, 0xB0, 0x00])

    def distance():
        picture = coronal.picture
        return 1e9 if picture is None else np.abs(picture[39 - 20, 60].astype(int) - amber).sum()

    lesions.opacity = 1.0
    qtbot.waitUntil(lambda: 200 < distance() < 1e9)
    lesions.data_setitem((np.array([20]), np.array([40]), np.array([60])), int(Label.GGO))
    qtbot.waitUntil(lambda: distance() == 0)


def test_closing_the_dock_unlinks(reading, qtbot):
    bar = ViewBar(reading.viewing)
    qtbot.addWidget(bar)
    reading.viewer.window._qt_window.show()
    bar.linked.click()
    (docked,) = reading.viewer.window._qt_window.findChildren(Panes)
    assert reading.linked
    docked._dock.close()
    qtbot.waitUntil(lambda: not reading.linked)
    assert not bar.linked.isChecked()
    bar.linked.click()
    assert reading.linked
    qtbot.waitUntil(docked.isVisible)


def wheel(notches, at=(50, 50), modifier=Qt.KeyboardModifier.NoModifier):
    return QWheelEvent(
        QPointF(*at), QPointF(*at), QPoint(), QPoint(0, 120 * notches), Qt.MouseButton.NoButton,
        modifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip


def test_a_side_view_zooms_about_the_mouse_and_is_moved(reading, qtbot):
    reading.viewer.window._qt_window.show()
    reading.set_linked(True)
    coronal, _ = panes(reading.viewer)
    reading.go_to((20, 40, 60))
    qtbot.waitUntil(lambda: coronal.picture is not None and coronal.width() > 150)
    before = coronal.position((20, 40, 60))
    apart = coronal.position((20, 40, 70)).x() - before.x()
    control = Qt.KeyboardModifier.ControlModifier
    coronal.wheelEvent(wheel(5, (before.x(), before.y()), control))
    assert coronal.zoom == pytest.approx(1.15**5)
    assert reading.voxel == (20, 40, 60)
    at = coronal.position((20, 40, 60))
    assert coronal.position((20, 40, 70)).x() - at.x() == pytest.approx(apart * 1.15**5)
    # A click still finds the voxel that is drawn there.
    target = coronal.position((21, 40, 55))
    QTest.mouseClick(coronal, Qt.MouseButton.LeftButton, pos=target.toPoint())
    assert reading.voxel == (21, 40, 55)
    start = coronal.position((21, 40, 55)).toPoint()
    QTest.mousePress(coronal, Qt.MouseButton.MiddleButton, pos=start)
    coronal._drag_to(QPointF(start) + QPointF(-12, 0))
    QTest.mouseRelease(coronal, Qt.MouseButton.MiddleButton, pos=start)
    assert coronal.position((21, 40, 55)).x() < start.x() - 6
    assert reading.voxel == (21, 40, 55)
    coronal.wheelEvent(wheel(-9, (50, 50), control))
    assert coronal.zoom == 1
    assert coronal.position((20, 40, 60)).x() == pytest.approx(before.x())


def test_a_side_view_that_is_zoomed_follows_the_crosshair(reading, qtbot):
    reading.viewer.window._qt_window.show()
    reading.set_linked(True)
    coronal, _ = panes(reading.viewer)
    reading.go_to((20, 40, 60))
    qtbot.waitUntil(lambda: coronal.picture is not None and coronal.width() > 150)
    coronal.zoom_by(6, coronal.position((20, 40, 60)))
    seen = coronal.position((20, 40, 62))
    reading.go_to((20, 40, 62))
    qtbot.wait(100)
    assert coronal.position((20, 40, 62)) == seen
    reading.go_to((35, 40, 15))
    qtbot.waitUntil(lambda: coronal.rect().contains(coronal.position((35, 40, 15)).toPoint()))


def test_the_wheel_over_a_side_view_turns_its_slices(reading, qtbot):
    reading.set_linked(True)
    coronal, _ = panes(reading.viewer)
    qtbot.waitUntil(lambda: coronal.picture is not None)
    reading.go_to((20, 40, 60))
    coronal.wheelEvent(wheel(2))
    assert reading.voxel == (20, 38, 60)


# Slabs


@pytest.mark.parametrize(("plane", "axis"), [(AXIAL, 0), (CORONAL, 1), (SAGITTAL, 2)])
@pytest.mark.parametrize(("kind", "numpys"), [(MIP, np.max), (MINIP, np.min)])
def test_the_picture_is_numpys_maximum_and_minimum(reading, phantom, plane, axis, kind, numpys):
    ct, hu = reading.viewing.ct, phantom.volume.hu
    reading.viewing.set_plane(plane)
    reading.go_to((20, 40, 50))
    reading.set_slab(Slab(kind, 30))
    middle = (20, 40, 50)[axis]
    before, after = Slab(kind, 30).reach(SPACING[axis])
    assert before + after + 1 == round(30 / SPACING[axis])
    part = np.moveaxis(hu, axis, 0)[middle - before : middle + after + 1]
    assert np.array_equal(np.asarray(ct._slice.image.raw), numpys(part, axis=0))
    assert not np.array_equal(numpys(part, axis=0), np.moveaxis(hu, axis, 0)[middle])
    reading.set_slab(Slab(SLICE, 30))
    assert np.array_equal(np.asarray(ct._slice.image.raw), np.moveaxis(hu, axis, 0)[middle])


def test_the_slab_follows_the_slice_and_stands_on_the_picture(reading, phantom):
    press(reading.viewer, "F9")
    assert reading.slab == Slab(MIP, 10)
    reading.set_slab(Slab(MIP, 22))
    reading.viewer.dims.set_current_step(0, 7)
    raw = np.asarray(reading.viewing.ct._slice.image.raw)
    assert np.array_equal(raw, phantom.volume.hu[6:9].max(axis=0))
    assert reading.viewing._hud.text("corner") == "Axial 8 / 40   MIP 22.5 mm"
    reading.viewing.set_plane(CORONAL)
    assert reading.viewing._hud.text("corner").endswith("MIP 21.6 mm")


def test_the_bar_sets_the_slab_and_follows_the_key(reading, qtbot):
    bar = ViewBar(reading.viewing)
    qtbot.addWidget(bar)
    assert not bar.mm.isEnabled()
    bar.slab.setCurrentIndex(bar.slab.findData(MINIP))
    bar.slab.activated.emit(bar.slab.currentIndex())
    bar.mm.setValue(25)
    assert reading.slab == Slab(MINIP, 25)
    press(reading.viewer, "F9")
    assert bar.slab.currentData() == SLICE


def test_a_slab_leaves_with_the_ct(reading):
    reading.set_slab(Slab(MIP, 40))
    reading.viewer.layers.clear()
    assert tuple(reading.viewer.dims.margin_left) == (0,) * reading.viewer.dims.ndim


# Distances


def test_length_is_in_the_patient_on_any_grid():
    grid = Geometry.from_spacing((10, 20, 30), SPACING)
    assert Ruler((0, 0, 0), (0, 3, 4)).length_mm(grid) == pytest.approx(18.0)
    assert Ruler((1, 5, 5), (5, 5, 5)).length_mm(grid) == pytest.approx(30.0)
    turned = np.array(grid.affine)
    angle = np.radians(20)
    turn = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    turned[:3, :3] = np.array(turn) @ turned[:3, :3]
    assert Ruler((1, 5, 5), (5, 8, 9)).length_mm(Geometry(grid.shape, turned)) == pytest.approx(
        np.linalg.norm([30.0, 10.8, 14.4])
    )
    assert (length_text(99.949), length_text(120.4)) == ("99.9 mm", "120 mm")


@pytest.mark.parametrize("plane", [AXIAL, CORONAL])
def test_a_drag_measures_what_it_crosses(reading, plane):
    viewer = reading.viewer
    reading.viewing.set_plane(plane)
    reading.go_to((20, 40, 50))
    steps = viewer.dims.nsteps
    press(viewer, "F12")
    assert reading.ruling
    layer, ct = viewer.layers[LAYER], reading.viewing.ct
    assert layer.mode == "add_line"
    start, end = {AXIAL: ((20, 10, 10), (20, 13, 14)), CORONAL: ((5, 40, 20), (9, 40, 28))}[plane]
    drag(layer, tuple(ct.data_to_world(start)), tuple(ct.data_to_world(end)))
    expected = {AXIAL: 18.0, CORONAL: np.hypot(30.0, 28.8)}[plane]
    (ruler,) = reading.rulers.rulers
    found = ruler.length_mm(reading.rulers.geometry)
    assert found == pytest.approx(expected, abs=0.01)
    assert layer.features["length"].tolist() == [length_text(found)]
    axis = plane.order[0]
    assert ruler.start[axis] == ruler.end[axis] == (20, 40, 50)[axis]
    assert viewer.dims.nsteps == steps, "the slider still steps from slice to slice"
    press(viewer, "F12")
    assert viewer.layers.selection.active is reading.viewing.ct
    assert not reading.ruling


def test_a_known_distance_and_one_that_is_moved(reading):
    reading.rulers.add([Ruler((20, 10, 10), (20, 13, 14)), Ruler((10, 40, 20), (14, 40, 20))])
    layer = reading.viewer.layers[LAYER]
    assert layer.features["length"].tolist() == ["18.0 mm", "30.0 mm"]
    assert reading.viewer.layers.selection.active is reading.viewing.ct
    moved = [np.array(line) for line in layer.data]
    moved[0][1] += [0, 0, 10]
    layer.data = moved
    assert layer.features["length"].tolist()[0] == length_text(3.6 * np.hypot(3, 14))


def test_another_layer_ends_the_ruler(reading):
    reading.set_ruling(True)
    reading.viewer.layers.selection.active = reading.viewer.layers["Lungs"]
    assert not reading.ruling


def test_keys_do_not_clash_with_naparis(reading):
    from napari.utils.shortcuts import default_shortcuts

    taken = {str(key) for keys in default_shortcuts.values() for key in keys}
    ours = {str(key) for key in reading.viewer.keymap if str(key).startswith("F")}
    assert {"F8", "F9", "F12"} <= ours
    assert not ours & taken


# Findings


def test_findings_survive_a_file_and_a_damaged_one_is_none(tmp_path):
    path = tmp_path / "f" / "x.json"
    found = Findings(
        tmp_path / "a_labels.nii.gz",
        (Ruler((1, 2.5, 3), (4, 5, 6)),),
        {"ct_score_25": {"left_lower": 3}},
        Written("Ground glass.", "Typical.", 5),
    )
    write_findings(path, found)
    again = read_findings(path)
    assert replace(again, kept=None) == found
    assert again.text == (
        "labels (a_labels.nii.gz), 1 distance, your scores, your text for the report"
    )
    write_findings(path, Findings())
    assert not path.exists()
    path.write_text('{"version": 1, "rulers": 3}')
    assert read_findings(path) is None


def test_a_study_opened_again_offers_what_was_found(
    make_napari_viewer, settings_file, phantom, tmp_path, qtbot, kept
):
    viewer = make_napari_viewer()
    study = study_of(viewer)
    ct = open_ct(viewer, phantom)
    reading_of(viewer).rulers.add([Ruler((20, 10, 10), (20, 13, 14))])
    study.set_reader(ct, ReaderScores("ct_score_25", {"left_lower": 3}))
    saved = write_labels(phantom.labels, tmp_path / "phantom_labels.nii.gz")
    session_of(viewer).labels_saved.emit(ct, saved)
    study.flush()
    (file,) = kept.iterdir()
    assert "phantom" not in file.name
    viewer.close()

    viewer = make_napari_viewer()
    bar = FoundAgain(viewer)
    qtbot.addWidget(bar)
    assert bar.isHidden()
    ct = open_ct(viewer, phantom, labels=False)
    assert not bar.isHidden()
    assert "labels (phantom_labels.nii.gz), 1 distance, your scores" in bar.text.text()
    bar.show_button.click()
    qtbot.waitUntil(lambda: not bar.busy and "Lesions" in viewer.layers)
    assert viewer.layers[LAYER].features["length"].tolist() == ["18.0 mm"]
    assert study_of(viewer).reader(ct) == {"ct_score_25": {"left_lower": 3}}
    joined = np.where(
        viewer.layers["Lesions"].data > 0,
        viewer.layers["Lesions"].data,
        viewer.layers["Lungs"].data,
    )
    assert np.array_equal(joined, phantom.labels.labels)
    assert bar.isHidden()


def test_another_ct_is_offered_nothing(viewer, phantom, flipped_phantom, kept):
    from dataclasses import replace

    study = study_of(viewer)
    ct = open_ct(viewer, phantom, labels=False)
    study.set_reader(ct, ReaderScores("ct_score_25", {"left_lower": 3}))
    viewer.layers.clear()
    other = replace(phantom.volume, hu=np.roll(phantom.volume.hu, 4, axis=2))
    data, arguments, _ = ct_layer(other)
    assert study.offered(viewer.add_image(data, **arguments)) is None
    data, arguments, _ = ct_layer(phantom.volume)
    assert study.offered(viewer.add_image(data, **arguments)) is not None


def test_distances_that_are_deleted_are_forgotten(viewer, phantom, qtbot):
    study = study_of(viewer)
    open_ct(viewer, phantom, labels=False)
    reading_of(viewer).rulers.add([Ruler((20, 10, 10), (20, 13, 14))])
    study.flush()
    viewer.layers.remove(LAYER)
    qtbot.waitUntil(lambda: not study._look.isActive())
    viewer.layers.clear()
    assert study.offered(open_ct(viewer, phantom, labels=False)) is None


def test_what_nobody_decided_on_is_not_lost(viewer, phantom):
    study = study_of(viewer)
    ct = open_ct(viewer, phantom, labels=False)
    reading_of(viewer).rulers.add([Ruler((20, 10, 10), (20, 13, 14))])
    viewer.layers.clear()
    ct = open_ct(viewer, phantom, labels=False)
    reading_of(viewer).rulers.add([Ruler((10, 40, 20), (14, 40, 20))])
    study.flush()
    viewer.layers.clear()
    ct = open_ct(viewer, phantom, labels=False)
    assert len(study.offered(ct).rulers) == 2
    study.forget(ct)
    viewer.layers.clear()
    assert study.offered(open_ct(viewer, phantom, labels=False)) is None


def test_labels_that_are_gone_are_said(viewer, phantom, qtbot, errors, tmp_path):
    study, bar = study_of(viewer), FoundAgain(viewer)
    qtbot.addWidget(bar)
    ct = open_ct(viewer, phantom, labels=False)
    session_of(viewer).labels_saved.emit(ct, tmp_path / "gone_labels.nii.gz")
    viewer.layers.clear()
    open_ct(viewer, phantom, labels=False)
    assert study is study_of(viewer)
    bar.take()
    qtbot.waitUntil(lambda: not bar.busy)
    assert any("gone_labels.nii.gz" in text and "gone" in text for text in errors("error"))
