"""Smoothing and filling."""

import numpy as np

from napari_covseg.editing.edit import plane, whole
from napari_covseg.editing.shape import fill_holes, smooth


def block(canvas_of):
    labels = np.zeros(canvas_of().shape, np.uint8)
    labels[4, 10:30, 8:22] = 3
    return labels


def test_smoothing_takes_specks_and_spikes_and_closes_notches(canvas_of, after):
    labels = block(canvas_of)
    labels[4, 8, 40] = 3  # a speck
    labels[4, 20, 22:24] = 3  # a spike
    labels[4, 20, 20:22] = 0  # behind a notch
    canvas = canvas_of(labels)
    box = plane(canvas.shape, 0, 4)
    smoothed = after(canvas, smooth(canvas, box, 3, radius_mm=1.5))
    assert smoothed[4, 8, 40] == 0
    assert (smoothed[4, 20, 22:24] == 0).all()
    assert smoothed[4, 20, 20] == 3
    assert (smoothed[4, 13:27, 11:19] == 3).all()
    assert not np.delete(smoothed, 4, 0).any()


def test_smoothing_minds_lung_and_locks(canvas_of, after):
    labels = block(canvas_of)
    labels[4, 15:17, 21] = 4
    labels[4, 12, 25:28] = 3  # outside the lung, and thin: it goes
    canvas = canvas_of(labels, inside_lung=True, locked=frozenset({4}))
    smoothed = after(canvas, smooth(canvas, plane(canvas.shape, 0, 4), 3, 1.5))
    assert (smoothed[4, 15:17, 21] == 4).all()
    assert not smoothed[4, 12, 25:28].any()
    other = canvas_of(labels, locked=frozenset({3}))
    assert not (after(other, smooth(other, plane(other.shape, 0, 4), 3, 1.5)) == 0)[
        labels == 3
    ].any()


def test_smoothing_a_box_smooths_across_slices(canvas_of, after):
    labels = np.zeros(canvas_of().shape, np.uint8)
    labels[4, 10:30, 8:22] = 3  # one slice of 5 mm
    canvas = canvas_of(labels)
    assert not after(canvas, smooth(canvas, whole(canvas.shape), 3, radius_mm=10)).any()


def test_holes_are_filled_slice_by_slice(canvas_of, after, hu):
    labels = np.zeros(canvas_of().shape, np.uint8)
    labels[3:6, 10:20, 10:20] = 3
    labels[3:6, 13:16, 13:16] = 0
    labels[4, 10, 14] = 0  # still closed in 2D
    labels[5, 10:14, 14] = 0  # opened
    hu[:] = 500  # a vessel is no reason to leave a hole
    canvas = canvas_of(labels, hu_range=(-800, -300), inside_lung=True)
    filled = after(canvas, fill_holes(canvas, whole(canvas.shape), 3))
    assert (filled[3, 13:16, 13:16] == 3).all()
    assert (filled[4, 13:16, 13:16] == 3).all()
    np.testing.assert_array_equal(filled[5], labels[5])
    labels[3, 14, 14] = 4
    one = after(canvas, fill_holes(canvas, plane(canvas.shape, 0, 3), 3))
    assert (one[3, 13:16, 13:16] == 3).sum() == 8
    assert one[3, 14, 14] == 4
    assert one[4, 14, 14] == 0


def test_holes_over_what_is_no_lung_stay(canvas_of, after):
    labels = np.zeros(canvas_of().shape, np.uint8)
    labels[3, 10:20, 20:40] = 3
    labels[3, 12:18, 22:38] = 0
    canvas = canvas_of(labels, inside_lung=True)
    filled = after(canvas, fill_holes(canvas, whole(canvas.shape), 3))
    assert not filled[3, 12:18, 25:35].any()
    assert (filled[3, 12:18, 22:25] == 3).all()
