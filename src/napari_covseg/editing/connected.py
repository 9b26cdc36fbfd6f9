"""The connected body under a point, found in a box no larger than it needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_covseg.editing.edit import Box, Point, around, shrunk

_START = (8, 48, 48)


def body_at(
    mask_of: Callable[[Box], NDArray[np.bool_]],
    seed: Point,
    bounds: Box,
    corners: bool = True,
) -> tuple[Box, NDArray[np.bool_]]:
    """The body that holds ``seed``: its box and its mask there; both empty where there is none.

    The search starts in a small box and widens it only where the body leaves it, so that a small
    lesion costs little in a large volume.

    Parameters
    ----------
    mask_of
        What belongs to any body, in a box.
    seed
        A voxel within ``bounds``.
    bounds
        Where to search at most (a slice, or the whole volume).
    corners
        Whether voxels that touch at an edge or corner are connected, or only those with a face.
    """
    import cc3d

    box = around(seed, _START, bounds)
    while True:
        bodies = cc3d.connected_components(mask_of(box), connectivity=26 if corners else 6)
        here = tuple(p - part.start for p, part in zip(seed, box, strict=True))
        number = bodies[here]
        body = bodies == number if number else np.zeros(bodies.shape, bool)
        wider = _widened(box, body, bounds)
        if wider == box:
            return shrunk(box, body)
        box = wider


def _widened(box: Box, body: NDArray[np.bool_], bounds: Box) -> Box:
    """``box``, twice as large towards the sides that ``body`` touches."""
    parts = []
    for axis, (part, limit) in enumerate(zip(box, bounds, strict=True)):
        size = part.stop - part.start
        low, high = part.start, part.stop
        if low > limit.start and body.take(0, axis).any():
            low = max(limit.start, low - size)
        if high < limit.stop and body.take(-1, axis).any():
            high = min(limit.stop, high + size)
        parts.append(slice(low, high))
    return parts[0], parts[1], parts[2]
