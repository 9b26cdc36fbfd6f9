"""Density of the lungs: HU histogram, bands, percentiles, mean and mass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HU_LOW, HU_HIGH = -1024, 1023
"""HU beyond these count as these: padding below, metal and dense contrast above."""
HU_VALUES = HU_HIGH - HU_LOW + 1
EMPHYSEMA_HU, INFLATED_HU, HIGH_OPACITY_HU = -950, -700, -200
BANDS: tuple[tuple[str, int, int], ...] = (
    ("emphysema", HU_LOW, EMPHYSEMA_HU),
    ("inflated", EMPHYSEMA_HU, INFLATED_HU),
    ("ground_glass", INFLATED_HU, HIGH_OPACITY_HU),
    ("consolidation", HIGH_OPACITY_HU, HU_HIGH + 1),
)
"""Name, from (included), to (not included). Emphysema below -950 HU: Gevenois et al., Am J Respir
Crit Care Med 1996;154:187. Inflated up to -700 HU: the well-aerated lung (-950 to -701 HU) of
Colombi et al., Radiology 2020;296:E86. High opacity from -200 HU on: Chaganti et al., Radiol Artif
Intell 2020;2:e200048."""
HISTOGRAM_STEP_HU = 10
PERCENTILE = 15.0


@dataclass(frozen=True, slots=True)
class Density:
    """Density of a lung, lesions included, or of one kind of tissue; None where there is none.

    ``perc15_hu`` is the HU that 15 % of the voxels lie at or below, ``laa950_percent`` the share
    below -950 HU, ``bands_percent`` the share in each of `BANDS`; the rest as in `mean_hu` and
    `mass_g`.
    """

    mean_hu: float | None
    mass_g: float | None
    perc15_hu: int | None
    laa950_percent: float | None
    bands_percent: dict[str, float | None]

    @classmethod
    def of(cls, counts: NDArray[np.int64], voxel_ml: float | None) -> Density:
        """From voxel counts by HU, shape ``(HU_VALUES,)``, the first for `HU_LOW`."""
        total = int(counts.sum())
        shares: dict[str, float | None] = {
            name: 100.0 * int(counts[low - HU_LOW : high - HU_LOW].sum()) / total if total else None
            for name, low, high in BANDS
        }
        return cls(
            mean_hu=mean_hu(counts),
            mass_g=mass_g(counts, voxel_ml),
            perc15_hu=percentile_hu(counts, PERCENTILE),
            laa950_percent=shares["emphysema"],
            bands_percent=shares,
        )


def mean_hu(counts: NDArray[np.int64]) -> float | None:
    """Mean HU of voxel counts by HU, shape ``(HU_VALUES,)``; None without voxels."""
    total = int(counts.sum())
    return float(counts @ _values()) / total if total else None


def mass_g(counts: NDArray[np.int64], voxel_ml: float | None) -> float | None:
    """Mass in g: the sum over voxels of volume (ml) times ``(HU + 1000) / 1000`` (g/ml).

    Air is -1000 HU and weighs nothing, water is 0 HU and weighs 1 g/ml; less than air counts as
    air. Cressoni et al., Crit Care 2013;17:R93. None without voxels or a known voxel size.
    """
    if voxel_ml is None or not counts.any():
        return None
    return float(counts @ np.maximum(_values() + 1000, 0)) / 1000.0 * voxel_ml


def percentile_hu(counts: NDArray[np.int64], percent: float) -> int | None:
    """The lowest HU with at least ``percent`` % of the voxels at or below it.

    Perc15 is the 15th (Dirksen et al., Am J Respir Crit Care Med 1999;160:1468). None without
    voxels.
    """
    total = int(counts.sum())
    if total == 0:
        return None
    return HU_LOW + int(np.searchsorted(np.cumsum(counts), percent / 100.0 * total))


def histogram(counts: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Lower edges (HU) and voxel counts of bins of `HISTOGRAM_STEP_HU`, from -1030 on."""
    bins = np.floor_divide(_values(), HISTOGRAM_STEP_HU)
    low = int(bins[0])
    found = np.zeros(int(bins[-1]) - low + 1, np.int64)
    np.add.at(found, bins - low, counts)
    edges = (np.arange(len(found)) + low) * HISTOGRAM_STEP_HU
    return [int(edge) for edge in edges], [int(count) for count in found]


def band_of_each() -> NDArray[np.intp]:
    """The index into `BANDS` of every HU from `HU_LOW` on."""
    starts = [low for _, low, _ in BANDS]
    return np.searchsorted(starts, _values(), side="right") - 1


def _values() -> NDArray[np.int64]:
    return np.arange(HU_LOW, HU_HIGH + 1)
