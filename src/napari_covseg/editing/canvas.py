"""What is corrected, and where paint may go."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_covseg.editing.edit import Box


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a label may be painted.

    Parameters
    ----------
    hu_range
        Lowest and highest HU that may be painted, both included; None for any.
    inside_lung
        Whether only voxels of the lung may be painted.
    locked
        Labels that may not be painted over, nor erased.
    """

    hu_range: tuple[float, float] | None = None
    inside_lung: bool = False
    locked: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Canvas:
    """The labels to correct, with the CT and the lungs that limit what may be painted.

    Parameters
    ----------
    labels
        ``(z, y, x)`` whole numbers, 0 is background; never written to.
    hu
        The CT on the same grid, in HU.
    lungs
        Nonzero in the lung, lesions included, on the same grid; None where nobody drew it (then
        nothing is limited to it).
    spacing_mm
        ``(z, y, x)``.
    limits
        Where paint may go.

    Raises
    ------
    ValueError
        If the shapes differ.
    """

    labels: NDArray[np.integer]
    hu: NDArray
    lungs: NDArray[np.integer] | None = None
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for array in (self.hu, self.lungs):
            if array is not None and array.shape != self.labels.shape:
                raise ValueError(f"expected shape {self.labels.shape}, got {array.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """``(z, y, x)``."""
        return self.labels.shape

    def paintable(self, box: Box, value: int, any_hu: bool = False) -> NDArray[np.bool_]:
        """Which voxels of ``box`` may become ``value``; the eraser (0) minds locked labels only.

        ``any_hu`` leaves the range of HU aside, for tools that go by shape.
        """
        free = self.unlocked(box)
        if value == 0:
            return free
        limits = self.limits
        if limits.inside_lung and self.lungs is not None:
            free &= self.lungs[box] > 0
        if limits.hu_range is not None and not any_hu:
            low, high = limits.hu_range
            hu = self.hu[box]
            free &= (hu >= low) & (hu <= high)
        return free

    def unlocked(self, box: Box) -> NDArray[np.bool_]:
        """Which voxels of ``box`` hold no locked label."""
        held = self.labels[box]
        free = np.ones(held.shape, bool)
        for label in self.limits.locked:
            free &= held != label
        return free
