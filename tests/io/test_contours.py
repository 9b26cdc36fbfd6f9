"""Contours of a mask fill to the same mask: with holes, islands, and by other programs' rules."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import polygon2mask

from napari_covseg.io import contours as module
from napari_covseg.io.contours import outlines


def _blobs(seed, shape=(40, 57)):
    return ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.2) > 0.5


def filled(points, shape):
    found = module.filled(points, shape)
    whole = np.zeros(shape, bool)
    whole[found.where] = found.inside | found.border
    return whole


def _filled(contours, shape):
    parity = np.zeros(shape, bool)
    for points in contours:
        parity ^= filled(points, shape)
    return parity


@pytest.mark.parametrize("seed", range(6))
def test_contours_fill_to_their_mask(seed):
    mask = _blobs(seed)
    contours = outlines(mask)
    assert len(contours) == ndimage.label(mask)[1] > 3
    assert np.array_equal(_filled(contours, mask.shape), mask)
    noise = np.random.default_rng(seed).random((31, 22)) > 0.5
    assert np.array_equal(_filled(outlines(noise), noise.shape), noise)


def test_holes_hang_on_their_part_so_that_anybody_fills_them_rightly():
    mask = np.zeros((30, 40), bool)
    mask[4:26, 5:35] = True
    mask[8:12, 9:14] = mask[15:20, 20:30] = False
    mask[17, 24] = True
    contours = outlines(mask)
    assert len(contours) == 2
    assert np.array_equal(_filled(contours, mask.shape), mask)
    # skimage has a rule of its own, and no contour of these is read as a hole: they add up.
    union = np.logical_or.reduce([polygon2mask(mask.shape, points) for points in contours])
    assert np.array_equal(union, mask)
    area = sum(
        np.sum(p[:, 0] * np.roll(p, -1, 0)[:, 1] - p[:, 1] * np.roll(p, -1, 0)[:, 0]) / 2
        for p in contours
    )
    assert abs(area) == pytest.approx(mask.sum(), abs=0.5 * 4)


def test_a_straight_side_has_two_points_only():
    mask = np.zeros((30, 40), bool)
    mask[4:26, 5:35] = True
    (points,) = outlines(mask)
    assert len(points) == 8
    single = np.zeros((3, 3), bool)
    single[1, 1] = True
    assert len(outlines(single)[0]) == 4
    assert outlines(np.zeros((3, 3), bool)) == []


def test_pixels_under_the_line_count_as_inside():
    # As OpenCV draws: along the centres of the outermost pixels, of holes too.
    square = np.array([[2.0, 3.0], [2.0, 8.0], [6.0, 8.0], [6.0, 3.0]])
    mask = filled(square, (10, 12))
    expected = np.zeros((10, 12), bool)
    expected[2:7, 3:9] = True
    assert np.array_equal(mask, expected)
    assert np.array_equal(filled(square[::-1], (10, 12)), expected)
    assert np.array_equal(filled(square + 0.004, (10, 12)), expected)
    shifted = np.zeros((10, 12), bool)
    shifted[3:7, 4:9] = True
    assert np.array_equal(filled(square + 0.4, (10, 12)), shifted)


def test_a_keyhole_is_no_border():
    outer = np.array([[0.5, 0.5], [0.5, 9.5], [9.5, 9.5], [9.5, 0.5]])
    hole = np.array([[3.5, 3.5], [6.5, 3.5], [6.5, 6.5], [3.5, 6.5]])
    # The line from (0.5, 0.5) to (3.5, 3.5) runs through the centres of pixels.
    joined = np.concatenate([outer, outer[:1], hole, hole[:1]])
    expected = np.zeros((11, 11), bool)
    expected[1:10, 1:10] = True
    expected[4:7, 4:7] = False
    assert np.array_equal(filled(joined, (11, 11)), expected)
    across = np.concatenate([outer, outer[:1], hole[2:], hole[:2], hole[2:3]])
    assert np.array_equal(filled(across, (11, 11)), expected)


def test_what_leads_out_of_the_picture_is_cut_off():
    wide = np.array([[-5.0, -4.0], [-5.0, 30.0], [2.5, 30.0], [2.5, -4.0]])
    mask = filled(wide, (6, 8))
    assert mask[:3].all()
    assert not mask[3:].any()
    assert not filled(wide - [20, 0], (6, 8)).any()
    assert not filled(wide - [0, -40], (6, 8)).any()
    assert not filled(wide[:1], (6, 8)).any()
