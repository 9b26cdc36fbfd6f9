"""A small chest: two lungs in soft tissue, to paint on."""

import numpy as np
import pytest

from napari_covseg.editing.canvas import Canvas, Limits

SHAPE = (12, 40, 60)
SPACING = (5.0, 1.0, 1.0)


@pytest.fixture
def hu():
    volume = np.full(SHAPE, 40, np.int16)
    volume[:, 5:35, 5:25] = volume[:, 5:35, 35:55] = -850
    return volume


@pytest.fixture
def lungs():
    volume = np.zeros(SHAPE, np.uint8)
    volume[:, 5:35, 5:25], volume[:, 5:35, 35:55] = 2, 1
    return volume


@pytest.fixture
def canvas_of(hu, lungs):
    """A canvas on these labels, with these limits."""

    def make(labels=None, with_lungs=True, **limits):
        array = np.zeros(SHAPE, np.uint8) if labels is None else labels
        return Canvas(array, hu, lungs if with_lungs else None, SPACING, Limits(**limits))

    return make


@pytest.fixture
def after():
    """The labels of a canvas after an edit, which leaves the canvas itself as it was."""

    def apply(canvas, edit):
        before = canvas.labels.copy()
        labels = canvas.labels.copy()
        edit.apply(labels)
        np.testing.assert_array_equal(canvas.labels, before)
        back = labels.copy()
        edit.revert(back)
        np.testing.assert_array_equal(back, before)
        assert (edit.before != edit.after).all()
        return labels

    return apply
