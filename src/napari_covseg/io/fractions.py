"""Maps of numbers from 0 to 1, as `napari_covseg.io.write.write_fractions` writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.io.nifti import read_nifti


def read_fractions(path: Path, grid: Geometry) -> NDArray[np.uint8]:
    """The map as 0 to 255 for 0 to 1, uint8 ``(z, y, x)``, canonical.

    Raises
    ------
    InputError
        If the file is not there or damaged, holds something else, or lies on another grid.
    """
    raw = read_nifti(path)
    if raw.values.dtype != np.uint8 or not raw.geometry.same_as(grid):
        raise InputError(f"{path.name}: expected a map of 0 to 1 on the grid of its CT")
    return raw.values
