"""Window and level."""

import pytest

from napari_covseg.plugin.window_level import PRESETS, Window


def test_lung_preset_is_the_window_the_network_sees():
    assert PRESETS["Lung"].limits == (-1350, 150)
    assert PRESETS["Mediastinum"].limits == (-160, 240)
    assert PRESETS["Bone"].limits == (-500, 1300)


def test_dragging_right_widens_and_up_brightens():
    start = Window(-600, 1500)
    wide = start.dragged(400, 0)
    assert (wide.level, wide.width) == (-600, 3000)
    bright = start.dragged(0, 100)
    assert (bright.level, bright.width) == (-975, 1500)


def test_window_never_collapses_and_stays_near_ct():
    start = Window(40, 400)
    assert start.dragged(-10_000, 0).width == 10
    assert start.dragged(0, -1e6).level == 4000
    assert start.dragged(0, 1e6).level == -2000


def test_limits_round_trip():
    window = Window.of_limits(-160, 240)
    assert (window.level, window.width) == (40, 400)
    assert window.limits == pytest.approx((-160, 240))
    assert str(window) == "W 400  L 40"
