"""One pass over the lungs: how many voxels of each tissue and density lie in each cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import CTVolume
from napari_covseg.quantify.cells import CELL_AXES, CELLS, SIDES
from napari_covseg.quantify.density import BANDS, HU_HIGH, HU_LOW, HU_VALUES, band_of_each
from napari_covseg.quantify.doubt import Doubt

if TYPE_CHECKING:
    from napari_covseg.quantify.regions import SliceVoxels

HEALTHY, GGO, CONSOLIDATION, INFECTION = range(4)
TISSUES = 4
"""What a lung voxel is: not diseased, GGO, consolidation, infection of unknown class."""
_TISSUE = np.zeros(len(Label), np.intp)
_TISSUE[[Label.GGO, Label.CONSOLIDATION, Label.INFECTION]] = (GGO, CONSOLIDATION, INFECTION)
HIGH = len(BANDS) - 1
"""The band of high opacity."""
CLASSES = ("ggo", "consolidation", "lesions", "high_opacity")


@dataclass(frozen=True, eq=False)
class Tally:
    """Voxel counts.

    ``cells`` has the axes of `CELL_AXES`, then tissue, then HU band (all in band 0 without a CT);
    ``hu``, None without a CT, is ``(side, tissue, HU from HU_LOW)``. ``fewest`` and ``most`` have
    the axes of `CELL_AXES` and then `CLASSES`: the counts if the decision about each voxel had
    been stricter or laxer; None where nothing says how sure it was.
    """

    cells: NDArray[np.int64]
    hu: NDArray[np.int64] | None
    fewest: NDArray[np.int64] | None
    most: NDArray[np.int64] | None


class Counter:
    """Counts voxels slice by slice into a `Tally`.

    Parameters
    ----------
    volume
        The CT on the label map's grid, if there is one.
    doubt
        How sure the model was, on the same grid, if that is known.
    """

    def __init__(self, volume: CTVolume | None, doubt: Doubt | None) -> None:
        self._volume, self._doubt = volume, doubt
        self._cells = np.zeros(CELLS * TISSUES * len(BANDS), np.int64)
        self._hu = np.zeros(len(SIDES) * TISSUES * HU_VALUES, np.int64)
        self._shifted = np.zeros((2, len(CLASSES), CELLS), np.int64)
        self._bands = band_of_each()

    def add(self, z: int, voxels: SliceVoxels) -> None:
        """Count the lung voxels of slice ``z``."""
        tissue = _TISSUE[voxels.labels]
        band: NDArray[np.intp] | int = 0
        if self._volume is not None:
            value = _hu(self._volume.hu[z], voxels.index)
            band = self._bands[value]
            kind = voxels.side.astype(np.intp) * TISSUES + tissue
            self._hu += np.bincount(kind * HU_VALUES + value, minlength=len(self._hu))
        code = (voxels.cell * TISSUES + tissue) * len(BANDS) + band
        self._cells += np.bincount(code, minlength=len(self._cells))
        if self._doubt is not None:
            _count_shifted(self._shifted, self._doubt, z, voxels, band)

    def tally(self) -> Tally:
        """What was counted."""
        shape = tuple(CELL_AXES.values())
        fewest, most = np.moveaxis(self._shifted, 1, -1).reshape(2, *shape, len(CLASSES))
        by_hu = self._hu.reshape(len(SIDES), TISSUES, HU_VALUES)
        return Tally(
            self._cells.reshape(*shape, TISSUES, len(BANDS)),
            None if self._volume is None else by_hu,
            None if self._doubt is None else fewest,
            None if self._doubt is None else most,
        )


def _hu(plane: NDArray, index: NDArray[np.intp]) -> NDArray[np.intp]:
    """Whole HU from `HU_LOW` on; what lies beyond the limits counts as the limit."""
    values = plane.ravel()[index]
    if values.dtype.kind == "f":
        values = np.rint(values)
    return np.asarray(np.clip(values, HU_LOW, HU_HIGH) - HU_LOW, dtype=np.intp)


def _count_shifted(
    shifted: NDArray[np.int64],
    doubt: Doubt,
    z: int,
    voxels: SliceVoxels,
    band: NDArray[np.intp] | int,
) -> None:
    for row, classes in zip(shifted, doubt.shifted(z, voxels.index, voxels.labels), strict=True):
        dense = classes[-1] & (band == HIGH)
        for kind, found in enumerate((*classes, dense)):
            row[kind] += np.bincount(voxels.cell[found], minlength=CELLS)
