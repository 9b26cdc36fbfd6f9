"""A coarse copy of a volume, for geometry that does not need every voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Shape

TARGET_MM = 3.0


@dataclass(frozen=True, slots=True)
class CoarseGrid:
    """Every ``steps``-th voxel of a ``(z, y, x)`` grid, starting in the middle of a step."""

    full: Shape
    spacing_mm: tuple[float, float, float]
    steps: Shape

    @classmethod
    def of(
        cls, shape: Shape, spacing_mm: tuple[float, float, float], target_mm: float = TARGET_MM
    ) -> CoarseGrid:
        """The coarsest grid whose voxels are not larger than ``target_mm`` (or the grid's own)."""
        steps = tuple(
            min(n, max(1, int(target_mm / mm + 1e-6)))
            for n, mm in zip(shape, spacing_mm, strict=True)
        )
        coarse = tuple(mm * step for mm, step in zip(spacing_mm, steps, strict=True))
        return cls(shape, coarse, steps)  # type: ignore[arg-type]

    @property
    def full_spacing_mm(self) -> tuple[float, float, float]:
        """Spacing of the full grid, ``(z, y, x)``."""
        z, y, x = (mm / step for mm, step in zip(self.spacing_mm, self.steps, strict=True))
        return z, y, x

    def take(self, array: NDArray) -> NDArray:
        """The coarse copy of a full array; a view."""
        return array[tuple(slice(step // 2, None, step) for step in self.steps)]

    def index(self, axis: int) -> NDArray[np.intp]:
        """For every full index along ``axis`` the coarse index it belongs to."""
        step, size = self.steps[axis], self.full[axis]
        count = -(-(size - step // 2) // step)
        return np.minimum(np.arange(size) // step, count - 1)

    def slice_of(self, coarse: NDArray, z: int) -> NDArray:
        """Slice ``z`` of the full grid, ``(y, x)``, filled from the nearest coarse voxels."""
        plane = coarse[self.index(0)[z]]
        # Not plane[y][:, x]: that lies transposed in memory, and all that meets it would be slow.
        return np.asarray(plane.take(self.index(1), axis=0).take(self.index(2), axis=1))
