"""How long a segmentation will take, guessed at first and learnt from every run."""

from __future__ import annotations

import os

from napari_covseg.domain.geometry import Geometry
from napari_covseg.plugin import preferences

NETWORK_PIXEL_MM = 1.35
FLIP_VIEWS = {"none": 1, "left-right": 2, "all": 4}
CPU_SECONDS_PER_MEGAPIXEL_AND_CORE = 1.4
"""A first guess for a CPU that was never used."""


def network_megapixels(geometry: Geometry, flips: str) -> float:
    """A volume's work for the default network: its area in network pixels, times the views."""
    z, y, x = geometry.shape
    _, y_mm, x_mm = geometry.spacing_mm
    pixels = z * (y * y_mm / NETWORK_PIXEL_MM) * (x * x_mm / NETWORK_PIXEL_MM)
    return pixels * FLIP_VIEWS.get(flips, 1) / 1e6


def expected_seconds(geometry: Geometry, flips: str, device: str) -> float:
    """What a run on ``device`` (its title) will take, after the last run there if there was one."""
    guess = CPU_SECONDS_PER_MEGAPIXEL_AND_CORE / max(1, (os.cpu_count() or 2))
    return network_megapixels(geometry, flips) * (preferences.load_rate(device) or guess)


def learn(geometry: Geometry, flips: str, device: str, seconds: float) -> None:
    """Remember how long a run on ``device`` took."""
    preferences.save_rate(device, seconds / network_megapixels(geometry, flips))


def duration(seconds: float) -> str:
    """A time as a person says it: ``8 s``, ``40 s``, ``3 min``."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 90:
        return f"{5 * round(seconds / 5)} s"
    return f"{round(seconds / 60)} min"
