"""What is done to a CT before a network sees it; stored with the weights, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.preprocess.clahe import equalise

_TILES, _CLIP_LIMIT, _BINS = 8, 0.01, 256
"""Of CLAHE, as `napari_covseg.preprocess.steps.Clahe` has them for volumes."""


@dataclass(frozen=True, slots=True)
class AxialRecipe:
    """Preparation for a network on axial slices.

    Parameters
    ----------
    pixel_mm
        In-plane size of a pixel, in mm; slices are resampled to it, the slice distance stays.
    window_hu
        Hounsfield units that become -1 and 1; what lies outside is clipped.
    multiple
        Height and width the network takes are multiples of this (padded with -1, air).
    clahe
        Whether the grey levels of each slice are equalised (Singh & Krishna), before resampling.

    Raises
    ------
    ValueError
        If a size is not that of a pixel, or the window is empty or endless.
    """

    pixel_mm: float = 1.35
    window_hu: tuple[float, float] = (-1350.0, 150.0)
    multiple: int = 32
    clahe: bool = False

    def __post_init__(self) -> None:
        low, high = self.window_hu
        modest = 0.01 <= self.pixel_mm <= 100 and 1 <= self.multiple <= 4096
        if not (modest and low < high and isfinite(high - low)):
            raise ValueError(f"not a usable recipe: {self}")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> AxialRecipe:
        """The recipe that `to_dict` wrote."""
        low, high = fields["window_hu"]
        clahe = bool(fields.get("clahe", False))
        pixel_mm, multiple = float(fields["pixel_mm"]), int(fields["multiple"])
        return cls(pixel_mm, (float(low), float(high)), multiple, clahe)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; those of a recipe without CLAHE are as they ever were."""
        fields = asdict(self)
        return fields if self.clahe else {k: v for k, v in fields.items() if k != "clahe"}

    def to_grey(self, hu: NDArray) -> NDArray[np.uint8]:
        """Slices ``(z, y, x)`` as 8-bit grey levels of the window, equalised if that is asked for.

        5.9 HU a level; for caches of training slices.
        """
        low, high = self.window_hu
        grey = np.asarray(np.rint((np.clip(hu, low, high) - low) * (255 / (high - low))), np.uint8)
        if self.clahe:
            for plane in grey:
                levels = equalise(plane.astype(np.float32), _TILES, _CLIP_LIMIT, _BINS)
                plane[...] = np.rint(levels)
        return grey
