"""Where the model is unsure of a CT: its map as a layer, and which slice to look at next. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.progress import Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.workflows.segment_settings import SegmentSettings

if TYPE_CHECKING:
    from napari_covseg.plugin.desk import Served

APART_MM = 10.0
"""Slices nearer than this to one that was reviewed or shown wait: they look the same."""
_VIEWS = "left-right"


@dataclass(frozen=True, eq=False)
class Unsure:
    """A map, uint8 ``(z, y, x)`` with 255 for 1, and its sum in each axial slice."""

    map: NDArray[np.uint8]
    by_slice: NDArray[np.int64]


def unsure_steps(
    volume: CTVolume, settings: SegmentSettings, served: Served | None
) -> Steps[Unsure]:
    """The map of a CT: of the live model for a case of a store, else of the model chosen.

    A store's case may have its map already; else it is kept there. Runs in a worker's thread.

    Raises
    ------
    InputError, ModelError, ResourceError, UsageError
        As `napari_covseg.workflows.segment.segment` and `CaseStore.open`.
    """
    from napari_covseg.workflows import dataset_predict, segment

    if served is not None:
        found = yield from dataset_predict.map_of_case(
            served.store, served.record.name, volume, settings.device
        )
    else:
        flips = _VIEWS if settings.flips == "none" else settings.flips
        result = yield from segment.segment(volume, replace(settings, flips=flips), True)
        assert result.unsure is not None
        found = result.unsure
    sums = [int(plane.sum(dtype=np.int64)) for plane in found]
    return Unsure(found, np.array(sums, np.int64))


def next_uncertain(
    by_slice: NDArray[np.int64],
    reviewed: NDArray[np.bool_],
    shown: NDArray[np.bool_],
    thickness_mm: float,
) -> int | None:
    """The most uncertain slice that was neither reviewed nor shown; None if there is none left.

    Those `APART_MM` away from any such slice come first, and at least one lies between.
    """
    left = ~reviewed & ~shown & (by_slice > 0)
    if not left.any():
        return None
    gap = max(2, ceil(APART_MM / thickness_mm))
    apart = left.copy()
    for z in np.flatnonzero(reviewed | shown):
        apart[max(0, z - gap + 1) : z + gap] = False
    return int(np.where(apart if apart.any() else left, by_slice, -1).argmax())


class Fractions:
    """Looks like a float32 volume from 0 to 1, made of bytes where napari looks, never as a whole.

    Parameters
    ----------
    values
        uint8 ``(z, y, x)``, 255 for 1.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self._values = values

    @property
    def shape(self) -> tuple[int, ...]:
        """``(z, y, x)``."""
        return self._values.shape

    @property
    def ndim(self) -> int:
        """3."""
        return self._values.ndim

    @property
    def size(self) -> int:
        """Voxels."""
        return self._values.size

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        return np.asarray(self._values[key], np.float32) / np.float32(255)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return self[...].astype(dtype or self.dtype)
