"""A CT in the viewer: planes, wheel, window by drag, keys, texts on the picture."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
    mouse_wheel_callbacks,
)

from napari_covseg.domain.labels import Label
from napari_covseg.plugin.layers import ct_layer, label_layers
from napari_covseg.plugin.napari_versions import camera_of
from napari_covseg.plugin.planes import AXIAL, CORONAL, SAGITTAL
from napari_covseg.plugin.viewing import viewing_of


@pytest.fixture
def reading(viewer, phantom):
    """A viewer with the phantom and its labels, and its viewing aids."""
    viewing = viewing_of(viewer)
    data, arguments, _ = ct_layer(phantom.volume)
    ct = viewer.add_image(data, **arguments)
    for data, arguments, _ in label_layers(phantom.labels):
        viewer.add_labels(data, **arguments)
    viewer.layers.selection.active = ct
    return viewing


def event(kind, **kwargs):
    defaults = {
        "type": kind, "pos": (100, 100), "button": None, "modifiers": (), "handled": False,
        "position": (0.0, 0.0, 0.0), "delta": (0, 0), "is_dragging": False,
    }  # fmt: skip
    return ReadOnlyWrapper(SimpleNamespace(**{**defaults, **kwargs}), exceptions=("handled",))


def press(viewer, key):
    viewer.keymap[next(k for k in viewer.keymap if str(k) == key)](viewer)


def orientation(viewer):
    return tuple(str(part) for part in camera_of(viewer).orientation)


def test_axial_first_then_superior_is_up(reading):
    viewer = reading.viewer
    assert orientation(viewer) == ("away", "down", "right")
    reading.set_plane(CORONAL)
    assert viewer.dims.order == (1, 0, 2)
    assert orientation(viewer) == ("away", "up", "right")
    reading.set_plane(SAGITTAL)
    assert viewer.dims.order == (2, 0, 1)
    assert orientation(viewer) == ("towards", "up", "right")


def test_rolling_and_transposing_in_napari_never_lay_the_patient_down(reading):
    dims = reading.viewer.dims
    seen = []
    for _ in range(3):
        dims.roll()
        seen.append(tuple(dims.order))
    assert seen == [(2, 0, 1), (1, 0, 2), (0, 1, 2)]
    reading.set_plane(CORONAL)
    dims.transpose()
    assert tuple(dims.order) == (1, 0, 2)


def test_a_viewer_without_ct_is_left_as_it_was(viewer):
    viewing = viewing_of(viewer)
    layer = viewer.add_image(np.zeros((4, 5, 6)))
    viewer.dims.roll()
    assert tuple(viewer.dims.order) == (2, 0, 1)
    assert orientation(viewer) == ("towards", "down", "right")
    wheel = event("mouse_wheel", delta=(0, 1), native=SimpleNamespace(inverted=lambda: False))
    mouse_wheel_callbacks(viewer, wheel)
    assert not wheel.handled
    assert viewing.readout((0.0, 0.0, 0.0)) == ""
    viewer.layers.remove(layer)


def test_napari_gets_its_ways_back_when_the_ct_goes(reading):
    viewer = reading.viewer
    reading.set_plane(CORONAL)
    viewer.layers.clear()
    assert orientation(viewer) == ("towards", "down", "right")
    assert any(f.__name__ == "dims_scroll" for f in viewer.mouse_wheel_callbacks)


def test_wheel_turns_slices_up_to_superior(reading):
    viewer = reading.viewer
    start = viewer.dims.current_step[0]
    wheel = event("mouse_wheel", delta=(0, 2))
    mouse_wheel_callbacks(viewer, wheel)
    assert viewer.dims.current_step[0] == start + 2
    assert wheel.handled
    mouse_wheel_callbacks(viewer, event("mouse_wheel", delta=(0, -0.5)))
    assert viewer.dims.current_step[0] == start + 2
    mouse_wheel_callbacks(viewer, event("mouse_wheel", delta=(0, -0.5)))
    assert viewer.dims.current_step[0] == start + 1


def test_ctrl_wheel_zooms_about_the_cursor(reading):
    viewer = reading.viewer
    camera = camera_of(viewer)
    slice_before, zoom = viewer.dims.current_step, camera.zoom
    centre = np.array(camera.center[-2:])
    cursor = (0.0, centre[0] + 30, centre[1] - 20)
    mouse_wheel_callbacks(
        viewer, event("mouse_wheel", delta=(0, 1), modifiers=("Control",), position=cursor)
    )
    factor = camera.zoom / zoom
    assert factor == pytest.approx(1.15)
    moved = np.array(camera.center[-2:])
    np.testing.assert_allclose((np.array(cursor[1:]) - moved) * factor, np.array([30, -20]))
    assert viewer.dims.current_step == slice_before


def drag(viewer, button, by):
    mouse_press_callbacks(viewer, event("mouse_press", button=button))
    to = (100 + by[0], 100 + by[1])
    mouse_move_callbacks(viewer, event("mouse_move", button=button, pos=to, is_dragging=True))
    mouse_release_callbacks(viewer, event("mouse_release", button=button))


def test_right_drag_sets_window_and_level_and_pans_again_after(reading):
    viewer = reading.viewer
    drag(viewer, 2, (40, -40))
    low, high = reading.ct.contrast_limits
    assert high - low == pytest.approx(1500 + 40 * 1500 / 400)
    assert (low + high) / 2 == pytest.approx(-600 - 40 * 1500 / 400)
    assert camera_of(viewer).mouse_pan


def test_left_drag_and_painting_leave_the_window_alone(reading):
    drag(reading.viewer, 1, (40, -40))
    assert tuple(reading.ct.contrast_limits) == (-1350, 150)
    lesions = reading.viewer.layers["Lesions"]
    reading.viewer.layers.selection.active = lesions
    lesions.mode = "paint"
    drag(reading.viewer, 2, (40, -40))
    assert tuple(reading.ct.contrast_limits) == (-1350, 150)


@pytest.mark.parametrize(
    ("key", "limits"), [("F2", (-1350, 150)), ("F3", (-160, 240)), ("F4", (-500, 1300))]
)
def test_preset_keys(reading, key, limits):
    reading.ct.contrast_limits = (0, 1)
    press(reading.viewer, key)
    assert tuple(reading.ct.contrast_limits) == limits


def test_plane_keys_and_overlay_key(reading):
    viewer = reading.viewer
    press(viewer, "F6")
    assert reading.plane is CORONAL
    press(viewer, "F5")
    assert reading.plane is AXIAL
    press(viewer, "H")
    assert [layer.visible for layer in viewer.layers] == [True, False, False]
    press(viewer, "H")
    assert [layer.visible for layer in viewer.layers] == [True, True, True]


def test_readout_tells_hu_label_and_position(reading, phantom):
    z, y, x = np.argwhere(phantom.labels.labels == Label.GGO)[0]
    geometry = phantom.volume.geometry
    lps = geometry.affine @ (x, y, z, 1)
    text = reading.readout(tuple(lps[2::-1]))
    assert text.startswith(f"{phantom.volume.hu[z, y, x]} HU   GGO   ")
    letter = "L" if lps[0] >= 0 else "R"
    assert f"{letter} {abs(lps[0]):.1f}" in text
    assert reading.readout((1e4, 0, 0)) == ""
    reading.toggle_overlay()
    assert "GGO" not in reading.readout(tuple(lps[2::-1]))


def test_texts_on_the_picture_follow_plane_slice_and_window(reading):
    hud = reading._hud
    letters = [hud.text(edge) for edge in ("left", "right", "top", "bottom")]
    assert letters == ["R", "L", "A", "P"]
    assert hud.text("window") == "W 1500  L -600"
    reading.go_to_slice(7)
    assert hud.text("corner") == "Axial 8 / 40"
    reading.set_plane(SAGITTAL)
    reading.set_preset("Bone")
    letters = [hud.text(edge) for edge in ("left", "right", "top", "bottom")]
    assert letters == ["A", "P", "S", "I"]
    assert hud.text("window") == "W 1800  L 400"
    reading.viewer.dims.ndisplay = 3
    assert hud.text("left") == ""
    reading.viewer.layers.clear()
    assert hud.text("window") == hud.text("corner") == ""


def test_hovering_shows_the_readout(reading, phantom):
    z, y, x = 20, 48, 48
    lps = phantom.volume.geometry.affine @ (x, y, z, 1)
    mouse_move_callbacks(reading.viewer, event("mouse_move", position=tuple(lps[2::-1])))
    assert reading._hud.text("readout").startswith(f"{phantom.volume.hu[z, y, x]} HU")


def test_the_readout_follows_the_slice_under_a_cursor_at_rest(reading, phantom):
    z, y, x = 20, 48, 48
    lps = phantom.volume.geometry.affine @ (x, y, z, 1)
    reading.viewer.cursor.position = tuple(lps[2::-1])
    mouse_move_callbacks(reading.viewer, event("mouse_move", position=tuple(lps[2::-1])))
    reading.go_to_slice(23)
    assert reading._hud.text("readout").startswith(f"{phantom.volume.hu[23, y, x]} HU")
    assert phantom.volume.hu[23, y, x] != phantom.volume.hu[z, y, x]
    reading.set_plane(CORONAL)
    assert reading._hud.text("readout") == ""


def test_scale_bar_is_shown(reading):
    assert reading.viewer.canvas.overlays.scale_bar.visible


def test_labels_that_were_there_before_are_dressed_too(viewer, phantom):
    for data, arguments, _ in label_layers(phantom.labels):
        viewer.add_labels(data, **arguments)
    assert viewer.layers["Lungs"].contour == 0
    viewing_of(viewer)
    assert (viewer.layers["Lungs"].contour, viewer.layers["Lesions"].contour) == (1, 0)


def test_a_layer_in_pixels_beside_a_ct_leaves_the_millimetres(reading):
    """napari draws no unit at all where those of layers differ."""
    layers = reading.viewer.layers
    picture = reading.viewer.add_image(np.zeros((20, 30)), name="X-ray")
    assert [str(unit) for unit in picture.units] == ["millimeter"] * 2
    assert [str(unit) for unit in layers.extent.units] == ["millimeter"] * 3
    del layers[:3]
    assert [str(unit) for unit in picture.units] == ["pixel"] * 2


def test_a_picture_before_the_ct_leaves_the_millimetres_too(viewer, phantom):
    viewing_of(viewer)
    viewer.add_image(np.zeros((20, 30)), name="X-ray")
    data, arguments, _ = ct_layer(phantom.volume)
    viewer.add_image(data, **arguments)
    assert [str(unit) for unit in viewer.layers.extent.units] == ["millimeter"] * 3


def test_over_a_picture_that_hides_the_ct_nothing_is_said_of_the_patient(reading):
    def seen():
        places = ("left", "right", "top", "bottom", "corner", "window")
        texts = [reading._hud.text(where) for where in places]
        return [reading.viewer.canvas.overlays.scale_bar.visible, *texts]

    before = seen()
    assert before[:5] == [True, "R", "L", "A", "P"]
    assert all(before)
    for layer in reading.viewer.layers:
        assert seen() == before
        layer.visible = False
    assert not any(seen())
    reading.viewer.layers[1].visible = True
    assert seen() == before
