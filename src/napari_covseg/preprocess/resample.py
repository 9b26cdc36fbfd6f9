"""Resampling of ``(..., z, y, x)`` arrays onto grids that fill the same box.

The outer edges of both grids coincide: centre ``i`` of ``n`` voxels lies at ``(i + 0.5) / n`` of
the box, so that going to another grid and back moves nothing. Arrays are linear interpolated;
where the new grid is coarser, by a triangle as wide as two new voxels, so that noise is averaged
and not picked out (as ``antialias`` of PyTorch and Pillow does). Labels take the one that has the
greatest share in that average: the nearest voxel would move edges by half an old voxel wherever the
centre of a new one lies between two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_covseg.domain.geometry import Shape

Spacing = tuple[float, float, float]


def resampled_shape(shape: Shape, spacing_mm: Spacing, target_mm: Spacing) -> Shape:
    """The shape whose voxels come nearest to ``target_mm``; a single slice stays one."""
    z, y, x = (
        max(1, round(n * mm / to)) if n > 1 else 1
        for n, mm, to in zip(shape, spacing_mm, target_mm, strict=True)
    )
    return z, y, x


def resample_linear(array: NDArray, shape: Shape) -> NDArray[np.float32]:
    """The last three axes to ``shape``; values stay between their least and greatest."""
    result = array
    first = result.ndim - 3
    sizes = dict(zip(range(first, result.ndim), shape, strict=True))
    for axis in sorted(sizes, key=lambda a: sizes[a] / result.shape[a]):
        if sizes[axis] != result.shape[axis]:
            result = _along(result, axis, sizes[axis])
    return np.ascontiguousarray(result, np.float32)


def resample_labels(labels: NDArray, shape: Shape) -> NDArray:
    """The last three axes to ``shape``, each voxel by the label with the greatest share; a copy.

    Of equal shares the least label wins.
    """
    if labels.shape[-3:] == tuple(shape):
        return labels.copy()
    result = np.zeros((*labels.shape[:-3], *shape), labels.dtype)
    most = np.zeros(result.shape, np.float32)
    for label in np.unique(labels):
        share = resample_linear(labels == label, shape)
        # Shares of 1/2 differ by rounding, in either direction.
        more = share > most + 1e-6
        result[more] = label
        np.copyto(most, share, where=more)
    return result


def _along(array: NDArray, axis: int, size: int) -> NDArray[np.float32]:
    """One axis to ``size``, slab by slab: to turn and widen a whole volume takes copies of it."""
    over = 1 if axis == 0 else 0
    shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
    result, weights = np.empty(shape, np.float32), _weights(array.shape[axis], size)
    within = axis - (over < axis)
    slabs = zip(np.moveaxis(array, over, 0), np.moveaxis(result, over, 0), strict=True)
    for slab, out in slabs:
        moved = np.moveaxis(np.asarray(slab, np.float32), within, 0)
        rows = weights @ moved.reshape(len(moved), -1)
        out[...] = np.moveaxis(rows.reshape(size, *moved.shape[1:]), 0, within)
    return result


def _weights(old: int, new: int) -> sparse.csr_matrix:
    """How much each of ``old`` voxels gives to each of ``new``: ``(new, old)``, rows sum to 1."""
    step = old / new
    reach = max(1.0, step)
    centre = (np.arange(new) + 0.5)[:, None] * step
    taps = np.floor(centre - reach).astype(np.intp) + np.arange(2 * int(np.ceil(reach)) + 2)
    weight = np.maximum(0, 1 - np.abs(taps + 0.5 - centre) / reach)
    weight[(taps < 0) | (taps >= old)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    row, tap = np.nonzero(weight)
    entries = (weight[row, tap].astype(np.float32), (row, taps[row, tap]))
    return sparse.csr_matrix(entries, shape=(new, old))
