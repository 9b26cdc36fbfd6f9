"""Contrast limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994).

Of our own, as scikit-image's stretches every picture from its own least to its own greatest value,
before and after: the same tissue would be another grey in slices with metal or without bone. Here a
grey depends on the tiles around it and on nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GREATEST_GREY = 255


def equalise(
    plane: NDArray[np.float32], tiles: int, clip_limit: float, bins: int
) -> NDArray[np.float32]:
    """Grey levels ``(y, x)`` of 0 to 255, equalised to levels of 0 to 255 that are not whole.

    Parameters
    ----------
    plane
        Values outside of 0 to 255 count as these.
    tiles
        Along each axis, of sizes as equal as whole pixels allow; never more than pixels.
    clip_limit
        Fraction of a tile's pixels that one bin may hold; what is above is shared out to all bins.
    bins
        Grey levels that a histogram tells apart.
    """
    ty, y_low, y_high, y_weight = _between_tiles(plane.shape[0], tiles)
    tx, x_low, x_high, x_weight = _between_tiles(plane.shape[1], tiles)
    levels = np.clip(np.rint(plane * ((bins - 1) / GREATEST_GREY)), 0, bins - 1).astype(np.intp)
    maps = _maps(levels, ty, tx, clip_limit, bins)
    result = np.zeros(plane.shape)
    for rows, of_row in ((y_low, 1 - y_weight), (y_high, y_weight)):
        for columns, of_column in ((x_low, 1 - x_weight), (x_high, x_weight)):
            mapped = maps[rows[:, None], columns, levels]
            result += mapped * (of_row[:, None] * of_column)
    return result.astype(np.float32)


def _maps(
    levels: NDArray[np.intp], ty: int, tx: int, clip_limit: float, bins: int
) -> NDArray[np.float64]:
    """What each bin becomes in each tile, 0 to 255: ``(ty, tx, bins)``."""
    row, column = (
        np.arange(n) * count // n for n, count in zip(levels.shape, (ty, tx), strict=True)
    )
    tile = row[:, None] * tx + column
    counts = np.bincount((tile * bins + levels).reshape(-1), minlength=ty * tx * bins)
    counts = counts.reshape(ty, tx, bins)
    kept = np.minimum(counts / counts.sum(axis=2, keepdims=True), clip_limit)
    kept += (1 - kept.sum(axis=2, keepdims=True)) / bins
    maps: NDArray[np.float64] = np.minimum(np.cumsum(kept, axis=2), 1) * GREATEST_GREY
    return maps


def _between_tiles(
    size: int, tiles: int
) -> tuple[int, NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """How many tiles there are, and for each pixel those it lies between and how near the second.

    A map holds for its tile's middle; up to the edge of the picture the outermost one holds alone.
    """
    count = min(tiles, size)
    at = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    low = at.astype(np.intp)
    return count, low, np.minimum(low + 1, count - 1), at - low
