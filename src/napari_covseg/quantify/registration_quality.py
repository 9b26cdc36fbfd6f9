"""How well the lungs of two scans lie on each other, and whether a bent mapping may be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry
from napari_covseg.metrics.surface import surface_distances
from napari_covseg.quantify.mapping import Carrier, Mapping, carry_values
from napari_covseg.quantify.working_scan import UNMOVED, WORKING_MM, WorkingScan

GOOD_DICE, FAIR_DICE = 0.95, 0.90
GOOD_MM, FAIR_MM = 2.5, 5.0


@dataclass(frozen=True, slots=True)
class RegistrationQuality:
    """How well the lungs lie on each other, where both scans reach.

    ``lung_dice`` and ``lung_dice_before`` (by the scanner's own positions) are of both lungs with
    their lesions; ``surface_mm`` is the mean distance between their surfaces, both ways,
    ``surface_95_mm`` its 95th percentile; None where there is nothing to measure.
    ``volume_factor`` is how much larger a volume is in the prior than in the current scan.
    ``verdict`` is ``good``, ``fair`` or ``poor`` (`GOOD_DICE`, ...).
    """

    method: str
    lung_dice: float
    lung_dice_before: float
    surface_mm: float | None
    surface_95_mm: float | None
    volume_factor: float
    verdict: str


@dataclass(frozen=True, eq=False)
class Overlap:
    """The prior's lungs on the current working grid, and where both scans have an image."""

    carried: NDArray[np.bool_]
    both_seen: NDArray[np.bool_]
    dice: float


def overlap(fixed: WorkingScan, moving: WorkingScan, mapping: Mapping) -> Overlap:
    """How the lungs lie on each other by a mapping."""
    lungs = moving.lungs.astype(np.float32)
    carried = carry_values(lungs, moving.grid, fixed.grid, mapping, fill=0.0) >= 0.5
    seen = _inside(moving.image, fixed.grid, mapping) & _inside(fixed.image, fixed.grid, UNMOVED)
    one, two = carried & seen, fixed.lungs & seen
    total = int(one.sum()) + int(two.sum())
    return Overlap(carried, seen, 2.0 * int((one & two).sum()) / total if total else 0.0)


def _inside(image: Geometry, grid: Geometry, mapping: Mapping) -> NDArray[np.bool_]:
    """The voxels of ``grid`` that lie in an image."""
    carrier = Carrier(mapping, image, grid)
    return np.stack([carrier.nearest(z)[1] for z in range(grid.shape[0])])


def why_not(fixed: WorkingScan, moving: WorkingScan, bent: Mapping, affine: Mapping) -> str:
    """Why a bent mapping is not to be used; empty if it is."""
    if _folds(bent, fixed):
        return "it would fold the lungs over"
    if overlap(fixed, moving, bent).dice < overlap(fixed, moving, affine).dice:
        return "the lungs fit better without it"
    return ""


def _folds(mapping: Mapping, fixed: WorkingScan) -> bool:
    """Whether any of the lungs is turned inside out or pressed to less than a tenth."""
    assert mapping.field is not None
    field = mapping.field
    slopes = np.stack(
        [
            np.stack([np.gradient(field[..., i], WORKING_MM, axis=2 - j) for j in range(3)], -1)
            for i in range(3)
        ],
        axis=-2,
    )
    volumes = np.linalg.det(slopes[fixed.lungs] + mapping.matrix[:3, :3])
    return bool(volumes.min() < 0.1 * mapping.volume_factor)


def quality_of(
    fixed: WorkingScan, moving: WorkingScan, mapping: Mapping, method: str, before: float
) -> RegistrationQuality:
    """How well they fit; ``before`` is the Dice by the scanner's own positions."""
    found = overlap(fixed, moving, mapping)
    dice, spacing_mm = found.dice, fixed.grid.spacing_mm
    far = surface_distances(found.carried, fixed.lungs, spacing_mm, known=found.both_seen)
    both = np.concatenate([far.from_prediction, far.from_reference])
    measured = bool(both.size) and bool(np.isfinite(both).all())
    mean = float(both.mean()) if measured else None
    verdict = "poor"
    if mean is not None and dice >= FAIR_DICE and mean <= FAIR_MM:
        verdict = "good" if dice >= GOOD_DICE and mean <= GOOD_MM else "fair"
    return RegistrationQuality(
        method=method,
        lung_dice=dice,
        lung_dice_before=before,
        surface_mm=mean,
        surface_95_mm=float(np.percentile(both, 95)) if measured else None,
        volume_factor=mapping.volume_factor,
        verdict=verdict,
    )


def said_of(quality: RegistrationQuality) -> str:
    """A warning about lungs that do not fit well."""
    away = "" if quality.surface_mm is None else f", surfaces {quality.surface_mm:.1f} mm apart"
    fit = f"lung Dice {quality.lung_dice:.2f}{away}"
    if quality.verdict == "poor":
        return (
            f"The lungs of the two scans do not fit ({fit}): what appeared, resolved or turned is "
            "not to be relied on. Compare the volumes of each scan instead."
        )
    return (
        f"The lungs of the two scans fit only fairly ({fit}): edges of lesions show as appeared or "
        "resolved."
    )
