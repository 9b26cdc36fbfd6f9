"""Where each point of the current scan was in the prior one, and what stood there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.geometry import Affine, Geometry

Box = tuple[slice, slice, slice]
_SLAB = 8
_FIELD_STEP_MM = 4.0
"""How far apart a smooth displacement is looked up; between, it is interpolated."""


@dataclass(frozen=True, eq=False)
class Mapping:
    """A point of the current scan to its place in the prior one, both LPS mm.

    ``matrix`` (4x4) alone where there is no ``field``; else the displacement ``field``,
    ``(z, y, x, 3)`` in mm (x, y, z) on ``grid``, is added to it. Beyond ``grid`` its edge goes on.
    """

    matrix: Affine
    field: NDArray[np.float32] | None = None
    grid: Geometry | None = None

    @property
    def volume_factor(self) -> float:
        """How much larger a volume is in the prior scan than in the current one (affine part)."""
        return float(abs(np.linalg.det(self.matrix[:3, :3])))

    def points(self, lps_mm: NDArray) -> NDArray[np.float64]:
        """Places ``(..., 3)`` of the current scan in the prior one."""
        moved = lps_mm @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        if self.field is not None and self.grid is not None:
            moved = moved + _displacement(self.field, self.grid, lps_mm)
        return np.asarray(moved)

    def back(self, lps_mm: NDArray) -> NDArray[np.float64]:
        """Places of the prior scan in the current one, by the affine part."""
        inverse = np.linalg.inv(self.matrix)
        return np.asarray(lps_mm @ inverse[:3, :3].T + inverse[:3, 3])


def _displacement(field: NDArray[np.float32], grid: Geometry, lps_mm: NDArray) -> NDArray:
    inverse = np.linalg.inv(grid.affine)
    index = (lps_mm @ inverse[:3, :3].T + inverse[:3, 3]).reshape(-1, 3).T[::-1]
    found = [
        ndimage.map_coordinates(field[..., axis], index, order=1, mode="nearest")
        for axis in range(3)
    ]
    return np.stack(found, axis=-1).reshape(lps_mm.shape)


class Carrier:
    """Looks up, slice by slice, what of the prior scan lies at the current scan's voxels.

    Parameters
    ----------
    mapping
        Current to prior.
    prior, current
        The two grids.
    box
        The part of the current grid that is asked for, ``(z, y, x)``; all of it without.
    """

    def __init__(
        self, mapping: Mapping, prior: Geometry, current: Geometry, box: Box | None = None
    ) -> None:
        self.box: Box = box or tuple(slice(0, n) for n in current.shape)  # type: ignore[assignment]
        self._mapping, self._prior, self._current = mapping, prior, current
        self._to_index = np.linalg.inv(prior.affine)
        self._affine = self._to_index @ mapping.matrix @ current.affine
        self._y = np.arange(self.box[1].start, self.box[1].stop)
        self._x = np.arange(self.box[2].start, self.box[2].stop)

    def positions(self, z: int) -> NDArray[np.float32]:
        """Index ``(3, y, x)`` into the prior's ``(z, y, x)`` of each voxel of slice ``z``."""
        m = self._affine
        rows = [
            (m[i, 0] * self._x)[None, :] + (m[i, 1] * self._y + m[i, 2] * z + m[i, 3])[:, None]
            for i in (2, 1, 0)
        ]
        index = np.stack(rows).astype(np.float32)
        if self._mapping.field is not None:
            index += self._shift(z)
        return index

    def in_slab(self, z: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """3x3 and offset from an index ``(z, y, x)``, counted from slice ``z``, to the prior's."""
        matrix = self._affine[:3, :3][::-1, ::-1]
        return matrix, self._affine[:3, 3][::-1] + matrix[:, 0] * z

    def nearest(self, z: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Flat index of the prior's nearest voxel, ``(y, x)``, and whether it lies in its image."""
        at = np.rint(self.positions(z)).astype(np.intp)
        shape = self._prior.shape
        inside = np.ones(at.shape[1:], bool)
        for axis, n in enumerate(shape):
            inside &= (at[axis] >= 0) & (at[axis] < n)
            np.clip(at[axis], 0, n - 1, out=at[axis])
        return (at[0] * shape[1] + at[1]) * shape[2] + at[2], inside

    def _shift(self, z: int) -> NDArray[np.float32]:
        """What the displacement adds to `positions`, from a lattice of about 4 mm."""
        _, y_mm, x_mm = self._current.spacing_mm
        y, weights_y = _lattice(self._y, _FIELD_STEP_MM / y_mm)
        x, weights_x = _lattice(self._x, _FIELD_STEP_MM / x_mm)
        index = np.stack(np.broadcast_arrays(x[None, :], y[:, None], np.float64(z), 1.0), axis=-1)
        lps = (index @ self._current.affine.T)[..., :3]
        assert self._mapping.field is not None
        assert self._mapping.grid is not None
        moved = _displacement(self._mapping.field, self._mapping.grid, lps)
        in_index = moved @ self._to_index[:3, :3].T
        return np.stack([weights_y @ in_index[..., i] @ weights_x.T for i in (2, 1, 0)]).astype(
            np.float32
        )


def _lattice(indices: NDArray, step: float) -> tuple[NDArray, NDArray[np.float64]]:
    """Places about ``step`` apart over ``indices``, and the weights that interpolate to each."""
    count = max(2, int(np.ceil((len(indices) - 1) / max(step, 1.0))) + 1)
    places = np.linspace(indices[0], indices[-1], count)
    weights = np.zeros((len(indices), count))
    gap = (places[-1] - places[0]) / (count - 1) or 1.0
    at = np.clip((indices - places[0]) / gap, 0, count - 1)
    left = np.minimum(at.astype(np.intp), count - 2)
    rows = np.arange(len(indices))
    weights[rows, left] = 1 - (at - left)
    weights[rows, left + 1] = at - left
    return places, weights


def carry_values(
    values: NDArray,
    prior: Geometry,
    current: Geometry,
    mapping: Mapping,
    *,
    fill: float,
    order: int = 1,
) -> NDArray:
    """The prior's ``(z, y, x)`` values on the current grid, interpolated; same type as given.

    ``fill`` stands where the prior's image does not reach; at its edge values fade into it.
    """
    carrier = Carrier(mapping, prior, current)
    whole = values.dtype.kind in "iu" and order > 0
    result = np.empty(current.shape, values.dtype)
    for start in range(0, current.shape[0], _SLAB):
        slab = result[start : start + _SLAB]
        found = np.empty(slab.shape, np.float32 if whole else values.dtype)
        options = {"output": found, "order": order, "mode": "grid-constant", "cval": fill}
        if mapping.field is None:
            ndimage.affine_transform(values, *carrier.in_slab(start), slab.shape, **options)
        else:
            at = np.stack([carrier.positions(start + i) for i in range(len(slab))], axis=1)
            ndimage.map_coordinates(values, at, **options)
        slab[...] = np.rint(found) if whole else found
    return result


def carry_slice(
    values: NDArray, prior: Geometry, current: Geometry, mapping: Mapping, z: int, *, fill: float
) -> NDArray[np.float32]:
    """Slice ``z`` of what `carry_values` gives, ``(y, x)``."""
    plane = np.empty(current.shape[1:], np.float32)
    at = Carrier(mapping, prior, current).positions(z)
    ndimage.map_coordinates(values, at, plane, order=1, mode="grid-constant", cval=fill)
    return plane
