"""The five lobes of the lungs, and a map of them on a CT's grid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label


class Lobe(IntEnum):
    """Values of a lobe map; 0 is no lobe. The patient's left and right."""

    LEFT_UPPER = 1
    LEFT_LOWER = 2
    RIGHT_UPPER = 3
    RIGHT_MIDDLE = 4
    RIGHT_LOWER = 5

    @property
    def title(self) -> str:
        """The name a person reads."""
        return f"{self.name.replace('_', ' ').capitalize()} lobe"

    @property
    def side(self) -> Label:
        """The lung it belongs to."""
        return Label.LEFT_LUNG if self <= Lobe.LEFT_LOWER else Label.RIGHT_LUNG


_SIDES = {"left": "LEFT", "right": "RIGHT"}
_LEVELS = {
    **dict.fromkeys(("upper", "superior"), "UPPER"),
    "middle": "MIDDLE",
    **dict.fromkeys(("lower", "inferior"), "LOWER"),
}
_SHORT = {
    "lul": Lobe.LEFT_UPPER,
    "lll": Lobe.LEFT_LOWER,
    "rul": Lobe.RIGHT_UPPER,
    "rml": Lobe.RIGHT_MIDDLE,
    "rll": Lobe.RIGHT_LOWER,
}


def lobe_by_name(name: str) -> Lobe:
    """The lobe that a scheme's name stands for.

    Understands a side and a level in any order (``left upper lobe``, ``lung_upper_lobe_left``,
    ``Superior lobe of left lung``) and the abbreviations LUL, LLL, RUL, RML, RLL.

    Raises
    ------
    KeyError
        If it names no lobe.
    """
    words = re.findall(r"[a-z]+", name.lower())
    short = [_SHORT[word] for word in words if word in _SHORT]
    if len(words) == 1 and short:
        return short[0]
    sides = [_SIDES[word] for word in words if word in _SIDES]
    levels = [_LEVELS[word] for word in words if word in _LEVELS]
    if len(sides) != 1 or len(levels) != 1:
        raise KeyError(name)
    return Lobe[f"{sides[0]}_{levels[0]}"]


@dataclass(frozen=True, eq=False)
class LobeMap:
    """Lobes (`Lobe`, 0 for none) on a CT's grid, uint8 ``(z, y, x)``, canonical as a CT is.

    ``source`` is the file they were read from, or the network that found them.

    Raises
    ------
    ValueError
        If shapes differ, the voxels are not uint8, or a value is no lobe.
    """

    lobes: NDArray[np.uint8]
    geometry: Geometry
    warnings: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        if self.lobes.shape != self.geometry.shape:
            raise ValueError(f"lobes {self.lobes.shape} do not fit the grid {self.geometry.shape}")
        if self.lobes.dtype != np.uint8:
            raise ValueError(f"expected uint8 lobes, got {self.lobes.dtype}")
        if self.lobes.max() > max(Lobe):
            raise ValueError(f"expected lobes 0 to {int(max(Lobe))}, got {self.lobes.max()}")
