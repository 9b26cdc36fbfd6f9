"""Air beside the patient that a network took for lung: between arm and trunk, under clothes."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR_HU = -950.0
"""Between room air (about -1000) and lung (about -850); severe emphysema may lie below it."""
TISSUE_HU = (-200, 2000)
OPEN_SHARE = 0.5
MINOR_SHARE = 0.1


def without_outside_air(lung: NDArray[np.bool_], hu: NDArray) -> NDArray[np.bool_]:
    """``lung`` without the bodies that are air outside of the patient, both ``(z, y, x)``.

    A body goes only if it is a minor part, as thin as room air, and most of it is open: in some
    direction in its slice no tissue stands before the picture's edge. Lung at the edge of a cropped
    picture is open too, and in windowed pictures it can be as dark as air, but it is not minor.
    """
    bodies, count = cc3d.connected_components(lung, connectivity=26, return_N=True)
    if count == 0:
        return lung
    numbers = np.arange(1, count + 1)
    voxels = np.bincount(bodies.ravel())[1:]
    thin = np.asarray(ndimage.median(hu, bodies, numbers)) < AIR_HU
    thin &= voxels < MINOR_SHARE * voxels.sum()
    if not thin.any():
        return lung
    share = np.asarray(ndimage.mean(_open(hu), bodies, numbers))
    goes = np.concatenate([[False], thin & (share > OPEN_SHARE)])
    return np.asarray(lung & ~goes[bodies])


def _open(hu: NDArray) -> NDArray[np.float32]:
    """1 where in a slice some direction (left, right, front, back) meets no tissue, else 0."""
    tissue = (hu > TISSUE_HU[0]) & (hu < TISSUE_HU[1])
    # Clothes, sheets and tubes are thinner than a chest wall.
    tissue = ndimage.binary_opening(tissue, ndimage.generate_binary_structure(2, 1)[None])
    closed = np.ones(tissue.shape, bool)
    for axis in (1, 2):
        closed &= np.logical_or.accumulate(tissue, axis=axis)
        behind = np.logical_or.accumulate(np.flip(tissue, axis), axis=axis)
        closed &= np.flip(behind, axis)
    return (~closed).astype(np.float32)
