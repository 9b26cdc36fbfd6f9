"""Window and level: presets, and what a drag of the mouse does to them."""

from __future__ import annotations

from dataclasses import dataclass

MINIMUM_WIDTH_HU = 10.0
_LIMITS_HU = (-2000.0, 4000.0)


@dataclass(frozen=True, slots=True)
class Window:
    """The HU shown between black and white."""

    level: float
    width: float

    @classmethod
    def of_limits(cls, low: float, high: float) -> Window:
        """The window between two HU."""
        return cls((low + high) / 2, high - low)

    @property
    def limits(self) -> tuple[float, float]:
        """HU of black and white."""
        return (self.level - self.width / 2, self.level + self.width / 2)

    def dragged(self, right_px: float, up_px: float) -> Window:
        """The window after a drag from here: right widens it, up makes the picture brighter.

        A drag across a screen of 400 pixels doubles the width, whatever the width is.
        """
        step = max(1.0, self.width / 400)
        width = max(MINIMUM_WIDTH_HU, self.width + right_px * step)
        level = self.level - up_px * step
        low, high = _LIMITS_HU
        return Window(min(max(level, low), high), min(width, high - low))

    def __str__(self) -> str:
        return f"W {self.width:.0f}  L {self.level:.0f}"


PRESETS = {
    "Lung": Window(-600, 1500),
    "Mediastinum": Window(40, 400),
    "Bone": Window(400, 1800),
}
PRESET_KEYS = {"Lung": "F2", "Mediastinum": "F3", "Bone": "F4"}
