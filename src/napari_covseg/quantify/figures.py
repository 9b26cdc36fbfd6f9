"""Volumes and percentages of any part of the lungs, from one tally."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.lobes import Lobe
from napari_covseg.quantify.cells import CELL_AXES
from napari_covseg.quantify.tally import CLASSES, CONSOLIDATION, GGO, HEALTHY, HIGH, Tally
from napari_covseg.quantify.twenty import REGIONS, region_name

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of one thing lies in a part of the lungs.

    ``ml`` is voxels times the volume of one (None if that is unknown); ``percent`` is
    ``100 * ml / lung_ml`` (None where there is no lung); ``percent_range`` is the range it likely
    lies in (`Doubt`), None where nothing says how sure the model was.
    """

    ml: float | None
    percent: float | None
    percent_range: Range | None


@dataclass(frozen=True, slots=True)
class RegionFigures:
    """A part of the lungs: its volume (lesions included) and what is in it.

    ``lesions`` is GGO, consolidation and infection of unknown class together: its percentage is
    the percentage of opacity (PO, Chaganti et al. 2020). ``high_opacity`` is lesion of -200 HU or
    more: its percentage is PHO (ibid.); None without a CT.
    """

    lung_ml: float | None
    ggo: Amount
    consolidation: Amount
    lesions: Amount
    high_opacity: Amount | None


PARTS: Mapping[str, Mapping[str, int]] = {
    "both": {},
    "right": {"side": 1},
    "left": {"side": 0},
    "upper_third": {"third": 2},
    "middle_third": {"third": 1},
    "lower_third": {"third": 0},
    **{
        f"{side}_{level}_third": {"side": number, "third": third}
        for side, number in (("right", 1), ("left", 0))
        for level, third in (("upper", 2), ("middle", 1), ("lower", 0))
    },
    "ventral": {"depth": 0},
    "dorsal": {"depth": 1},
    "central": {"rind": 0},
    "peripheral": {"rind": 1},
}
"""Name of a part to the digits of its cells."""
LOBES: Mapping[str, Mapping[str, int]] = {
    lobe.name.lower(): {"lobe": int(lobe)}
    for lobe in (
        Lobe.RIGHT_UPPER,
        Lobe.RIGHT_MIDDLE,
        Lobe.RIGHT_LOWER,
        Lobe.LEFT_UPPER,
        Lobe.LEFT_LOWER,
    )
}
TWENTY: Mapping[str, Mapping[str, int]] = {
    region_name(number): {"region": number} for number in range(1, len(REGIONS) + 1)
}


def region_figures(
    tally: Tally,
    parts: Mapping[str, Mapping[str, int]],
    voxel_ml: float | None,
    *,
    classes_sure: bool = True,
) -> dict[str, RegionFigures]:
    """Figures of each part.

    Parameters
    ----------
    tally
        Voxel counts.
    parts
        Names to the digits of their cells, such as `PARTS`.
    voxel_ml
        Volume of a voxel, None if it is unknown.
    classes_sure
        Whether GGO and consolidation have likely ranges of their own (`Doubt.knows_classes`).
    """
    return {name: _figures(tally, part, voxel_ml, classes_sure) for name, part in parts.items()}


def _figures(
    tally: Tally, part: Mapping[str, int], voxel_ml: float | None, classes_sure: bool
) -> RegionFigures:
    counts = _take(tally.cells, part)
    lung = int(counts.sum())
    sick = counts[HEALTHY + 1 :]
    voxels = {
        "ggo": int(counts[GGO].sum()),
        "consolidation": int(counts[CONSOLIDATION].sum()),
        "lesions": int(sick.sum()),
        "high_opacity": int(sick[:, HIGH].sum()),
    }
    ranges: dict[str, Range | None] = dict.fromkeys(CLASSES)
    if tally.fewest is not None and tally.most is not None and lung:
        low, high = _take(tally.fewest, part), _take(tally.most, part)
        for kind, name in enumerate(CLASSES):
            if classes_sure or name not in ("ggo", "consolidation"):
                ranges[name] = (100.0 * int(low[kind]) / lung, 100.0 * int(high[kind]) / lung)

    def amount(name: str) -> Amount:
        percent = 100.0 * voxels[name] / lung if lung else None
        return Amount(_ml(voxels[name], voxel_ml), percent, ranges[name])

    return RegionFigures(
        lung_ml=_ml(lung, voxel_ml),
        ggo=amount("ggo"),
        consolidation=amount("consolidation"),
        lesions=amount("lesions"),
        high_opacity=None if tally.hu is None else amount("high_opacity"),
    )


def _take(counts: NDArray[np.int64], part: Mapping[str, int]) -> NDArray[np.int64]:
    """The counts of a part, summed over all axes of `CELL_AXES`."""
    chosen = counts[tuple(part.get(axis, slice(None)) for axis in CELL_AXES)]
    return np.asarray(chosen.sum(axis=tuple(range(len(CELL_AXES) - len(part)))))


def _ml(voxels: int, voxel_ml: float | None) -> float | None:
    return None if voxel_ml is None else voxels * voxel_ml
