"""A range of HU in the lung: how much it is, for any range at once, where it is, and labelling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.editing.canvas import Canvas
from napari_covseg.editing.edit import Box, Edit, changed

LOWEST_HU, HIGHEST_HU = -1100, 1100
"""Densities below and above are counted as these."""


@dataclass(frozen=True, eq=False)
class Densities:
    """How many voxels of the lung have at most each HU, from `LOWEST_HU` to `HIGHEST_HU`."""

    up_to: NDArray[np.int64]

    def count(self, low: float, high: float) -> int:
        """Voxels from ``low`` to ``high`` HU, both included."""
        if high < low:
            return 0
        first, last = int(np.ceil(low)) - LOWEST_HU, int(np.floor(high)) - LOWEST_HU
        top = len(self.up_to) - 1
        below = self.up_to[min(first - 1, top)] if first > 0 else 0
        upper = self.up_to[min(last, top)] if last >= 0 else 0
        return int(max(upper - below, 0))


def densities(hu: NDArray, lungs: NDArray[np.integer] | None) -> Steps[Densities]:
    """Count the densities of the lung (of everything, if ``lungs`` is None), slice by slice.

    HU that are no whole numbers are rounded.
    """
    counts = np.zeros(HIGHEST_HU - LOWEST_HU + 1, np.int64)
    for z, flat in enumerate(hu):
        if z % 16 == 0:
            yield Progress(z, len(hu), "counting densities")
        chosen = flat.ravel() if lungs is None else flat[lungs[z] > 0]
        whole = np.clip(np.rint(chosen), LOWEST_HU, HIGHEST_HU).astype(np.int64)
        counts += np.bincount(whole - LOWEST_HU, minlength=len(counts))
    return Densities(np.cumsum(counts))


def in_range(
    hu: NDArray, lungs: NDArray[np.integer] | None, low: float, high: float
) -> NDArray[np.bool_]:
    """Where the lung has from ``low`` to ``high`` HU; arrays of one shape, parts of a volume."""
    mask = (hu >= low) & (hu <= high)
    return mask if lungs is None else mask & (lungs > 0)


def label_range(canvas: Canvas, box: Box, low: float, high: float, value: int) -> Edit:
    """Label with ``value`` what has from ``low`` to ``high`` HU in ``box`` and may be painted."""
    hu = canvas.hu[box]
    mask = (hu >= low) & (hu <= high) & canvas.paintable(box, value)
    return changed(canvas.labels, box, mask, value)
