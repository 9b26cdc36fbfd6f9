"""How much lung there is along each axis and on each face: what divisions and checks stand on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import LESION_LABELS, Label


@dataclass(frozen=True, eq=False)
class LungProfile:
    """Voxel counts of a label map.

    ``along_z`` and ``along_y`` are lung voxels (labels 1 to 6) for each index of the axis,
    ``labels`` the count of every label, ``on_sides`` the lung voxels in the first and last row and
    in the first and last column of all slices. ``lesions`` is the smallest box ``(z, y, x)`` that
    holds every lesion voxel, None without lesions.
    """

    along_z: NDArray[np.int64]
    along_y: NDArray[np.int64]
    labels: NDArray[np.int64]
    on_sides: tuple[int, int]
    lesions: tuple[slice, slice, slice] | None

    @property
    def lung(self) -> int:
        """Lung voxels."""
        return int(self.along_z.sum())

    @classmethod
    def of(cls, labels: NDArray[np.uint8]) -> LungProfile:
        """Count ``(z, y, x)`` labels, a slice at a time."""
        depth, height, _ = labels.shape
        counts = np.zeros(len(Label), np.int64)
        along_z, along_y = np.zeros(depth, np.int64), np.zeros(height, np.int64)
        rows = columns = 0
        sick = [np.zeros(n, bool) for n in labels.shape]
        for z, plane in enumerate(labels):
            if not plane.any():
                continue
            found = np.bincount(plane.ravel(), minlength=len(Label))
            counts += found
            lung = (plane > Label.BACKGROUND.value) & (plane < Label.IGNORE.value)
            by_row = lung.sum(axis=1)
            along_z[z] = by_row.sum()
            along_y += by_row
            rows += int(lung[[0, -1]].sum())
            columns += int(lung[:, [0, -1]].sum())
            if found[list(LESION_LABELS)].any():
                lesion = np.isin(plane, LESION_LABELS)
                sick[0][z] = True
                sick[1] |= lesion.any(axis=1)
                sick[2] |= lesion.any(axis=0)
        box = tuple(_extent(axis) for axis in sick) if sick[0].any() else None
        return cls(along_z, along_y, counts, (rows, columns), box)  # type: ignore[arg-type]


def _extent(axis: NDArray[np.bool_]) -> slice:
    where = np.flatnonzero(axis)
    return slice(int(where[0]), int(where[-1]) + 1)
