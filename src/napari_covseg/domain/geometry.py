"""Where voxels are: shape, spacing and the affine to patient space.

Arrays are indexed ``[z, y, x]``. An affine maps the index vector ``(x, y, z, 1)`` to LPS
millimetres (x to the patient's left, y to posterior, z to superior), as DICOM and ITK do.
A grid is *canonical* when its x axis runs mostly to the left, y to posterior, z to superior;
bringing a grid there permutes and flips axes only, so it loses nothing and can be undone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
Affine = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid in patient space.

    Parameters
    ----------
    shape
        ``(z, y, x)``, all positive.
    affine
        4x4, index ``(x, y, z, 1)`` to LPS mm; must be finite and invertible.

    Raises
    ------
    ValueError
        If the shape is not three positive numbers or the affine is not a 4x4 invertible matrix.
    """

    shape: Shape
    affine: Affine

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"expected a finite 4x4 affine, got shape {affine.shape}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError("the affine is singular: a voxel has no volume")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"expected a (z, y, x) shape of positive sizes, got {self.shape}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @classmethod
    def from_spacing(
        cls,
        shape: Shape,
        spacing_mm: tuple[float, float, float],
        origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Geometry:
        """A canonical grid: ``spacing_mm`` is ``(z, y, x)``, ``origin_mm`` is LPS ``(x, y, z)``."""
        affine = np.diag([*spacing_mm[::-1], 1.0])
        affine[:3, 3] = origin_mm
        return cls(shape, affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along ``(z, y, x)``, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(z), float(y), float(x))

    @property
    def direction(self) -> Affine:
        """3x3: the unit vectors of the x, y and z index axes as columns, in LPS."""
        columns = self.affine[:3, :3]
        return np.asarray(columns / np.linalg.norm(columns, axis=0))

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """LPS position ``(x, y, z)`` of the centre of the first voxel, in mm."""
        x, y, z = self.affine[:3, 3]
        return (float(x), float(y), float(z))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres (right for sheared grids too)."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def orthogonal(self) -> bool:
        """Whether the three axes stand at right angles (false under gantry tilt)."""
        direction = self.direction
        return bool(np.allclose(direction.T @ direction, np.eye(3), atol=1e-3))

    @property
    def is_canonical(self) -> bool:
        """Whether x runs to the left, y to posterior, z to superior."""
        return self.to_canonical().is_identity

    @property
    def oblique_degrees(self) -> float:
        """Largest angle between an index axis and the patient axis nearest to it."""
        direction = self.reoriented(self.to_canonical()).direction
        return float(np.degrees(np.arccos(np.clip(np.diag(direction), -1, 1)).max()))

    def to_canonical(self) -> Reorientation:
        """The permutation and flips that bring this grid to canonical order."""
        cosines = self.direction
        order = max(
            permutations(range(3)), key=lambda p: sum(abs(cosines[i, p[i]]) for i in range(3))
        )
        flips = tuple(bool(cosines[i, order[i]] < 0) for i in range(3))
        return Reorientation(order, flips)  # type: ignore[arg-type]

    def reoriented(self, how: Reorientation) -> Geometry:
        """The same grid after its array was turned by ``how``."""
        affine = np.array(self.affine)
        shape_xyz = self.shape[::-1]
        columns = affine[:3, list(how.order)]
        origin = affine[:3, 3].copy()
        for axis, flip in enumerate(how.flips):
            if flip:
                origin += columns[:, axis] * (shape_xyz[how.order[axis]] - 1)
                columns[:, axis] *= -1
        affine[:3, :3], affine[:3, 3] = columns, origin
        x, y, z = (shape_xyz[source] for source in how.order)
        return Geometry((z, y, x), affine)

    def same_as(self, other: Geometry, tolerance_mm: float = 0.05) -> bool:
        """Whether both grids have one shape and no corner differs by more than the tolerance."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners_mm() - other.corners_mm()).max() <= tolerance_mm)

    def corners_mm(self) -> Affine:
        """LPS positions of the eight corner voxels' centres, shape ``(8, 3)``."""
        z, y, x = (n - 1 for n in self.shape)
        index = np.array([[i, j, k, 1.0] for k in (0, z) for j in (0, y) for i in (0, x)])
        return np.asarray((index @ self.affine.T)[:, :3])


@dataclass(frozen=True, slots=True)
class Reorientation:
    """A permutation and flips of array axes; lossless, and undone by `inverse`.

    ``order[i]`` is the old axis that becomes new axis ``i``, ``flips[i]`` whether new axis ``i``
    runs backwards. Both are in ``(x, y, z)`` order, the order of the affine's columns.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return self.order == (0, 1, 2) and not any(self.flips)

    @property
    def inverse(self) -> Reorientation:
        """What undoes this one."""
        order = tuple(self.order.index(axis) for axis in range(3))
        flips = tuple(self.flips[axis] for axis in order)
        return Reorientation(order, flips)  # type: ignore[arg-type]

    def apply(self, array: NDArray) -> NDArray:
        """Turn a ``[z, y, x]`` array; a view, never a copy."""
        axes = tuple(2 - self.order[2 - axis] for axis in range(3))
        turned = array.transpose(axes)
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips[::-1])
        return turned[steps]


def ras_to_lps(affine: Affine) -> Affine:
    """Turn an affine to RAS mm (NIfTI) into one to LPS mm, or back: the turn is its own inverse."""
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
