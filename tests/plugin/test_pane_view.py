"""Zoom and place of a side view: proportions, edges, and what stays under the mouse."""

import pytest

from napari_covseg.plugin.pane_view import MOST, PaneView

WINDOW, PICTURE = (400.0, 300.0), (200.0, 100.0)


def test_all_of_it_is_shown_as_large_as_fits():
    assert PaneView().box(WINDOW, PICTURE) == (0.0, 50.0, 400.0, 200.0)
    assert PaneView(middle=(0.1, 0.9)).box(WINDOW, PICTURE) == (0.0, 50.0, 400.0, 200.0)


def test_what_is_under_the_mouse_stays_there():
    view = PaneView().zoomed(4, (240, 160), WINDOW, PICTURE)
    left, top, wide, high = view.box(WINDOW, PICTURE)
    assert (wide, high) == (1600, 800)
    assert (240 - left) / wide == pytest.approx(240 / 400)
    assert (160 - top) / high == pytest.approx(110 / 200)


def test_its_edges_do_not_come_into_the_window():
    view = PaneView().zoomed(4, (0, 50), WINDOW, PICTURE)
    assert view.box(WINDOW, PICTURE)[0] == 0
    assert view.moved((5000, 5000), WINDOW, PICTURE).box(WINDOW, PICTURE)[:2] == (0, 0)
    far = view.moved((-5000, -5000), WINDOW, PICTURE).box(WINDOW, PICTURE)
    assert (far[0] + far[2], far[1] + far[3]) == pytest.approx(WINDOW)


def test_zoom_has_its_limits():
    assert PaneView().zoomed(0.5, (10, 10), WINDOW, PICTURE) == PaneView()
    assert PaneView().zoomed(1000, (10, 10), WINDOW, PICTURE).zoom == MOST


def test_a_point_out_of_sight_is_brought_to_the_middle_and_one_in_sight_is_left():
    view = PaneView(4.0)
    assert view.showing((0.52, 0.48), WINDOW, PICTURE) is view
    left, top, wide, high = view.showing((0.8, 0.7), WINDOW, PICTURE).box(WINDOW, PICTURE)
    assert (left + 0.8 * wide, top + 0.7 * high) == pytest.approx((200, 150))
    assert PaneView().showing((0.0, 0.0), WINDOW, PICTURE) == PaneView()
