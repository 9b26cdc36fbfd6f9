"""Edits hold what changes and nothing else, and go both ways."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_covseg.editing.edit import around, changed, inside, nothing, of_voxels, plane, whole


def test_an_edit_holds_the_changed_voxels_in_the_smallest_box():
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[2, 3, 4] = 3
    mask = np.zeros((3, 6, 7), bool)
    mask[1, 2:4, 3:5] = True
    edit = changed(labels, (slice(1, 4), slice(0, 6), slice(0, 7)), mask, 3)
    assert edit.box == (slice(2, 3), slice(2, 4), slice(3, 5))
    assert edit.count == 3  # (2, 3, 4) has the label already
    assert edit.slices() == (2,)
    assert edit.slices(axis=2) == (3, 4)
    assert set(zip(*(a.tolist() for a in edit.where), strict=True)) == {
        (2, 2, 3), (2, 2, 4), (2, 3, 3),
    }  # fmt: skip
    assert edit.before.tolist() == [0, 0, 0]
    assert edit.after.tolist() == [3, 3, 3]


def test_memory_goes_with_the_changed_voxels_not_with_the_box():
    labels = np.zeros((50, 100, 100), np.uint8)
    mask = np.zeros(labels.shape, bool)
    mask[0, 0, 0] = mask[-1, -1, -1] = True
    edit = changed(labels, whole(labels.shape), mask, 4)
    assert edit.box == whole(labels.shape)
    assert edit.nbytes == 2 * (4 + 1 + 1)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_undo_and_redo_of_edits_over_one_another_are_exact(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (4, 6, 6)).astype(np.uint8)
    states, edits = [labels.copy()], []
    for _ in range(6):
        mask = rng.random(labels.shape) < 0.3
        values = rng.integers(0, 5, labels.shape) if rng.random() < 0.5 else 3
        edits.append(changed(labels, whole(labels.shape), mask, values))
        edits[-1].apply(labels)
        states.append(labels.copy())
        wanted = np.where(mask, values, states[-2])
        np.testing.assert_array_equal(labels, wanted)
    for edit, state in zip(reversed(edits), reversed(states[:-1]), strict=True):
        edit.reverse.apply(labels)
        np.testing.assert_array_equal(labels, state)
    for edit, state in zip(edits, states[1:], strict=True):
        edit.apply(labels)
        np.testing.assert_array_equal(labels, state)


def test_an_edit_from_positions_is_the_edit_from_a_mask():
    labels = np.zeros((3, 4, 5), np.uint8)
    where = (np.array([2, 1]), np.array([3, 0]), np.array([0, 4]))
    edit = of_voxels(where, labels[where], np.uint8(4))
    assert edit.box == (slice(1, 3), slice(0, 4), slice(0, 5))
    edit.apply(labels)
    assert labels[2, 3, 0] == labels[1, 0, 4] == 4
    assert np.count_nonzero(labels) == 2


def test_nothing_changes_nothing():
    labels = np.ones((2, 2, 2), np.uint8)
    for edit in (nothing(labels.dtype), changed(labels, whole(labels.shape), labels > 0, 1)):
        assert edit.count == 0
        assert edit.slices() == ()
        edit.apply(labels)
        assert (labels == 1).all()


def test_boxes():
    bounds = whole((10, 20, 30))
    assert plane((10, 20, 30), 1, 7) == (slice(0, 10), slice(7, 8), slice(0, 30))
    assert around((0, 10, 29), (2, 3, 4), bounds) == (slice(0, 3), slice(7, 14), slice(25, 30))
    box = (slice(2, 4), slice(5, 6), slice(7, 9))
    outer = (slice(1, 9), slice(5, 9), slice(3, 9))
    assert inside(box, outer) == (slice(1, 3), slice(0, 1), slice(4, 6))
