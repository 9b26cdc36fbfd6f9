"""Whole lesions: change their class, delete them, keep one only, grow one from a click."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import UsageError
from napari_covseg.editing.canvas import Canvas
from napari_covseg.editing.connected import body_at
from napari_covseg.editing.edit import Box, Edit, Point, around, changed, inside, plane, whole

_NO_LESION = "no lesion there; point at a coloured one"


def change_class(canvas: Canvas, seed: Point, value: int, axis: int | None = None) -> Edit:
    """Give the lesion at ``seed`` the label ``value``.

    What has one label and is connected counts as a lesion here, so that a consolidation can be
    told from the GGO around it.

    Parameters
    ----------
    canvas
        What is corrected, with its limits.
    seed
        The voxel under the cursor.
    value
        The new label.
    axis
        Within the slice across this axis only; None for the whole lesion.

    Raises
    ------
    UsageError
        If there is no lesion at ``seed``, or its label is locked.
    """
    held = _held(canvas, seed)
    bounds = _bounds(canvas, seed, axis)
    box, mask = body_at(lambda part: canvas.labels[part] == held, seed, bounds)
    return changed(canvas.labels, box, mask, value)


def delete(canvas: Canvas, seed: Point, axis: int | None = None) -> Edit:
    """Delete the lesion at ``seed``: all that is connected, whatever its label, but locked ones.

    Parameters and errors as `change_class`.
    """
    _held(canvas, seed)
    box, mask = _lesion(canvas, seed, axis)
    return changed(canvas.labels, box, mask & canvas.unlocked(box), 0)


def keep_only(canvas: Canvas, seed: Point, axis: int | None = None) -> Edit:
    """Delete every lesion but the one at ``seed``; locked labels stay.

    Raises
    ------
    UsageError
        If there is no lesion at ``seed``.
    """
    if not canvas.labels[seed]:
        raise UsageError(_NO_LESION)
    kept_box, kept = _lesion(canvas, seed, axis)
    bounds = _bounds(canvas, seed, axis)
    others = canvas.unlocked(bounds)
    others[inside(kept_box, bounds)] &= ~kept
    return changed(canvas.labels, bounds, others, 0)


def grow(canvas: Canvas, seed: Point, value: int, tolerance_hu: float, radius_mm: float) -> Edit:
    """Label what is connected with ``seed`` and about as dense.

    Densities are compared after a 3x3 mean in the slice, so that noise neither stops nor leads
    the growth; it never leaves the ball of ``radius_mm``, nor what may be painted.

    Raises
    ------
    UsageError
        If ``seed`` itself may not be painted.
    """
    from scipy import ndimage

    spacing = canvas.spacing_mm
    half = tuple(int(radius_mm // step) for step in spacing)
    box = around(seed, half, whole(canvas.shape))  # type: ignore[arg-type]
    here = tuple(p - part.start for p, part in zip(seed, box, strict=True))
    free = canvas.paintable(box, value)
    if not free[here]:
        raise UsageError(
            "nothing can grow there: the place is outside the lung or the HU range, or locked"
        )
    smooth = ndimage.uniform_filter(canvas.hu[box].astype(np.float32), size=(1, 3, 3))
    alike = free & (np.abs(smooth - smooth[here]) <= tolerance_hu)
    alike &= _ball(box, seed, spacing, radius_mm)
    tight, mask = body_at(lambda part: alike[inside(part, box)], seed, box, corners=False)
    return changed(canvas.labels, tight, mask, value)


def flood(canvas: Canvas, seed: Point, value: int, axis: int | None = None) -> Edit:
    """Give ``value`` to what has the label of ``seed``, is connected with it and may be painted.

    The bucket: unlike `change_class` it fills background too. ``axis`` as there.
    """
    held = canvas.labels[seed]

    def alike(part: Box) -> NDArray[np.bool_]:
        return np.asarray((canvas.labels[part] == held) & canvas.paintable(part, value))

    box, mask = body_at(alike, seed, _bounds(canvas, seed, axis), corners=False)
    return changed(canvas.labels, box, mask, value)


def _held(canvas: Canvas, seed: Point) -> int:
    held = int(canvas.labels[seed])
    if not held:
        raise UsageError(_NO_LESION)
    if held in canvas.limits.locked:
        raise UsageError("the class of this lesion is locked; unlock it to change it")
    return held


def _lesion(canvas: Canvas, seed: Point, axis: int | None) -> tuple[Box, NDArray[np.bool_]]:
    return body_at(lambda part: canvas.labels[part] > 0, seed, _bounds(canvas, seed, axis))


def _bounds(canvas: Canvas, seed: Point, axis: int | None) -> Box:
    return whole(canvas.shape) if axis is None else plane(canvas.shape, axis, seed[axis])


def _ball(
    box: Box, centre: Point, spacing_mm: tuple[float, float, float], radius_mm: float
) -> NDArray[np.bool_]:
    away = np.ogrid[box]
    squared = sum(
        ((a - c) * step) ** 2 for a, c, step in zip(away, centre, spacing_mm, strict=True)
    )
    return np.asarray(squared <= radius_mm**2)
