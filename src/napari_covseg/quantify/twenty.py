"""The 20 regions of the CT severity score, approximated inside the lobes.

Yang et al., Radiol Cardiothorac Imaging 2020;2:e200047: the 18 segments of the lungs, with the
apicoposterior segment of the left upper lobe and the anteromedial basal segment of the left lower
lobe divided in two. Segments follow the bronchi and have no visible borders, so here each lobe is
cut by planes into its regions, of equal volume within the lobe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.lobes import Lobe
from napari_covseg.quantify.divisions import split_by_rank

_UPPER = ("apical", "posterior", "anterior")
_LOWER = ("superior", "medial basal", "anterior basal", "lateral basal", "posterior basal")
REGIONS: tuple[tuple[Lobe, str], ...] = (
    *((Lobe.RIGHT_UPPER, name) for name in _UPPER),
    (Lobe.RIGHT_MIDDLE, "lateral"),
    (Lobe.RIGHT_MIDDLE, "medial"),
    *((Lobe.RIGHT_LOWER, name) for name in _LOWER),
    *((Lobe.LEFT_UPPER, name) for name in _UPPER),
    (Lobe.LEFT_UPPER, "superior lingular"),
    (Lobe.LEFT_UPPER, "inferior lingular"),
    *((Lobe.LEFT_LOWER, name) for name in _LOWER),
)
"""Lobe and name of region 1 to 20 (index 0 to 19 here)."""


def region_name(number: int) -> str:
    """A region, 1 to 20, in words, such as ``right lower lobe, lateral basal``."""
    lobe, name = REGIONS[number - 1]
    return f"{lobe.title.lower()}, {name}"


def split_lobes(lobes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The region, 1 to 20, of every voxel of a lobe, 0 elsewhere.

    Parameters
    ----------
    lobes
        `Lobe` of each voxel, ``(z, y, x)``, canonical.
    """
    regions = np.zeros_like(lobes)
    for lobe in Lobe:
        inside = lobes == lobe
        z, y, x = np.nonzero(inside)
        if len(z) == 0:
            continue
        # Towards the mediastinum: to the left in the right lung.
        medial = x if lobe > Lobe.LEFT_LOWER else -x
        if lobe in (Lobe.RIGHT_LOWER, Lobe.LEFT_LOWER):
            parts = _lower(z, y, medial)
        elif lobe is Lobe.RIGHT_MIDDLE:
            parts = split_by_rank(medial, (1, 1))
        else:
            parts = _upper(z, y, lingula=lobe is Lobe.LEFT_UPPER)
        first = next(i for i, (owner, _) in enumerate(REGIONS) if owner is lobe)
        regions[inside] = parts + (first + 1)
    return regions


def _upper(z: NDArray, y: NDArray, *, lingula: bool) -> NDArray[np.uint8]:
    """Apical on top; below it posterior and anterior; in the left lobe the lingula at the foot."""
    levels = split_by_rank(-z, (1, 2, 1, 1) if lingula else (1, 2))
    parts = levels.copy()
    middle = np.flatnonzero(levels == 1)
    parts[levels >= 2] += 1
    # From front to back: the anterior region is number 2, the posterior one number 1.
    parts[middle] = 2 - split_by_rank(y[middle], (1, 1))
    return parts


def _lower(z: NDArray, y: NDArray, medial: NDArray) -> NDArray[np.uint8]:
    """Superior on top; of the basal ones anterior and posterior at the ends, two between."""
    parts = np.zeros(len(z), np.uint8)
    basal = np.flatnonzero(split_by_rank(-z, (1, 4)) == 1)
    depth = split_by_rank(y[basal], (1, 2, 1))
    parts[basal[depth == 0]] = 2
    parts[basal[depth == 2]] = 4
    between = basal[depth == 1]
    parts[between] = np.where(split_by_rank(medial[between], (1, 1)) == 1, 1, 3)
    return parts
