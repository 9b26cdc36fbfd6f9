"""Slices that are sheared, shifted or unevenly spaced, resampled onto a regular grid.

Slices keep their own plane: each is moved within it to where it lies in the patient (gantry tilt
shears a stack), then the volume is interpolated across slices to even spacing. Both steps are
linear; samples that need no move stay exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.io.hounsfield import AIR_HU

_EXACT = 1e-3


@dataclass(frozen=True, eq=False)
class Stacking:
    """Where parallel slices lie: in-plane offset and height of each.

    Parameters
    ----------
    offsets_mm
        ``(n, 2)``: how far each slice's first voxel lies from the first slice's, along columns'
        index (x) and rows' index (y).
    heights_mm
        ``(n,)``, rising: positions along the normal.
    pixel_mm
        ``(between rows, between columns)``.
    """

    offsets_mm: NDArray[np.float64]
    heights_mm: NDArray[np.float64]
    pixel_mm: tuple[float, float]

    @property
    def gaps_mm(self) -> NDArray[np.float64]:
        """Distances between neighbouring slices, shape ``(n - 1,)``."""
        return np.diff(self.heights_mm)

    @property
    def is_even(self) -> bool:
        """Whether no slice is more than 0.1 mm, or 2 % of the spacing, off an even grid."""
        n = len(self.heights_mm)
        if n < 3:
            return True
        even = np.linspace(self.heights_mm[0], self.heights_mm[-1], n)
        limit = max(0.1, 0.02 * (even[1] - even[0]))
        return bool(np.abs(self.heights_mm - even).max() <= limit)

    @property
    def is_straight(self) -> bool:
        """Whether no slice is shifted in its plane by more than 0.1 mm and a tenth of a pixel."""
        return bool(np.abs(self.offsets_mm).max() <= max(0.1, 0.1 * min(self.pixel_mm)))

    @property
    def shear_degrees(self) -> float | None:
        """The angle of an even shear (gantry tilt), None where shifts follow no line."""
        rise = self.heights_mm - self.heights_mm[0]
        slope = rise @ self.offsets_mm / (rise @ rise)
        left_over = np.abs(self.offsets_mm - np.outer(rise, slope)).max()
        if left_over > max(0.5, 0.02 * np.abs(self.offsets_mm).max()):
            return None
        return float(np.degrees(np.arctan(np.linalg.norm(slope))))

    @property
    def even_heights_mm(self) -> NDArray[np.float64]:
        """Heights from first to last at the finest gap that is at least half the usual one."""
        gaps = self.gaps_mm
        if self.is_even:
            return np.linspace(self.heights_mm[0], self.heights_mm[-1], len(self.heights_mm))
        finest = gaps[gaps >= np.median(gaps) / 2].min()
        steps = round(float(gaps.sum() / finest))
        return np.linspace(self.heights_mm[0], self.heights_mm[-1], steps + 1)


@dataclass(frozen=True, eq=False)
class Regridded:
    """The resampled voxels; ``start_mm`` is the first voxel's in-plane offset from slice 0's."""

    values: NDArray
    start_mm: tuple[float, float]
    spacing_mm: float


@dataclass(frozen=True, eq=False)
class Canvas:
    """The regular grid that slices are resampled onto, and where each slice lies on it.

    ``start`` is the grid's first pixel ``(x, y)`` counted from slice 0's, ``moves`` ``(n, 2)`` how
    many pixels each slice lies from there (not negative, whole where no interpolation is needed),
    ``shape`` the grid's ``(rows, columns)``.
    """

    start: NDArray[np.float64]
    moves: NDArray[np.float64]
    shape: tuple[int, int]

    @classmethod
    def of(cls, where: Stacking, rows: int, columns: int) -> Canvas:
        """The smallest grid that holds all slices of ``rows`` and ``columns``."""
        dy, dx = where.pixel_mm
        pixels = where.offsets_mm / np.array([dx, dy])
        start = np.floor(pixels.min(axis=0) + _EXACT)
        moves = np.where(np.abs(pixels - np.rint(pixels)) < _EXACT, np.rint(pixels), pixels) - start
        widen = np.ceil(moves.max(axis=0)).astype(int)
        return cls(start, moves, (rows + int(widen[1]), columns + int(widen[0])))

    def start_mm(self, where: Stacking) -> tuple[float, float]:
        """The grid's first voxel's in-plane offset ``(x, y)`` from slice 0's."""
        dy, dx = where.pixel_mm
        return float(self.start[0] * dx), float(self.start[1] * dy)


def regrid(values: NDArray, where: Stacking) -> Regridded:
    """Resample ``(n, rows, columns)`` HU slices, n of at least 2, onto a regular grid.

    The grid is widened to hold all slices; what none covers is air. The data type is kept.
    """
    canvas = Canvas.of(where, values.shape[1], values.shape[2])
    heights = where.even_heights_mm
    result = np.empty((len(heights), *canvas.shape), dtype=values.dtype)
    placed: dict[int, NDArray[np.float32]] = {}

    def slice_in_place(i: int) -> NDArray[np.float32]:
        if i not in placed:
            for old in [key for key in placed if key < i - 1]:
                del placed[old]
            placed[i] = _place(values[i], canvas.moves[i], canvas.shape)
        return placed[i]

    for k, height in enumerate(heights):
        lower = int(
            np.clip(np.searchsorted(where.heights_mm, height, "right") - 1, 0, len(values) - 2)
        )
        weight = (height - where.heights_mm[lower]) / where.gaps_mm[lower]
        weight = float(np.clip(weight, 0.0, 1.0))
        blend = _blend(slice_in_place, lower, weight)
        result[k] = np.rint(blend) if values.dtype.kind == "i" else blend
    return Regridded(result, canvas.start_mm(where), float(heights[1] - heights[0]))


def put_back(labels: NDArray, where: Stacking, rows: int, columns: int) -> NDArray:
    """Labels on the grid of `regrid` taken to the slices it was made of.

    ``labels`` is ``(len(where.even_heights_mm), *Canvas.shape)``, the result
    ``(n, rows, columns)``: every pixel takes the label of the grid's voxel nearest to its centre.
    """
    canvas = Canvas.of(where, rows, columns)
    result = np.empty((len(where.heights_mm), rows, columns), labels.dtype)
    for i, k in enumerate(_nearest(where.even_heights_mm, where.heights_mm)):
        x, y = np.rint(canvas.moves[i]).astype(int)
        result[i] = labels[k, y : y + rows, x : x + columns]
    return result


def spread_out(labels: NDArray, where: Stacking) -> NDArray:
    """Labels of slices ``(n, rows, columns)`` on the grid of `regrid`: each from the nearest slice.

    The way back of `put_back`; what no slice covers is 0.
    """
    rows, columns = labels.shape[1:]
    canvas = Canvas.of(where, rows, columns)
    heights = where.even_heights_mm
    result = np.zeros((len(heights), *canvas.shape), labels.dtype)
    for k, i in enumerate(_nearest(where.heights_mm, heights)):
        x, y = np.rint(canvas.moves[i]).astype(int)
        result[k, y : y + rows, x : x + columns] = labels[i]
    return result


def _nearest(places: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index of the place nearest to each wanted one."""
    return np.asarray(np.abs(wanted[:, None] - places[None, :]).argmin(axis=1))


def _blend(
    slice_in_place: Callable[[int], NDArray[np.float32]], lower: int, weight: float
) -> NDArray[np.float32]:
    below = slice_in_place(lower)
    if weight < _EXACT:
        return below
    above = slice_in_place(lower + 1)
    if weight > 1 - _EXACT:
        return above
    return np.asarray(below + np.float32(weight) * (above - below))


def _place(
    plane: NDArray, move: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """A slice on the widened canvas, ``move`` = (x, y) pixels from its corner, not negative."""
    canvas = np.full(shape, AIR_HU, dtype=np.float32)
    whole = np.floor(move).astype(int)
    rows, columns = plane.shape
    canvas[whole[1] : whole[1] + rows, whole[0] : whole[0] + columns] = plane
    for axis, part in ((0, move[1] - whole[1]), (1, move[0] - whole[0])):
        if part > 0:
            before = np.roll(canvas, 1, axis=axis)
            canvas += np.float32(part) * (before - canvas)
    return canvas
