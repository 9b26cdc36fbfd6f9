"""Masks of a plane to closed contours, and back: points are ``(row, column)`` of pixel centres.

A contour runs half way between the pixels inside and those outside, so filling it gives the same
pixels again. A part with holes is one contour: each hole hangs on it by a line run both ways, a
keyhole, which readers that know nothing of holes fill rightly too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

_ON_LINE = 1e-2
"""How near to a line, in pixels, a centre is on it: files round their points."""


def outlines(mask: NDArray[np.bool_]) -> list[Points]:
    """The contours of a mask ``(rows, columns)``, each ``(n, 2)``: the first point is not repeated.

    One for each part that is connected along rows and columns.
    """
    from scipy import ndimage
    from skimage.measure import find_contours

    parts, _ = ndimage.label(mask)
    found = []
    for number, where in enumerate(ndimage.find_objects(parts), start=1):
        inside = np.pad(parts[where] == number, 1).astype(np.float64)
        traced = find_contours(inside, 0.5)  # type: ignore[no-untyped-call]
        rings = [_corners(ring[:-1]) for ring in traced]
        rings.sort(key=_area, reverse=True)
        start = [one.start - 1 for one in where]
        found.append(_keyholed(rings) + start)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """The pixels within a contour, and those whose centres lie on its line.

    ``inside`` and ``border`` are of ``where``, the part of the plane around the contour, which may
    be empty. Inside is where the line is crossed an odd number of times on the way out; which side
    the border falls on is chance.
    """

    where: tuple[slice, slice]
    inside: NDArray[np.bool_]
    border: NDArray[np.bool_]


def filled(points: Points, shape: tuple[int, int]) -> Filled:
    """The pixels of ``shape`` that a contour ``(n, 2)`` encloses.

    Lines run both ways, as of keyholes, are no border.
    """
    edges = _edges(points)
    if not len(edges):
        nothing = np.zeros((0, 0), np.bool_)
        return Filled((slice(0), slice(0)), nothing, nothing)
    low = np.clip(np.floor(edges.min(axis=(0, 1))).astype(int), 0, shape)
    high = np.clip(np.ceil(edges.max(axis=(0, 1))).astype(int) + 1, 0, shape)
    where = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    return Filled(where, _inside(edges - low, size), _border(edges - low, size))


def _inside(edges: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = size
    # A line counts for the rows from its upper end on, up to, not with, its lower: where two meet
    # at a row, that row is crossed once.
    row, column = _crossings(edges, np.ceil(edges[:, 0, 0]), np.ceil(edges[:, 1, 0]) - 1, rows)
    first = np.clip(np.ceil(column), 0, columns).astype(int)
    crossed = np.bincount(row * (columns + 1) + first, minlength=rows * (columns + 1))
    parity = np.cumsum(crossed.reshape(rows, columns + 1)[:, :columns], axis=1) % 2
    return np.asarray(parity, np.bool_)


def _border(edges: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centres lie on a line: some programs draw along the outermost pixels."""
    rows, columns = size
    border = np.zeros(size, np.bool_)
    level = np.ptp(edges[:, :, 0], axis=1) < _ON_LINE
    slanted = edges[~level]
    up, down = slanted[:, 0, 0] - _ON_LINE, slanted[:, 1, 0] + _ON_LINE
    row, column = _crossings(slanted, np.ceil(up), np.floor(down), rows)
    nearest = np.rint(column)
    on = (np.abs(column - nearest) < _ON_LINE) & (nearest >= 0) & (nearest < columns)
    border[row[on], nearest[on].astype(int)] = True
    for start, end in edges[level]:
        at = round(start[0])
        if abs(start[0] - at) < _ON_LINE and 0 <= at < rows:
            left, right = sorted((start[1], end[1]))
            first, last = int(np.ceil(left - _ON_LINE)), int(np.floor(right + _ON_LINE))
            border[at, max(first, 0) : max(last + 1, 0)] = True
    return border


def _crossings(
    edges: NDArray[np.float64],
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    rows: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows from each edge's first to its last, and the column where the edge crosses each."""
    start = np.clip(first, 0, rows).astype(int)
    counts = np.maximum(np.clip(last + 1, 0, rows).astype(int) - start, 0)
    which = np.repeat(np.arange(len(edges)), counts)
    step = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    row = np.repeat(start, counts) + step
    (y0, x0), (y1, x1) = edges[which, 0].T, edges[which, 1].T
    along = np.clip((row - y0) / (y1 - y0), 0.0, 1.0)
    return row, x0 + along * (x1 - x0)


def _edges(points: Points) -> NDArray[np.float64]:
    """Lines from point to point ``(m, 2, 2)``, upper end first, without those run both ways."""
    ends = np.stack([points, np.roll(points, -1, axis=0)], axis=1)
    turned = (ends[:, 0] > ends[:, 1])[:, 0] | (
        (ends[:, 0, 0] == ends[:, 1, 0]) & (ends[:, 0, 1] > ends[:, 1, 1])
    )
    ends[turned] = ends[turned, ::-1]
    moved = ends[(ends[:, 0] != ends[:, 1]).any(axis=1)]
    once, counts = np.unique(moved.reshape(-1, 4), axis=0, return_counts=True)
    return np.asarray(once[counts % 2 == 1].reshape(-1, 2, 2))


def _corners(ring: Points) -> Points:
    """A ring without the points that lie straight between their neighbours."""
    ahead, behind = np.roll(ring, -1, axis=0) - ring, ring - np.roll(ring, 1, axis=0)
    turns = ahead[:, 0] * behind[:, 1] != ahead[:, 1] * behind[:, 0]
    return np.asarray(ring[turns])


def _area(ring: Points) -> float:
    following = np.roll(ring, -1, axis=0)
    return abs(float(np.sum(ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]))) / 2


def _keyholed(rings: list[Points]) -> Points:
    """The outer ring, each of the holes hung on it by the line to its nearest point."""
    joined, *holes = rings
    for hole in sorted(holes, key=lambda ring: float(ring[:, 1].min())):
        start = int(hole[:, 1].argmin())
        at = int(((joined - hole[start]) ** 2).sum(axis=1).argmin())
        turned = np.roll(hole, -start, axis=0)
        joined = np.concatenate([joined[: at + 1], turned, turned[:1], joined[at:]])
    return joined
