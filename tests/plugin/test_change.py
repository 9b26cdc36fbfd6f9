"""The Compare widget in a real viewer."""

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from two_scans import Ball, affine, grid, scan

from napari_covseg.domain.change import ChangeLabel
from napari_covseg.domain.labels import Label
from napari_covseg.plugin.comparing import change_layer
from napari_covseg.plugin.layers import ct_layer, label_layers, placement_of
from napari_covseg.plugin.planes import CORONAL
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.change import ChangeWidget

MOVED = affine((0, 0, 5), (1.0, 1.0, 1.05), (8, -5, 9))
NOW = (Ball(Label.GGO, (33.3, 0.4, 20.7), 10), Ball(Label.CONSOLIDATION, (-35, 10, -20), 9))
BEFORE = (Ball(Label.GGO, (-35, 10, -20), 9), Ball(Label.CONSOLIDATION, (36, 8, -28), 8))
WIDE = grid((3, 3, 3), (0, 0, 0), (1, 1, 1), (8, -5, 9), (170, 130, 190))


def _open(viewer, volume, labels=None):
    data, arguments, _ = ct_layer(volume)
    ct = viewer.add_image(data, **arguments)
    for data, arguments, _ in [] if labels is None else label_layers(labels):
        viewer.add_labels(data, **arguments)
    return ct


@pytest.fixture
def widget(viewer, qtbot):
    viewing_of(viewer)
    widget = ChangeWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare", area="right")
    yield widget
    widget.retire()


@pytest.fixture
def pair(widget, viewer):
    current = _open(viewer, *scan(grid((3, 3, 3)), NOW, case="march"))
    prior = _open(viewer, *scan(WIDE, BEFORE, MOVED, case="january"))
    return current, prior


@pytest.fixture
def compared(widget, pair, qtbot):
    widget.view.run.click()
    qtbot.waitUntil(lambda: widget.compared is not None)
    return widget.compared


def test_it_says_what_is_missing(widget, viewer):
    view = widget.view
    assert not view.empty.isHidden()
    assert not view.run.isEnabled()
    current = _open(viewer, *scan(grid((3, 3, 3)), NOW, case="march"))
    assert "second CT" in view.state.text()
    prior = _open(viewer, scan(WIDE, BEFORE, MOVED, case="january")[0])
    assert (widget.current.value, widget.prior.value) == (current, prior)
    assert view.state.text().startswith("CT january has no labels yet")
    assert not view.run.isEnabled()
    assert view.empty.isHidden()
    widget.prior.value = current
    assert "two different" in view.state.text()


def test_two_scans_are_compared_and_shown(widget, viewer, pair, compared, errors):
    current, prior = pair
    change = compared.change
    assert (change.case, change.prior_case) == ("march", "january")
    assert change.registration.verdict == "good"
    shown = viewer.layers["Change"]
    assert np.array_equal(shown.data, change.map)
    assert tuple(shown.scale) == tuple(current.scale)
    assert tuple(shown.translate) == tuple(current.translate)
    turned = np.asarray(shown.data) == ChangeLabel.TO_CONSOLIDATION
    assert turned.sum() * 0.027 == pytest.approx(NOW[1].ml, rel=0.3)
    assert not prior.visible
    assert current.visible
    result = widget.view.result
    assert "Good fit" in result.fit.text()
    assert result.regions.item(0, 0).text() == f"{change.parts['both'].lesions.prior_ml:.1f}"
    assert result.regions.item(2, 4).text() == f"{change.parts['left'].states['appeared'].ml:.1f}"
    kinds = {result.lesions.item(row, 0).text() for row in range(3)}
    assert kinds == {"new", "stable", "resolved"}
    assert "1 new, 1 resolved, 1 stable" in result.counts.text()
    assert errors("error") == []
    assert widget.view.minimumSizeHint().width() <= 380


def test_a_click_on_a_lesion_goes_there(widget, viewer, compared):
    table = widget.view.result.lesions
    row = next(r for r in range(3) if table.item(r, 0).text() == "resolved")
    table.cellClicked.emit(row, 0)
    z, y, x = viewer.dims.point
    assert (x, y, z) == pytest.approx((36, 8, -28), abs=3.5)


def test_current_and_prior_in_turn(widget, viewer, compared):
    image = next(layer for layer in viewer.layers if layer.name.startswith("Prior"))
    assert not image.visible
    widget.view.result.flip.click()
    assert image.visible
    assert not viewer.layers["Change"].visible
    assert widget.view.result.flip.text() == "Show current"
    widget.view.result.flip.click()
    assert not image.visible
    # Lungs lie on lungs, though the scans lie elsewhere.
    labels = compared.current[1].labels
    inside = (labels == Label.LEFT_LUNG) | (labels == Label.RIGHT_LUNG)
    assert np.median(np.asarray(image.data)[inside]) < -500
    assert np.median(np.asarray(image.data)[labels == 0]) > -100


def test_the_prior_beside_the_picture_follows_it(widget, viewer, pair, compared, qtbot):
    widget.view.result.beside.click()
    pane = widget._beside.pane
    current, _ = pair
    z = viewer.dims.current_step[0]

    def expected(index):
        grey = (compared.prior_hu[index].astype(float) + 1350) * 255 / 1500
        return np.clip(grey, 0, 255)

    def shows(index, axis=0):
        picture = pane.picture
        plain = picture.max(axis=2) == picture.min(axis=2)
        return np.abs(picture[..., 0][plain] - expected(index)[plain]).max() <= 1

    at = round(float((viewer.dims.point[0] - current.translate[0]) / current.scale[0]))
    assert shows(at)
    assert not shows(at + 4)
    wheel = QWheelEvent(
        QPointF(5, 5), QPointF(5, 5), QPoint(), QPoint(0, 480), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    pane.wheelEvent(wheel)
    assert viewer.dims.current_step[0] == z + 4
    qtbot.waitUntil(lambda: shows(at + 4))
    viewing_of(viewer).set_plane(CORONAL)
    qtbot.waitUntil(lambda: pane.picture.shape[:2] == compared.prior_hu.shape[::2])
    area = pane.area()
    height, width = (compared.prior_hu.shape[axis] * current.scale[axis] for axis in (0, 2))
    assert area.height() / area.width() == pytest.approx(height / width, rel=0.01)
    widget.view.result.beside.click()
    assert widget._beside.pane is None
    assert pane._closed


def test_an_edit_is_noticed_and_comparing_again_replaces(widget, viewer, pair, compared, qtbot):
    lesions = viewer.layers["Lesions"]
    lesions.data_setitem((np.array([0]), np.array([0]), np.array([0])), 3)
    assert "compare again" in widget.view.state.text()
    widget.view.run.click()
    qtbot.waitUntil(lambda: widget.compared is not compared and not widget.jobs_running())
    names = [layer.name for layer in viewer.layers]
    assert names.count("Change") == 1
    assert sum(name.startswith("Prior") for name in names) == 1
    assert widget.view.state.text() == ""


def test_an_edit_stays_noticed_whatever_the_session_tells(widget, viewer, compared):
    lesions = viewer.layers["Lesions"]
    lesions.data_setitem((np.array([0]), np.array([0]), np.array([0])), 3)
    widget.session.changed.emit()
    assert "compare again" in widget.view.state.text()


def test_an_edit_while_it_is_compared_is_noticed(widget, viewer, pair, qtbot):
    widget.start()
    viewer.layers["Lesions"].data_setitem((np.array([0]), np.array([0]), np.array([0])), 3)
    qtbot.waitUntil(lambda: widget.compared is not None)
    assert "compare again" in widget.view.state.text()


def test_one_label_map_is_not_compared_with_itself(widget, viewer):
    now = scan(grid((3, 3, 3)), NOW, case="march")
    _open(viewer, *now)
    _open(viewer, scan(grid((3, 3, 3)), BEFORE, case="january")[0])
    assert "share one label map" in widget.view.state.text()
    assert not widget.view.run.isEnabled()


def test_a_poor_fit_cannot_be_missed(widget, viewer, pair, compared):
    result = widget.view.result
    assert result.poor.isHidden()
    poor = replace(
        compared.change, registration=replace(compared.change.registration, verdict="poor")
    )
    result.show_change(poor)
    assert not result.poor.isHidden()
    scans = replace(compared.scans, change=poor)
    _, arguments, _ = change_layer(replace(compared, scans=scans), placement_of(pair[0]))
    assert arguments["name"] == "Change (lungs do not fit)"
    assert widget.view.minimumSizeHint().width() <= 380


def test_without_its_scans_a_comparison_is_gone(widget, viewer, pair, compared):
    viewer.layers.remove(pair[1])
    assert widget.compared is None
    assert "Change" not in viewer.layers
    assert widget.view.result.isHidden()
    assert not widget.view.run.isEnabled()


def test_cancel_changes_nothing(widget, viewer, pair, qtbot):
    before = [layer.name for layer in viewer.layers]
    widget.start()
    widget.cancel()
    qtbot.waitUntil(lambda: not widget.jobs_running())
    qtbot.waitUntil(lambda: not widget.view.run.isHidden())
    assert widget.compared is None
    assert [layer.name for layer in viewer.layers] == before


def test_swap_and_save(widget, viewer, pair, compared, tmp_path, qtbot):
    widget.view.swap.click()
    assert (widget.current.value, widget.prior.value) == pair[::-1]
    widget.save_to(tmp_path)
    qtbot.waitUntil(lambda: not widget.jobs_running())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "march_change.csv", "march_change.html", "march_change.json", "march_change.nii.gz",
    ]  # fmt: skip
