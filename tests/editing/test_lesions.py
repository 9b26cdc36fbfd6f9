"""Whole lesions under the cursor: class, deletion, keeping, growing."""

import numpy as np
import pytest
from scipy import ndimage

from napari_covseg.domain.errors import UsageError
from napari_covseg.editing.connected import body_at
from napari_covseg.editing.edit import whole
from napari_covseg.editing.lesions import change_class, delete, flood, grow, keep_only

SEED = (5, 12, 12)


@pytest.fixture
def labels(canvas_of):
    """A lesion of GGO around consolidation through slices 3 to 8, and another of GGO."""
    array = np.zeros(canvas_of().shape, np.uint8)
    array[3:9, 10:20, 10:20] = 3
    array[4:8, 14:17, 14:17] = 4
    array[5:7, 10:15, 40:45] = 3
    return array


def test_the_class_changes_in_the_slice_or_in_3d(canvas_of, labels, after):
    canvas = canvas_of(labels)
    in_slice = after(canvas, change_class(canvas, SEED, 4, axis=0))
    assert (in_slice[5, 10:20, 10:20] == 4).all()
    np.testing.assert_array_equal(np.delete(in_slice, 5, 0), np.delete(labels, 5, 0))
    whole_lesion = after(canvas, change_class(canvas, SEED, 4))
    assert (whole_lesion[3:9, 10:20, 10:20] == 4).all()
    assert (whole_lesion[5:7, 10:15, 40:45] == 3).all()
    core = after(canvas, change_class(canvas, (5, 15, 15), 3))
    assert (core[3:9, 10:20, 10:20] == 3).all()


def test_deleting_takes_both_classes_of_a_lesion_and_no_other(canvas_of, labels, after):
    canvas = canvas_of(labels)
    gone = after(canvas, delete(canvas, SEED))
    assert not gone[:, :, :30].any()
    np.testing.assert_array_equal(gone[:, :, 30:], labels[:, :, 30:])
    one = after(canvas, delete(canvas, SEED, axis=0))
    assert not one[5, :, :30].any()
    np.testing.assert_array_equal(one[6], labels[6])
    locked = canvas_of(labels, locked=frozenset({4}))
    np.testing.assert_array_equal(
        after(locked, delete(locked, SEED))[:, :, :30] == 4, labels[:, :, :30] == 4
    )


def test_keeping_one_deletes_the_others(canvas_of, labels, after):
    canvas = canvas_of(labels)
    kept = after(canvas, keep_only(canvas, SEED))
    np.testing.assert_array_equal(kept[:, :, :30], labels[:, :, :30])
    assert not kept[:, :, 30:].any()
    labels[5:7, 12, 42] = 4
    locked = canvas_of(labels, locked=frozenset({4}))
    kept = after(locked, keep_only(locked, (5, 15, 15)))
    assert np.argwhere(kept[:, :, 30:]).tolist() == [[5, 12, 12], [6, 12, 12]]


@pytest.mark.parametrize("act", [delete, keep_only, lambda c, s: change_class(c, s, 4)])
def test_no_lesion_there(canvas_of, labels, act):
    with pytest.raises(UsageError, match="no lesion there"):
        act(canvas_of(labels), (0, 0, 0))


def test_a_locked_lesion_is_left(canvas_of, labels):
    canvas = canvas_of(labels, locked=frozenset({3}))
    for act in (delete, lambda c, s: change_class(c, s, 4)):
        with pytest.raises(UsageError, match="locked"):
            act(canvas, SEED)


def test_bodies_are_those_of_a_label_of_the_whole_volume():
    rng = np.random.default_rng(3)
    mask = ndimage.gaussian_filter(rng.standard_normal((30, 150, 150)), 3) > 0
    bodies, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    faces, _ = ndimage.label(mask)
    for seed in map(tuple, np.argwhere(mask)[:: mask.sum() // 6]):
        for reference, corners in ((bodies, True), (faces, False)):
            box, body = body_at(lambda part: mask[part], seed, whole(mask.shape), corners)
            found = np.zeros_like(mask)
            found[box] = body
            np.testing.assert_array_equal(found, reference == reference[seed])
    box, body = body_at(lambda part: mask[part], tuple(np.argwhere(~mask)[0]), whole(mask.shape))
    assert body.size == 0


def test_growing_takes_what_is_as_dense_and_connected_within_the_radius(canvas_of, hu, after):
    rng = np.random.default_rng(0)
    hu[2:10, 10:30, 8:22] = -550
    hu[:, 33, 8:22] = -550  # as dense, not connected
    hu += rng.normal(0, 15, hu.shape).astype(np.int16)
    canvas = canvas_of(inside_lung=True)
    grown = after(canvas, grow(canvas, (5, 20, 15), 3, tolerance_hu=90, radius_mm=60))
    core = np.zeros(hu.shape, bool)
    core[2:10, 11:29, 9:21] = True
    assert (grown[core] == 3).mean() > 0.99
    outside = np.ones(hu.shape, bool)
    outside[2:10, 10:30, 8:22] = False
    assert not grown[outside].any()
    small = after(canvas, grow(canvas, (5, 20, 15), 3, tolerance_hu=90, radius_mm=6))
    z, y, x = np.nonzero(small)
    away = np.sqrt((5.0 * (z - 5)) ** 2 + (y - 20) ** 2 + (x - 15) ** 2)
    assert 5 < away.max() <= 6
    assert set(z) == {4, 5, 6}


def test_growing_stops_at_the_lung_and_at_locked_labels(canvas_of, hu, after):
    hu[:] = -500
    labels = np.zeros(hu.shape, np.uint8)
    labels[:, :, 18] = 4
    canvas = canvas_of(labels, inside_lung=True, locked=frozenset({4}))
    grown = after(canvas, grow(canvas, (5, 20, 15), 3, tolerance_hu=50, radius_mm=100))
    x = np.nonzero(grown == 3)[2]
    assert (x.min(), x.max()) == (5, 17)
    with pytest.raises(UsageError, match="nothing can grow there"):
        grow(canvas, (5, 20, 30), 3, tolerance_hu=50, radius_mm=100)
    with pytest.raises(UsageError, match="nothing can grow there"):
        grow(canvas, (5, 20, 18), 3, tolerance_hu=50, radius_mm=100)


def test_the_bucket_fills_what_is_alike_and_may_be_painted(canvas_of, labels, after):
    canvas = canvas_of(labels, inside_lung=True, locked=frozenset({4}))
    filled = after(canvas, flood(canvas, (5, 30, 20), 3, axis=0))
    assert (filled[5, 5:35, 5:25] == np.where(labels[5, 5:35, 5:25] == 4, 4, 3)).all()
    np.testing.assert_array_equal(filled[5, :, 25:], labels[5, :, 25:])
    np.testing.assert_array_equal(np.delete(filled, 5, 0), np.delete(labels, 5, 0))
    assert (after(canvas, flood(canvas, (5, 30, 20), 3))[:, 5:10, 5:25] == 3).all()
    assert flood(canvas, (5, 0, 0), 3, axis=0).count == 0
    assert flood(canvas, (5, 15, 15), 3, axis=0).count == 0
