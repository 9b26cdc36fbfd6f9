"""A CT volume and a label map, each with its geometry."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry, Reorientation


@dataclass(frozen=True, eq=False)
class CTVolume:
    """A CT in Hounsfield units, in canonical orientation (`Geometry`).

    Parameters
    ----------
    hu
        ``(z, y, x)``, int16, or float32 where the file's rescaling is not whole numbers.
    geometry
        The canonical grid, or an oblique one whose axes are nearest to it.
    case
        The name results are filed under: free of patient data and safe in a file name.
    to_native
        Turns the canonical array back into the axis order of the file it came from.
    warnings
        What the reader had to do that the user should know (resampling, padding, ...).
    source
        The format read: ``DICOM``, ``NIfTI``, ``NRRD``, ``MetaImage`` or ``phantom``.
    taken
        The day of the scan, where DICOM says so: only to tell how far apart two scans are, never
        to be shown or written.

    Raises
    ------
    ValueError
        If shapes differ or the voxels are neither int16 nor float32.
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    geometry: Geometry
    case: str
    to_native: Reorientation = field(default_factory=Reorientation)
    warnings: tuple[str, ...] = ()
    source: str = ""
    taken: date | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.hu.shape != self.geometry.shape:
            raise ValueError(f"voxels {self.hu.shape} do not fit the grid {self.geometry.shape}")
        if self.hu.dtype not in (np.int16, np.float32):
            raise ValueError(f"expected int16 or float32 Hounsfield units, got {self.hu.dtype}")


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Labels (`Label`) on a CT's grid, uint8 ``(z, y, x)``, canonical as `CTVolume` is.

    Raises
    ------
    ValueError
        If shapes differ or the voxels are not uint8.
    """

    labels: NDArray[np.uint8]
    geometry: Geometry
    case: str = ""
    to_native: Reorientation = field(default_factory=Reorientation)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.shape:
            raise ValueError(
                f"labels {self.labels.shape} do not fit the grid {self.geometry.shape}"
            )
        if self.labels.dtype != np.uint8:
            raise ValueError(f"expected uint8 labels, got {self.labels.dtype}")

    @classmethod
    def like(cls, volume: CTVolume, labels: NDArray[np.uint8]) -> LabelMap:
        """A label map on the grid of ``volume``."""
        return cls(labels, volume.geometry, volume.case, volume.to_native)
