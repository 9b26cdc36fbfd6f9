"""Slabs: the brightest or darkest of some neighbouring slices, of a thickness in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLICE, MIP, MINIP = "Slice", "MIP", "MinIP"
KINDS = (SLICE, MIP, MINIP)
PROJECTIONS = {SLICE: "none", MIP: "max", MINIP: "min"}
"""What napari calls them."""
LEAST_MM, MOST_MM = 1.0, 100.0


@dataclass(frozen=True, slots=True)
class Slab:
    """What is shown of a volume at a slice: that slice, or the maximum or minimum around it.

    Parameters
    ----------
    kind
        One of `KINDS`: MIP shows vessels and nodules, MinIP airways and emphysema.
    mm
        How thick; it holds as many whole slices as come nearest, and one at least.
    """

    kind: str = SLICE
    mm: float = 10.0

    def reach(self, spacing_mm: float) -> tuple[int, int]:
        """How many slices before and after the middle one belong to it."""
        if self.kind == SLICE:
            return 0, 0
        more = max(1, round(self.mm / spacing_mm)) - 1
        return more // 2, more - more // 2

    def slices(self, index: int, size: int, spacing_mm: float) -> slice:
        """The slices that are shown at ``index``, of an axis with ``size`` of them."""
        before, after = self.reach(spacing_mm)
        return slice(max(0, index - before), min(size, index + after + 1))

    def of(self, hu: NDArray, axis: int, index: int, spacing_mm: float) -> NDArray:
        """The two-dimensional picture at ``index``; looks at the slab's slices only."""
        inside: list[slice | int] = [slice(None)] * 3
        if self.kind == SLICE:
            inside[axis] = index
            return np.asarray(hu[tuple(inside)])
        inside[axis] = self.slices(index, hu.shape[axis], spacing_mm)
        part = hu[tuple(inside)]
        return np.asarray(part.max(axis=axis) if self.kind == MIP else part.min(axis=axis))

    def text(self, spacing_mm: float) -> str:
        """What stands on the picture: ``MIP 10 mm``, by its whole slices; '' for a slice."""
        if self.kind == SLICE:
            return ""
        thick = (sum(self.reach(spacing_mm)) + 1) * spacing_mm
        return f"{self.kind} {thick:.3g} mm"

    def next(self) -> Slab:
        """Slice, MIP, MinIP and round again."""
        return Slab(KINDS[(KINDS.index(self.kind) + 1) % len(KINDS)], self.mm)
