"""How planes are shown: never sideways, never mirrored."""

import numpy as np
import pytest

from napari_covseg.plugin.planes import AXIAL, CORONAL, PLANES, SAGITTAL, lps_text, upright


def roll(order):
    return tuple(np.roll(order, 1))


def test_rolling_goes_round_all_planes_and_comes_back():
    plane, seen = AXIAL, []
    for _ in range(3):
        plane = upright(roll(plane.order), plane)
        seen.append(plane)
    assert seen == [SAGITTAL, CORONAL, AXIAL]


@pytest.mark.parametrize("plane", PLANES)
def test_transposing_changes_nothing(plane):
    depth, vertical, horizontal = plane.order
    assert upright((depth, horizontal, vertical), plane) is plane


@pytest.mark.parametrize("plane", PLANES)
def test_edges_follow_from_the_axes(plane):
    """z grows to S, y to P, x to L; an axis that grows down has its far end at the bottom."""
    far, near = {0: "S", 1: "P", 2: "L"}, {0: "I", 1: "A", 2: "R"}
    _, vertical, horizontal = plane.order
    left, right, top, bottom = plane.edges
    assert (left, right) == (near[horizontal], far[horizontal])
    assert plane.growth[2] == "right"
    down = plane.growth[1] == "down"
    ends = (near[vertical], far[vertical])
    assert (top, bottom) == (ends if down else ends[::-1])


@pytest.mark.parametrize("plane", PLANES)
def test_three_axes_make_a_true_body_not_its_mirror_image(plane):
    """On the screen (right, up, towards) the axes x, y, z must stay right-handed, as LPS is."""
    direction = {
        "right": (1, 0, 0), "up": (0, 1, 0), "down": (0, -1, 0),
        "towards": (0, 0, 1), "away": (0, 0, -1),
    }  # fmt: skip
    on_screen = {axis: direction[g] for axis, g in zip(plane.order, plane.growth, strict=True)}
    x, y, z = (np.array(on_screen[axis]) for axis in (2, 1, 0))
    assert np.cross(x, y).tolist() == z.tolist()


def test_position_is_written_with_the_letters_of_its_side():
    assert lps_text((12.0, -40.5, 210.04)) == "L 12.0  A 40.5  S 210.0 mm"
    assert lps_text((-12.0, 40.5, -3.0)) == "R 12.0  P 40.5  I 3.0 mm"
    assert CORONAL.edges[:2] == ("R", "L")
