"""The slices of a scan as planes in the patient: where a contour of an RTSTRUCT lies on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry
from napari_covseg.io.dicom_source import SourceSeries
from napari_covseg.io.dicom_stacks import axes_of

Points = NDArray[np.float64]
Misplaced = Literal["outside", "between", "beside"]

_ON_SLICE = 0.1
"""How far off its slice a contour may lie, in distances of slices and in mm: files round."""
_BESIDE = 1.0
"""How far out of a slice's pixels a contour may reach, in pixels."""


class NotOnSlices(Exception):
    """A contour that lies on no slice: ``why`` it does not."""

    def __init__(self, why: Misplaced) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, eq=False)
class Planes:
    """Parallel slices with their pixels.

    Parameters
    ----------
    geometry
        The canonical grid that labels on the slices end on.
    origins
        ``(n, 3)``: the centre of each slice's first pixel, LPS mm.
    steps
        ``(2, 3)``: from a pixel to the one in the next row, and in the next column, LPS mm.
    size
        ``(rows, columns)``.
    gap_mm
        The usual distance of slices.
    to_grid
        Labels ``(n, rows, columns)`` to the canonical ``(z, y, x)``.
    """

    geometry: Geometry
    origins: Points
    steps: Points
    size: tuple[int, int]
    gap_mm: float
    to_grid: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

    @classmethod
    def of_series(cls, source: SourceSeries) -> Planes:
        """The slices of a DICOM series, as it stores them."""
        first = source.frames[0]
        row, column = axes_of(first)
        between_rows, between_columns = first.spacing or (1.0, 1.0)
        origins = np.array([frame.position for frame in source.frames], np.float64)
        steps = np.stack([column * between_rows, row * between_columns])
        _, rows, columns = source.grid.slices
        gap = np.linalg.norm(source.grid.native.affine[:3, 2])
        if len(origins) > 1:
            gap = np.median(np.abs(np.diff(origins @ _normal(steps))))
        return cls(
            source.geometry, origins, steps, (rows, columns), float(gap), source.grid.from_slices
        )

    @classmethod
    def of_grid(cls, geometry: Geometry, contours: Sequence[Points]) -> Planes:
        """The slices of a grid that the contours lie in: across the axis they do not run along."""
        to_index = np.linalg.inv(geometry.affine)[:3, :3]
        spreads = [np.ptp(points @ to_index.T, axis=0) for points in contours]
        across = int(np.max(spreads, axis=0).argmin()) if spreads else 2
        axis = 2 - across
        columns = geometry.affine[:3, :3]
        right, down = (columns[:, i] for i in range(3) if i != across)
        count = geometry.shape[axis]
        origins = geometry.affine[:3, 3] + np.arange(count)[:, None] * columns[:, across]
        steps = np.stack([down, right])
        rows, wide = (n for i, n in enumerate(geometry.shape) if i != axis)
        gap = abs(float(columns[:, across] @ _normal(steps)))

        def to_grid(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return np.moveaxis(labels, 0, axis)

        return cls(geometry, origins, steps, (rows, wide), gap, to_grid)

    def place(self, points: Points) -> tuple[int, Points]:
        """The slice that a contour ``(n, 3)`` lies on, and its points ``(row, column)`` there.

        Raises
        ------
        NotOnSlices
            If it lies above or below all slices, between two, or beside their pixels.
        """
        normal = _normal(self.steps)
        heights = self.origins @ normal
        own = points @ normal
        k = int(np.abs(heights - own.mean()).argmin())
        off = float(np.abs(own - heights[k]).max())
        if off > max(_ON_SLICE, _ON_SLICE * self.gap_mm):
            beyond = not heights.min() <= own.mean() <= heights.max()
            raise NotOnSlices("outside" if beyond else "between")
        pixels = (points - self.origins[k]) @ np.linalg.pinv(self.steps)
        last = np.array(self.size) - 1 + _BESIDE
        if (pixels < -_BESIDE).any() or (pixels > last).any():
            raise NotOnSlices("beside")
        return k, pixels


def _normal(steps: Points) -> Points:
    normal = np.cross(steps[1], steps[0])
    return np.asarray(normal / np.linalg.norm(normal))
