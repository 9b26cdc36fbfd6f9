"""Interpolation between painted slices, and copies of the neighbour."""

import numpy as np
import pytest

from napari_covseg.domain.errors import UsageError
from napari_covseg.editing.between import copy_slice, interpolate
from napari_covseg.editing.edit import changed, whole


def disc(radius, y0=20, x0=15):
    y, x = np.ogrid[:40, :60]
    return (y - y0) ** 2 + (x - x0) ** 2 <= radius**2


def with_slices(canvas_of, shapes, **limits):
    labels = np.zeros(canvas_of().shape, np.uint8)
    for z, shape in shapes.items():
        labels[z][shape] = 3
    return canvas_of(labels, **limits)


def test_a_cone_between_two_discs(canvas_of, after):
    shapes = {2: disc(9), 8: disc(3)}
    canvas = with_slices(canvas_of, shapes)
    filled = after(canvas, interpolate(canvas, shapes, 3))
    areas = (filled == 3).sum(axis=(1, 2))
    assert areas[:2].sum() == areas[9:].sum() == 0
    for z in range(3, 8):
        assert areas[z] == pytest.approx(np.pi * (11 - z) ** 2, rel=0.12)


def test_a_lesion_that_moves_is_followed(canvas_of, after):
    shapes = {2: disc(6, x0=11), 6: disc(6, x0=17)}
    canvas = with_slices(canvas_of, shapes)
    middle = after(canvas, interpolate(canvas, shapes, 3))[4] == 3
    assert np.argwhere(middle).mean(axis=0) == pytest.approx((20, 14), abs=0.3)


def test_other_lesions_in_the_painted_slices_are_left_out(canvas_of, after):
    painted = {2: disc(4), 6: disc(4)}
    shapes = {z: shape | disc(4, x0=45) for z, shape in painted.items()}
    canvas = with_slices(canvas_of, shapes)
    filled = after(canvas, interpolate(canvas, painted, 3))
    assert filled[4, 20, 15] == 3
    assert not filled[4, :, 30:].any()


def test_it_adds_only_and_minds_lung_and_locks(canvas_of, after):
    shapes = {2: disc(9), 6: disc(9)}
    canvas = with_slices(canvas_of, shapes, inside_lung=True, locked=frozenset({4}))
    canvas.labels[4, 20, 10:14] = 4
    canvas.labels[4, 30, 50] = 3
    filled = after(canvas, interpolate(canvas, shapes, 3))
    assert (filled[4, 20, 10:14] == 4).all()
    assert filled[4, 20, 15] == filled[4, 30, 50] == 3
    wide = with_slices(canvas_of, {2: disc(14), 6: disc(14)}, inside_lung=True)
    filled = after(wide, interpolate(wide, {2: disc(14), 6: disc(14)}, 3))
    assert np.nonzero(filled[4])[1].max() == 24


def test_several_slices_in_a_row_and_other_axes(canvas_of, after):
    shapes = {1: disc(5), 2: disc(5), 5: disc(5), 9: disc(5)}
    canvas = with_slices(canvas_of, shapes)
    filled = after(canvas, interpolate(canvas, shapes, 3))
    assert ((filled == 3).sum(axis=(1, 2)) == disc(5).sum())[1:10].all()
    labels = np.zeros(canvas.shape, np.uint8)
    block = np.zeros((12, 60), bool)
    block[3:8, 10:20] = True
    labels[:, 10, :][block] = labels[:, 16, :][block] = 3
    coronal = canvas_of(labels)
    filled = after(coronal, interpolate(coronal, {10: block, 16: block}, 3, axis=1))
    assert (filled[3:8, 10:17, 10:20] == 3).all()
    assert np.count_nonzero(filled) == 7 * 50


def test_what_cannot_be_interpolated_is_said(canvas_of):
    canvas = with_slices(canvas_of, {2: disc(5), 3: disc(5)})
    with pytest.raises(UsageError, match="paint the lesion in two slices"):
        interpolate(canvas, {2: disc(5)}, 3)
    with pytest.raises(UsageError, match="paint the lesion in two slices"):
        interpolate(canvas, {2: disc(5), 7: disc(5)}, 3)  # erased since
    with pytest.raises(UsageError, match="no slice between"):
        interpolate(canvas, {2: disc(5), 3: disc(5)}, 3)


def test_a_copy_lies_over_what_is_there(canvas_of, after):
    canvas = with_slices(canvas_of, {4: disc(5)}, inside_lung=True, locked=frozenset({4}))
    canvas.labels[5, 20, 15] = 4
    canvas.labels[5, 8, 8] = 3
    canvas.labels[4, 2, 2] = 3  # outside the lung
    copied = after(canvas, copy_slice(canvas, 4, 5))
    expected = np.where(disc(5), 3, 0)
    expected[20, 15], expected[8, 8] = 4, 3
    np.testing.assert_array_equal(copied[5], expected)
    edit = changed(canvas.labels, whole(canvas.shape), canvas.labels == 3, 4)
    edit.apply(canvas.labels)
    assert copy_slice(canvas, 4, 6).count == 0  # locked labels are not copied


def test_what_cannot_be_copied_is_said(canvas_of):
    canvas = with_slices(canvas_of, {4: disc(5)})
    with pytest.raises(UsageError, match="no neighbouring slice"):
        copy_slice(canvas, -1, 0)
    with pytest.raises(UsageError, match="no neighbouring slice"):
        copy_slice(canvas, 12, 11)
    with pytest.raises(UsageError, match="no labels to copy"):
        copy_slice(canvas, 8, 9)
