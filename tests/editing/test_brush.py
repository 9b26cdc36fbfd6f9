"""The brush and the lasso paint their shape, and only where they may."""

import numpy as np
import pytest

from napari_covseg.editing.brush import brush, lasso
from napari_covseg.editing.canvas import Canvas


def test_a_touch_is_a_disc_in_its_slice(canvas_of, after):
    canvas = canvas_of()
    painted = after(canvas, brush(canvas, (6, 20, 15), 8, 3))
    y, x = np.ogrid[:40, :60]
    disc = (y - 20) ** 2 + (x - 15) ** 2 <= 4.5**2
    np.testing.assert_array_equal(painted[6], 3 * disc)
    assert not np.delete(painted, 6, axis=0).any()


def test_the_brush_is_round_in_mm_in_other_planes_and_a_ball_in_3d(canvas_of, after):
    canvas = canvas_of()
    painted = after(canvas, brush(canvas, (6, 20, 15), 10, 3, axes=(0, 2)))
    assert painted.any(axis=(1, 2)).nonzero()[0].tolist() == [5, 6, 7]
    assert painted.any(axis=(0, 1)).sum() == 11
    assert painted.any(axis=(0, 2)).nonzero()[0].tolist() == [20]
    ball = after(canvas, brush(canvas, (6, 20, 15), 10, 3, axes=(0, 1, 2)))
    assert ball.any(axis=(1, 2)).sum() == 3
    assert ball.any(axis=(0, 2)).sum() == 11


def test_limits_hold_for_paint(canvas_of, after, hu):
    hu[:, 18:22, :] = -400
    labels = np.zeros(canvas_of().shape, np.uint8)
    labels[:, :, 14] = 4
    canvas = canvas_of(labels, hu_range=(-600, -300), inside_lung=True, locked=frozenset({4}))
    painted = after(canvas, brush(canvas, (6, 20, 22), 30, 3))
    new = painted == 3
    assert new.any()
    y, x = np.nonzero(new[6])
    assert set(y) == {18, 19, 20, 21}
    assert not set(range(25, 35)) & set(x)  # between the lungs, as dense
    assert (painted[:, :, 14] == 4).all()


def test_each_limit_alone(canvas_of, after):
    free = after(canvas_of(), brush(canvas_of(), (6, 20, 25), 10, 3))
    in_lung = after(canvas_of(), brush(canvas_of(inside_lung=True), (6, 20, 25), 10, 3))
    in_range = after(canvas_of(), brush(canvas_of(hu_range=(-900, -800)), (6, 20, 25), 10, 3))
    assert np.nonzero(free)[2].max() == 30
    assert np.nonzero(in_lung)[2].max() == 24
    np.testing.assert_array_equal(in_lung, in_range)
    no_lungs = canvas_of(inside_lung=True, with_lungs=False)
    np.testing.assert_array_equal(after(no_lungs, brush(no_lungs, (6, 20, 25), 10, 3)), free)


def test_the_eraser_minds_locks_only(canvas_of, after):
    labels = np.full(canvas_of().shape, 3, np.uint8)
    labels[:, 20, :] = 4
    canvas = canvas_of(labels, hu_range=(0, 1), inside_lung=True, locked=frozenset({4}))
    erased = after(canvas, brush(canvas, (6, 20, 30), 9, 0))
    assert (erased[6, 20] == 4).all()
    assert erased[6, 19, 30] == erased[6, 21, 30] == 0


def test_lasso_fills_its_outline(canvas_of, after):
    canvas = canvas_of(inside_lung=True)
    painted = after(canvas, lasso(canvas, 0, 4, [(10, 10), (10, 30), (20, 30), (20, 10)], 4))
    assert (painted[4, 11:20, 11:25] == 4).all()
    assert not painted[4, :, 25:].any()
    assert painted[4, 9].max() == painted[4, 21].max() == 0
    assert np.nonzero(painted)[0].tolist() == [4] * np.count_nonzero(painted)
    coronal = after(canvas, lasso(canvas, 1, 15, [(2, 8), (2, 20), (8, 20), (8, 8)], 4))
    assert (coronal[3:8, 15, 9:20] == 4).all()
    assert set(np.nonzero(coronal)[1]) == {15}
    assert lasso(canvas, 0, 4, [(1, 1), (2, 2)], 4).count == 0
    assert after(canvas, lasso(canvas, 0, 4, [(-9, 8), (-9, 70), (60, 70), (60, 8)], 4))[4].any()


def test_arrays_must_fit(hu):
    with pytest.raises(ValueError, match="expected shape"):
        Canvas(np.zeros((1, 2, 3), np.uint8), hu)
