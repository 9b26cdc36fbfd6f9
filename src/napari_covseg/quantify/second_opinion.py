"""A second opinion by plain HU thresholds: no network, no labels of lesions, only the lungs.

Dense lung is lung of -700 HU or more: ground glass up to -200 HU, consolidation from there on
(`density.BANDS`). Vessels, airway walls, dependent lung and breathing out are dense too, so the
threshold finds something in every lung; it cannot confirm a figure, but it can contradict one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.quantify.tally import CONSOLIDATION, GGO, HEALTHY, HIGH, Tally

_DENSE = HIGH - 1
"""From this band on lung is dense."""
LEAST_DENSE_PERCENT = 50.0
"""Less of the labelled lesions being dense is a disagreement."""
MOST_UNLABELLED_PERCENT = 20.0
"""More of the lungs being dense but not labelled is a disagreement."""
LEAST_SOLID_PERCENT, MOST_SOLID_PERCENT = 50.0, 50.0
"""Less of the consolidation, or more of the GGO, being of -200 HU or more is one too."""
FEWEST_VOXELS = 100
"""Shares of less than this say nothing."""


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """What thresholds find in both lungs; shares in percent, None where there is nothing to share.

    ``ggo_percent``, ``consolidation_percent`` and ``lesions_percent`` are of the lungs, to be held
    against those from the labels. ``lesions_dense_percent`` is how much of the labelled lesions is
    dense, ``unlabelled_dense_percent`` how much of the lungs is dense but not labelled,
    ``consolidation_solid_percent`` and ``ggo_solid_percent`` how much of the labelled
    consolidation and GGO is of -200 HU or more. ``disagreements`` says in words what does not fit.
    """

    ggo_percent: float | None
    consolidation_percent: float | None
    lesions_percent: float | None
    lesions_dense_percent: float | None
    unlabelled_dense_percent: float | None
    consolidation_solid_percent: float | None
    ggo_solid_percent: float | None
    disagreements: tuple[str, ...]


def second_opinion(tally: Tally) -> SecondOpinion | None:
    """Hold the labels against thresholds; None without a CT."""
    if tally.hu is None:
        return None
    counts = tally.cells.sum(axis=tuple(range(tally.cells.ndim - 2)))
    lung, sick = counts.sum(axis=0), counts[HEALTHY + 1 :].sum(axis=0)
    found = {
        "lesions_dense": _share(sick, slice(_DENSE, None)),
        "unlabelled_dense": _part(int(counts[HEALTHY, _DENSE:].sum()), int(lung.sum())),
        "consolidation_solid": _share(counts[CONSOLIDATION], slice(HIGH, None)),
        "ggo_solid": _share(counts[GGO], slice(HIGH, None)),
    }
    return SecondOpinion(
        ggo_percent=_share(lung, slice(_DENSE, HIGH)),
        consolidation_percent=_share(lung, slice(HIGH, None)),
        lesions_percent=_share(lung, slice(_DENSE, None)),
        lesions_dense_percent=found["lesions_dense"],
        unlabelled_dense_percent=found["unlabelled_dense"],
        consolidation_solid_percent=found["consolidation_solid"],
        ggo_solid_percent=found["ggo_solid"],
        disagreements=tuple(_disagreements(counts, found)),
    )


def _disagreements(counts: NDArray[np.int64], found: dict[str, float | None]) -> list[str]:
    enough = {
        "lesions_dense": counts[HEALTHY + 1 :].sum() >= FEWEST_VOXELS,
        "unlabelled_dense": counts.sum() >= FEWEST_VOXELS,
        "consolidation_solid": counts[CONSOLIDATION].sum() >= FEWEST_VOXELS,
        "ggo_solid": counts[GGO].sum() >= FEWEST_VOXELS,
    }
    share = {name: value for name, value in found.items() if value is not None and enough[name]}
    lines = []
    if share.get("lesions_dense", 100.0) < LEAST_DENSE_PERCENT:
        lines.append(
            f"Only {share['lesions_dense']:.0f} % of the labelled lesions are denser than inflated "
            "lung (-700 HU): they may be marked too widely, or the CT is not in Hounsfield units."
        )
    if share.get("unlabelled_dense", 0.0) > MOST_UNLABELLED_PERCENT:
        lines.append(
            f"{share['unlabelled_dense']:.0f} % of the lungs are denser than inflated lung (-700 "
            "HU) but not labelled as lesions: lesions may have been missed, or the scan was taken "
            "breathing out."
        )
    if share.get("consolidation_solid", 100.0) < LEAST_SOLID_PERCENT:
        lines.append(
            f"Only {share['consolidation_solid']:.0f} % of the labelled consolidation is of -200 "
            "HU or more: some of it may be ground glass."
        )
    if share.get("ggo_solid", 0.0) > MOST_SOLID_PERCENT:
        lines.append(
            f"{share['ggo_solid']:.0f} % of the labelled GGO is of -200 HU or more: some of it may "
            "be consolidation."
        )
    return lines


def _share(bands: NDArray[np.int64], inside: slice) -> float | None:
    return _part(int(bands[inside].sum()), int(bands.sum()))


def _part(part: int, whole: int) -> float | None:
    return 100.0 * part / whole if whole else None
