"""Where each lung voxel lies: its side, third, depth, rind or core, lobe and one of 20 regions.

Everything is held in one number a voxel, the *cell*, so that one count of cells answers for every
division at once. Cells are found slice by slice; nothing of the full size is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import Lobe, LobeMap
from napari_covseg.domain.volume import LabelMap
from napari_covseg.preprocess.coarse import CoarseGrid
from napari_covseg.quantify.cells import CELL_AXES, SIDES
from napari_covseg.quantify.divisions import equal_cuts, part_of_each, rind
from napari_covseg.quantify.lobes import approximate_lobes, coarse_lobes
from napari_covseg.quantify.profile import LungProfile
from napari_covseg.quantify.twenty import split_lobes
from napari_covseg.quantify.volumes import coarse_sides

_LOBE_AT, _RIND_AT = CELL_AXES["region"], CELL_AXES["region"] * CELL_AXES["lobe"]
_DEPTH_AT = _RIND_AT * 2
_THIRD_AT = _DEPTH_AT * 2
_SIDE_AT = _THIRD_AT * 3


@dataclass(frozen=True, eq=False)
class SliceVoxels:
    """The lung voxels of a slice: flat indices into it, their labels, 0 left or 1 right, cells."""

    index: NDArray[np.intp]
    labels: NDArray[np.uint8]
    side: NDArray[np.uint8]
    cell: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Regions:
    """The divisions of a label map's lungs.

    ``thirds`` and ``halves`` are the cuts along z and y (`equal_cuts`). ``fields`` hold, for left
    and right, region, lobe and rind of the lung near each coarse voxel; ``sides`` the side.
    """

    labels: LabelMap
    thirds: tuple[int, ...]
    halves: tuple[int, ...]
    grid: CoarseGrid
    sides: NDArray[np.uint8]
    fields: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    lobes: LobeMap | None

    @classmethod
    def of(cls, labels: LabelMap, lobes: LobeMap | None, profile: LungProfile) -> Regions:
        """Divide the lungs; ``lobes`` on the same grid, or None for the approximation."""
        grid, sides = coarse_sides(labels)
        coarse = grid.take(labels.labels)
        lung = (coarse > Label.BACKGROUND.value) & (coarse < Label.IGNORE.value)
        left, right = (_field(lung & (sides == side), grid, lobes, side) for side in SIDES)
        return cls(
            labels,
            equal_cuts(profile.along_z, 3),
            equal_cuts(profile.along_y, 2),
            grid,
            sides,
            (left, right),
            lobes,
        )

    def voxels(self, z: int) -> SliceVoxels | None:
        """The lung voxels of slice ``z`` with their cells; None where there are none."""
        plane = self.labels.labels[z].ravel()
        index = np.flatnonzero((plane > Label.BACKGROUND.value) & (plane < Label.IGNORE.value))
        if len(index) == 0:
            return None
        found = plane[index]
        nearest = self.grid.slice_of(self.sides, z).ravel()[index]
        side = np.where(found <= Label.RIGHT_LUNG.value, found, nearest) - np.uint8(1)
        left, right = (self.grid.slice_of(field, z).ravel()[index] for field in self.fields)
        local = np.where(side == 0, left, right).astype(np.intp)
        if self.lobes is not None:
            local = self._with_lobes(z, index, side, local)
        _, _, width = self.labels.geometry.shape
        dorsal = part_of_each(self.labels.geometry.shape[1], self.halves)[index // width]
        third = int(part_of_each(self.labels.geometry.shape[0], self.thirds)[z])
        cell = local + _DEPTH_AT * dorsal.astype(np.intp) + (_THIRD_AT * third)
        return SliceVoxels(index, found, side, cell + _SIDE_AT * side.astype(np.intp))

    def _with_lobes(
        self, z: int, index: NDArray, side: NDArray[np.uint8], local: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Lobes from the lobe map itself where it has one of that side, not its coarse copy."""
        assert self.lobes is not None
        exact = self.lobes.lobes[z].ravel()[index]
        own = np.where(side == 0, exact <= Lobe.LEFT_LOWER, exact > Lobe.LEFT_LOWER) & (exact > 0)
        shift = exact.astype(np.intp) - local // _LOBE_AT % CELL_AXES["lobe"]
        return np.where(own, local + shift * _LOBE_AT, local)


def _field(
    lung: NDArray[np.bool_], grid: CoarseGrid, lobes: LobeMap | None, side: Label
) -> NDArray[np.uint8]:
    """Region, lobe and rind as one number, in every coarse voxel that of the nearest lung."""
    if not lung.any():
        return np.zeros(lung.shape, np.uint8)
    if lobes is None:
        found = approximate_lobes(lung, side)
    else:
        found = _filled(coarse_lobes(lobes, grid, lung, side), grid.spacing_mm) * lung
    outer = rind(lung, grid.spacing_mm)
    code = split_lobes(found) + _LOBE_AT * found.astype(np.intp) + _RIND_AT * outer
    # A code of 0 is lung too (central, of no lobe), so the lung itself says what is known.
    return _filled(code.astype(np.uint8), grid.spacing_mm, lung)


def _filled(
    values: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    known: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Every voxel gets the value of the nearest known one."""
    known = values > 0 if known is None else known
    if not known.any():
        return values
    nearest = ndimage.distance_transform_edt(
        ~known, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    return np.asarray(values[tuple(nearest)])
