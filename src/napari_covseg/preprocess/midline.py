"""Where the mediastinum lies between two lungs, in a mask of both."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import Label

# Two bodies are a pair of lungs when their centres lie this share of the whole width apart.
PAIR_SEPARATION = 0.35
PAIR_VOLUME = 0.03
SMOOTH_MM = 12.0


def find_midline(
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    known: NDArray[np.uint8] | None = None,
    tissue: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The x index between right and left lung for every slice, shape ``(z,)``.

    Tried in turn: what is known (labels 1 and 2 in ``known``), two separate bodies, the valley
    between two bodies that touch, the middle of the soft ``tissue`` around a lone lung (a lost or
    opaque lung leaves soft tissue on its side), the middle of the grid.
    """
    if known is not None:
        left, right = known == Label.LEFT_LUNG.value, known == Label.RIGHT_LUNG.value
        between = _between(right, left) if left.any() and right.any() else None
        if between is not None:
            return _smooth(between, spacing_mm[0])
    pair = _pair(mask)
    if pair is not None:
        between = _between(*pair)
        if between is not None:
            return _smooth(between, spacing_mm[0])
    valley = _valley(mask, spacing_mm[2])
    if valley is None and tissue is not None:
        valley = _tissue_middle(mask, tissue)
    if valley is None:
        valley = (mask.shape[2] - 1) / 2
    return np.full(len(mask), valley)


def _pair(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """The two largest bodies as (right, left), if they stand side by side."""
    bodies, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    if count < 2:
        return None
    stats = cc3d.statistics(bodies)
    sizes = stats["voxel_counts"].astype(np.int64)
    sizes[0] = 0
    first, second = np.argsort(sizes, kind="stable")[::-1][:2]
    if sizes[second] < PAIR_VOLUME * sizes[first]:
        return None
    boxes = [stats["bounding_boxes"][index] for index in (first, second)]
    if boxes[0][0].start >= boxes[1][0].stop or boxes[1][0].start >= boxes[0][0].stop:
        return None
    width = max(box[2].stop for box in boxes) - min(box[2].start for box in boxes)
    centres = [stats["centroids"][index][2] for index in (first, second)]
    if abs(centres[0] - centres[1]) < PAIR_SEPARATION * width:
        return None
    right, left = (first, second) if centres[0] < centres[1] else (second, first)
    return bodies == right, bodies == left


def _between(right: NDArray[np.bool_], left: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Half way from the centre of one to the centre of the other, in each slice.

    None where left does not lie to the left: then labels or bodies are no pair of lungs.
    """
    x = np.arange(right.shape[2])
    sums = [mask.sum(axis=1) for mask in (right, left)]
    area = [profile.sum(axis=1) for profile in sums]
    centres = [(profile @ x) / np.maximum(n, 1) for profile, n in zip(sums, area, strict=True)]
    overall = [(p.sum(axis=0) @ x) / max(1, p.sum()) for p in sums]
    if overall[0] >= overall[1]:
        return None
    both = (area[0] > 0) & (area[1] > 0)
    if not both.any():
        return np.full(len(right), (overall[0] + overall[1]) / 2)
    middle = (centres[0] + centres[1]) / 2
    z = np.arange(len(right))
    return np.asarray(np.interp(z, z[both], middle[both]))


def _smooth(middle: NDArray[np.float64], z_mm: float) -> NDArray[np.float64]:
    size = 2 * round(SMOOTH_MM / z_mm) + 1
    return np.asarray(ndimage.uniform_filter1d(middle, size, mode="nearest"))


def _valley(mask: NDArray[np.bool_], x_mm: float) -> float | None:
    """The least filled column between two heaps of lung, if there are two heaps."""
    profile = mask.sum(axis=(0, 1)).astype(np.float64)
    profile = ndimage.uniform_filter1d(profile, 2 * round(4.5 / x_mm) + 1, mode="constant")
    peak_left = np.maximum.accumulate(profile)
    peak_right = np.maximum.accumulate(profile[::-1])[::-1]
    depth = np.minimum(peak_left, peak_right) - profile
    lowest = np.flatnonzero(depth >= depth.max() - 1e-9)
    at = int(lowest[len(lowest) // 2])
    total = profile.sum()
    if profile[at] > 0.7 * min(peak_left[at], peak_right[at]):
        return None
    if not 0.1 * total < profile[:at].sum() < 0.9 * total:
        return None
    return float(at)


def _tissue_middle(mask: NDArray[np.bool_], tissue: NDArray[np.bool_]) -> float | None:
    """The centre of the soft tissue in the slices that hold lung."""
    slices = mask.any(axis=(1, 2))
    profile = (tissue & ~mask)[slices].sum(axis=(0, 1))
    if profile.sum() == 0:
        return None
    return float(profile @ np.arange(len(profile)) / profile.sum())
