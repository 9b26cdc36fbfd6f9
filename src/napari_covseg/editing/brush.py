"""The round brush, and the lasso."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_covseg.editing.canvas import Canvas
from napari_covseg.editing.edit import Edit, Point, around, changed, inside, nothing, plane, whole


def brush(
    canvas: Canvas, centre: Point, diameter: float, value: int, axes: Sequence[int] = (1, 2)
) -> Edit:
    """One touch of a round brush.

    Parameters
    ----------
    canvas
        What is painted on, with its limits.
    centre
        The voxel under the cursor; it may lie outside.
    diameter
        In voxels of the finest of the painted axes, as napari's brush size.
    value
        The label; 0 erases.
    axes
        The axes painted along: two for a slice, all three for a ball.
    """
    spacing = tuple(canvas.spacing_mm[axis] if axis in axes else None for axis in range(3))
    disc = _disc(float(np.floor(diameter / 2) + 0.5), spacing)
    half = tuple(n // 2 for n in disc.shape)
    bounds = whole(canvas.shape)
    box = around(centre, half, bounds)  # type: ignore[arg-type]
    if any(part.stop <= part.start for part in box):
        return nothing(canvas.labels.dtype)
    z, y, x = (slice(p - h, p + h + 1) for p, h in zip(centre, half, strict=True))
    cut: tuple[slice, ...] = inside(box, (z, y, x))
    mask = disc[cut] & canvas.paintable(box, value)
    return changed(canvas.labels, box, mask, value)


def lasso(canvas: Canvas, axis: int, index: int, outline: ArrayLike, value: int) -> Edit:
    """Fill a closed outline in slice ``index`` across ``axis``.

    ``outline`` are corners ``(n, 2)`` in voxels, in the order of the two other axes. Fewer than
    three change nothing.
    """
    from skimage.draw import polygon

    corners = np.asarray(outline, dtype=float)
    if len(corners) < 3:
        return nothing(canvas.labels.dtype)
    box = plane(canvas.shape, axis, index)
    sizes = tuple(n for other, n in enumerate(canvas.shape) if other != axis)
    flat = np.zeros(sizes, bool)
    flat[polygon(corners[:, 0], corners[:, 1], sizes)] = True  # type: ignore[no-untyped-call]
    mask = np.expand_dims(flat, axis) & canvas.paintable(box, value)
    return changed(canvas.labels, box, mask, value)


@lru_cache(maxsize=32)
def _disc(radius: float, spacing: tuple[float | None, ...]) -> NDArray[np.bool_]:
    """A disc or ball, one voxel thick where the spacing is None."""
    finest = min(step for step in spacing if step is not None)
    steps = [None if step is None else step / finest for step in spacing]
    half = [0 if step is None else int(radius // step) for step in steps]
    away = np.ogrid[tuple(slice(-h, h + 1) for h in half)]
    squared = sum((a * (step or 0.0)) ** 2 for a, step in zip(away, steps, strict=True))
    return np.asarray(squared <= radius**2)
