"""Resampling of ``(..., z, y, x)`` arrays onto grids that fill the same box.

The outer edges of both grids coincide: centre ``i`` of ``n`` voxels lies at ``(i + 0.5) / n`` of
the box, so that going to another grid and back moves nothing. Arrays are linear interpolated;
where the new grid is coarser, by a triangle as wide as two new voxels, so that noise is averaged
and not picked out (as ``antialias`` of PyTorch and Pillow does). Labels take the one that has the
greatest share in that average: the nearest voxel would move edges by half an old voxel wherever the
centre of a new one lies between two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Shape

if TYPE_CHECKING:
    from scipy import sparse

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
    for axis, weights in _passes(array.shape, shape):
        result = _along(result, axis, weights)
    return np.ascontiguousarray(result, np.float32)


class Slabs:
    """What `resample_linear` gives of one volume ``(z, y, x)``, some slices at a time.

    To the last bit the same, without ever holding all of it: only what must be done for all slices
    at once is kept.
    """

    def __init__(self, array: NDArray, shape: Shape) -> None:
        passes = _passes(array.shape, shape)
        along_z = [number for number, (axis, _) in enumerate(passes) if axis == 0]
        first = along_z[0] if along_z else 0
        self._kept = array
        for axis, weights in passes[:first]:
            self._kept = _along(self._kept, axis, weights)
        self._left = passes[first:]

    def __getitem__(self, slices: slice) -> NDArray[np.float32]:
        """These slices ``(n, y, x)``."""
        result, left = self._kept, self._left
        if left and left[0][0] == 0:
            result, left = _along(result, 0, left[0][1][slices]), left[1:]
        else:
            result = result[slices]
        for axis, weights in left:
            result = _along(result, axis, weights)
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


def _passes(old: tuple[int, ...], new: Shape) -> list[tuple[int, sparse.csr_matrix]]:
    """The axes that change, with their weights, in an order that keeps arrays small."""
    sizes = dict(zip(range(len(old) - 3, len(old)), new, strict=True))
    axes = sorted(sizes, key=lambda a: sizes[a] / old[a])
    return [(axis, _weights(old[axis], sizes[axis])) for axis in axes if sizes[axis] != old[axis]]


def _along(array: NDArray, axis: int, weights: sparse.csr_matrix) -> NDArray[np.float32]:
    """One axis by its weights, slab by slab: to turn and widen a whole volume takes copies."""
    over = 1 if axis == 0 else 0
    size = weights.shape[0]
    shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
    result = np.empty(shape, np.float32)
    within = axis - (over < axis)
    slabs = zip(np.moveaxis(array, over, 0), np.moveaxis(result, over, 0), strict=True)
    for slab, out in slabs:
        moved = np.moveaxis(np.asarray(slab, np.float32), within, 0)
        rows = weights @ moved.reshape(len(moved), -1)
        out[...] = np.moveaxis(rows.reshape(size, *moved.shape[1:]), 0, within)
    return result


def _weights(old: int, new: int) -> sparse.csr_matrix:
    """How much each of ``old`` voxels gives to each of ``new``: ``(new, old)``, rows sum to 1."""
    from scipy import sparse  # a tenth of a second, for which not every network has a use

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
