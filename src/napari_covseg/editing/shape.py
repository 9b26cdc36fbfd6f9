"""The form of what is labelled: smooth it, fill its holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_covseg.editing.canvas import Canvas
from napari_covseg.editing.edit import Box, Edit, changed


def smooth(canvas: Canvas, box: Box, value: int, radius_mm: float) -> Edit:
    """Smooth the outline of ``value`` in ``box`` by a Gaussian of standard deviation ``radius_mm``.

    A voxel belongs to the smoothed shape where the blurred one is above one half. Along axes on
    which the box is one voxel thick nothing is blurred. Locked labels and what lies outside the
    lung stay, whatever their HU.
    """
    from scipy import ndimage

    held = canvas.labels[box]
    shape = held == value
    sigma = [
        radius_mm / step if n > 1 else 0.0
        for n, step in zip(held.shape, canvas.spacing_mm, strict=True)
    ]
    blurred = ndimage.gaussian_filter(shape.astype(np.float32), sigma, mode="nearest")
    smoothed = blurred > 0.5
    added = smoothed & ~shape & canvas.paintable(box, value, any_hu=True)
    removed = shape & ~smoothed & canvas.unlocked(box)
    values = np.where(added, value, 0).astype(held.dtype)
    return changed(canvas.labels, box, added | removed, values)


def fill_holes(canvas: Canvas, box: Box, value: int, axis: int = 0) -> Edit:
    """Label with ``value`` what labels enclose in each slice across ``axis``, whatever its HU."""
    labelled = canvas.labels[box] > 0
    holes = np.stack(
        [_holes(np.take(labelled, index, axis)) for index in range(labelled.shape[axis])],
        axis=axis,
    )
    return changed(canvas.labels, box, holes & canvas.paintable(box, value, any_hu=True), value)


def _holes(flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(flat) & ~flat)
