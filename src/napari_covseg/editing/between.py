"""From one slice to others: interpolate between painted slices, copy from a neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import UsageError
from napari_covseg.editing.canvas import Canvas
from napari_covseg.editing.edit import Edit, changed, plane, whole


def interpolate(
    canvas: Canvas, painted: Mapping[int, NDArray[np.bool_]], value: int, axis: int = 0
) -> Edit:
    """Add ``value`` between painted slices, by interpolating signed distances.

    Raya and Udupa, "Shape-based interpolation of multidimensional objects" (IEEE TMI 1990): the
    shape between two slices is where the interpolated distance to their outlines is positive.
    Only adds; what is labelled between the slices stays.

    Parameters
    ----------
    canvas
        What is corrected, with its limits.
    painted
        Slice across ``axis`` to where it was painted (the shape of a slice). The shape taken is
        the connected body of ``value`` that the paint belongs to.
    value
        The label; 0 cannot be interpolated.
    axis
        The axis that the slices lie across.

    Raises
    ------
    UsageError
        If fewer than two slices hold painted voxels of ``value``, or no slice lies between them.
    """
    shapes = {}
    for index in sorted(painted):
        flat = np.take(canvas.labels, index, axis) == value
        shape = _touched(flat, painted[index])
        if shape.any():
            shapes[index] = shape
    if len(shapes) < 2:
        raise UsageError("paint the lesion in two slices with others between, then interpolate")
    if all(b - a == 1 for a, b in pairwise(shapes)):
        raise UsageError("there is no slice between the painted ones; leave some out")
    bounds = whole(canvas.shape)
    first, last = min(shapes), max(shapes)
    parts = list(bounds)
    parts[axis] = slice(first, last + 1)
    box = (parts[0], parts[1], parts[2])
    spacing = tuple(s for other, s in enumerate(canvas.spacing_mm) if other != axis)
    layers = [shapes.get(index, False) for index in range(first, last + 1)]
    for low, high in pairwise(shapes):
        for index, shape in _shapes_between(shapes[low], shapes[high], low, high, spacing):
            layers[index - first] = shape
    size = shapes[first].shape
    mask = np.stack([np.broadcast_to(layer, size) for layer in layers], axis=axis)
    mask &= canvas.paintable(box, value, any_hu=True)
    return changed(canvas.labels, box, mask, value)


def copy_slice(canvas: Canvas, source: int, target: int, axis: int = 0) -> Edit:
    """Put the labels of slice ``source`` over those of slice ``target``, across ``axis``.

    Background is not copied, so that what is labelled already stays.

    Raises
    ------
    UsageError
        If ``source`` is no slice or has no labels.
    """
    if not 0 <= source < canvas.shape[axis]:
        raise UsageError("there is no neighbouring slice to copy from")
    taken = canvas.labels[plane(canvas.shape, axis, source)]
    if not taken.any():
        raise UsageError("the neighbouring slice has no labels to copy")
    box = plane(canvas.shape, axis, target)
    mask = (taken > 0) & canvas.paintable(box, 1, any_hu=True)
    for label in canvas.limits.locked:
        mask &= taken != label
    return changed(canvas.labels, box, mask, taken)


def _touched(flat: NDArray[np.bool_], paint: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The bodies of ``flat`` that ``paint`` belongs to."""
    from scipy import ndimage

    bodies, count = ndimage.label(flat, structure=np.ones((3, 3)))
    hit = np.zeros(count + 1, bool)
    hit[np.unique(bodies[paint & flat])] = True
    hit[0] = False
    return np.asarray(hit[bodies])


def _shapes_between(
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    low: int,
    high: int,
    spacing: tuple[float, ...],
) -> list[tuple[int, NDArray[np.bool_]]]:
    if high - low < 2:
        return []
    from_a, from_b = _signed(a, spacing), _signed(b, spacing)
    weights = ((index, (index - low) / (high - low)) for index in range(low + 1, high))
    return [(index, (1 - w) * from_a + w * from_b > 0) for index, w in weights]


def _signed(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Distance to the outline in mm, positive inside."""
    from scipy import ndimage

    within = ndimage.distance_transform_edt(mask, sampling=spacing)
    without = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return np.asarray(within - without)
