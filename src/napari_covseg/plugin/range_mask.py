"""The preview of a range of HU: a mask that is worked out where napari looks, never as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.editing.threshold import in_range


class RangeMask:
    """Looks like a uint8 volume: 1 where the lung has from ``low`` to ``high`` HU, else 0.

    ``low`` and ``high`` may be changed at any time; refresh the layer then.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, hu: NDArray, lungs: NDArray[np.integer] | None, low: float, high: float
    ) -> None:
        self._hu, self._lungs = hu, lungs
        self.low, self.high = low, high

    @property
    def shape(self) -> tuple[int, ...]:
        """``(z, y, x)``."""
        return self._hu.shape

    @property
    def ndim(self) -> int:
        """3."""
        return self._hu.ndim

    @property
    def size(self) -> int:
        """Voxels."""
        return self._hu.size

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        lungs = None if self._lungs is None else np.asarray(self._lungs[key])
        mask = in_range(np.asarray(self._hu[key]), lungs, self.low, self.high)
        return np.asarray(mask, np.uint8)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return self[...].astype(dtype or self.dtype)
