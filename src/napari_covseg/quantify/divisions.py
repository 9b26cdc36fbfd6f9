"""Equal parts of the lungs: thirds, halves, rind and core.

Every division here is by volume: its parts hold equal volumes of lung (lesions included), so that
a part does not look diseased because it is large. Cuts that are planes are shared by both lungs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CLOSE_MM = 6.0
"""Vessels and bronchi up to about twice this wide are no surface of the lung."""


def equal_cuts(profile: NDArray[np.int64], parts: int) -> tuple[int, ...]:
    """Where to cut a profile of lung voxels into parts of nearly equal volume.

    Parameters
    ----------
    profile
        Lung voxels in each slice, shape ``(n,)``.
    parts
        How many.

    Returns
    -------
    tuple[int, ...]
        ``parts - 1`` indices: part ``i`` holds the slices from cut ``i - 1`` up to, but without,
        cut ``i``. Whole slices, so each cut is off by half a slice's lung at most.
    """
    before = np.concatenate([[0], np.cumsum(profile)])
    wanted = before[-1] * np.arange(1, parts) / parts
    return tuple(int(np.abs(before - value).argmin()) for value in wanted)


def part_of_each(size: int, cuts: Sequence[int]) -> NDArray[np.uint8]:
    """The part, from 0, of every index of an axis."""
    return np.searchsorted(np.asarray(cuts), np.arange(size), side="right").astype(np.uint8)


def split_by_rank(values: NDArray, shares: Sequence[float]) -> NDArray[np.uint8]:
    """Cut values in order into parts that hold ``shares`` of them; the lowest are part 0.

    Equal values may fall on both sides of a cut (in their order of appearance), so that the shares
    are kept to one value however coarse the grid is.
    """
    ends = np.rint(np.cumsum(shares) / np.sum(shares) * len(values)).astype(np.intp)
    parts = np.empty(len(values), np.uint8)
    order = np.argsort(values, kind="stable")
    parts[order] = np.searchsorted(ends[:-1], np.arange(len(values)), side="right")
    return parts


def rind(lung: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The outer half of one lung by volume: the voxels nearest to its surface.

    The surface is the whole pleura (costal, diaphragmatic and mediastinal), after holes up to
    about twice `CLOSE_MM` (vessels, bronchi) were closed. Inner and outer segments as in Nakano et
    al., Thorax 1999;54:384; that they have equal volumes is our choice.

    Parameters
    ----------
    lung
        One lung with its lesions, ``(z, y, x)``.
    spacing_mm
        ``(z, y, x)``.
    """
    from scipy import ndimage

    if not lung.any():
        return np.zeros_like(lung)
    reach = round(CLOSE_MM / min(spacing_mm[1:])) + 1
    padded = np.pad(lung, ((1, 1), (reach, reach), (reach, reach)))
    steps = max(1, round(CLOSE_MM / spacing_mm[1]))
    ring = ndimage.generate_binary_structure(2, 1)[None]
    closed = ndimage.binary_closing(padded, ring, iterations=steps) | padded
    depth = ndimage.distance_transform_edt(closed, sampling=spacing_mm)
    inner = depth[1:-1, reach:-reach, reach:-reach]
    return np.asarray(lung & (inner <= np.median(inner[lung])))
