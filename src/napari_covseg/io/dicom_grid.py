"""The regular grid that a DICOM series is worked on, and the way back to its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Affine, Geometry, Shape
from napari_covseg.io.dicom_header import Frame
from napari_covseg.io.dicom_regrid import Canvas, Stacking, put_back, spread_out
from napari_covseg.io.dicom_stacks import axes_of, normal_of
from napari_covseg.io.dicom_values import Vector

ASSUMED_SPACING_MM = 1.0
"""Between slices, where there is one only and it has no thickness."""

_WHOLE = 0.02
"""How far, in voxels, a part's corner may lie off the whole's voxels."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a slice lies, as `Frame` says it: LPS, spacing ``(between rows, between columns)``."""

    position: Vector
    orientation: Vector
    spacing: Vector


@dataclass(frozen=True, eq=False)
class SeriesGrid:
    """Where the voxels of a series are, in the order of its slices.

    Parameters
    ----------
    shape
        ``(z, y, x)`` of the regular grid.
    affine
        Index ``(x, y, z, 1)`` to LPS mm; z is the order of the slices.
    slices
        ``(n, rows, columns)``, as the series stores them.
    stacking
        Where the slices lie if they are not on the grid themselves, so that voxels were resampled.
    """

    shape: Shape
    affine: Affine
    slices: Shape
    stacking: Stacking | None = None

    @property
    def native(self) -> Geometry:
        """The grid in the order of the slices."""
        return Geometry(self.shape, self.affine)

    @property
    def geometry(self) -> Geometry:
        """The grid in canonical order, that of the `CTVolume`."""
        return self.native.reoriented(self.native.to_canonical())

    def to_slices(self, labels: NDArray) -> NDArray:
        """Canonical labels on this grid, on the slices of the series ``(n, rows, columns)``.

        Exact for slices that make a regular grid; the nearest voxel otherwise.
        """
        native = self.native.to_canonical().inverse.apply(labels)
        if self.stacking is None:
            return native
        return put_back(native, self.stacking, *self.slices[1:])

    def from_slices(self, labels: NDArray) -> NDArray:
        """Labels of slices ``(n, rows, columns)`` on the canonical grid: each from the nearest."""
        native = labels if self.stacking is None else spread_out(labels, self.stacking)
        return self.native.to_canonical().apply(native)


def grid_of(frames: Sequence[Frame]) -> SeriesGrid:
    """The grid that slices of a series, ordered along their normal, are worked on."""
    image = frames[0].image
    return grid_at(
        stacking_of(frames), frames[0], (image.rows, image.columns), thickness_of(frames[0])
    )


def grid_at(
    where: Stacking, first: Frame | Place, size: tuple[int, int], thickness_mm: float
) -> SeriesGrid:
    """The grid of slices of ``size`` ``(rows, columns)``, the ``first`` of which lies there.

    ``thickness_mm`` counts for a single slice only.
    """
    dy, dx = where.pixel_mm
    slices = (len(where.heights_mm), *size)
    if slices[0] == 1:
        return SeriesGrid(slices, _affine(first, (dx, dy, thickness_mm)), slices)
    heights = where.even_heights_mm
    across = float(heights[-1] - heights[0]) / (len(heights) - 1)
    affine = _affine(first, (dx, dy, across))
    if where.is_even and where.is_straight:
        return SeriesGrid(slices, affine, slices)
    canvas = Canvas.of(where, *size)
    row, column = axes_of(first)
    x, y = canvas.start_mm(where)
    affine[:3, 3] += row * x + column * y
    return SeriesGrid((len(heights), *canvas.shape), affine, slices, where)


def thickness_of(frame: Frame) -> float:
    """How thick a single slice is taken to be, in mm."""
    return frame.thickness or ASSUMED_SPACING_MM


def stacking_of(slices: Sequence[Frame] | Sequence[Place]) -> Stacking:
    """Where slices lie against the first."""
    row, column = axes_of(slices[0])
    positions = np.array([one.position for one in slices], dtype=np.float64)
    offsets = positions - positions[0]
    dy, dx = slices[0].spacing or (1.0, 1.0)
    return Stacking(
        np.stack([offsets @ row, offsets @ column], axis=1),
        offsets @ normal_of(slices[0]),
        (dy, dx),
    )


def part_of(whole: Geometry, part: Geometry) -> tuple[slice, slice, slice] | None:
    """Where a part lies in a grid ``(z, y, x)``, None if its voxels are not voxels of the grid."""
    step = np.linalg.solve(whole.affine, part.affine)
    first = np.rint(step[:3, 3])
    far = np.array(part.shape[::-1])
    off = np.abs(step[:3, :3] - np.eye(3)) @ far + np.abs(step[:3, 3] - first)
    last = first + far
    if off.max() > _WHOLE or first.min() < 0 or (last > np.array(whole.shape[::-1])).any():
        return None
    x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return z, y, x


def _affine(first: Frame | Place, spacing_xyz: tuple[float, float, float]) -> Affine:
    affine = np.eye(4)
    row, column = axes_of(first)
    for axis, direction in enumerate((row, column, normal_of(first))):
        affine[:3, axis] = direction * spacing_xyz[axis]
    affine[:3, 3] = first.position
    return affine
