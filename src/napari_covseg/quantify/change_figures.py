"""What changed in each part of the lungs, from one joint count of both scans' tissues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.change import ChangeLabel
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.quantify.cells import CELL_AXES, CELLS
from napari_covseg.quantify.tally import CONSOLIDATION, GGO, HEALTHY, INFECTION

TISSUES = 4
NOT_COMPARED = 4
"""What the prior holds at a voxel: a tissue (`HEALTHY`, ...), or this where nobody knows."""
PRIOR_KINDS = 5
OUTSIDE = 255
"""Stands among carried labels where the prior's image does not reach."""
STATES = ("appeared", "resolved", "persistent", "to_consolidation", "to_ggo")


@dataclass(frozen=True, slots=True)
class AmountChange:
    """How much of one thing there is now and was before, in the current scan's lungs.

    ``prior_ml`` is the prior's, carried into the current lungs, so that the same tissue is
    compared whatever the breath; ``change_percent`` is ``100 * change_ml / prior_ml`` (None where
    there was none), ``current_percent`` and ``prior_percent`` are shares of the lung compared, and
    ``change_points`` is their difference. ml are None where the size of a voxel is not known.
    """

    current_ml: float | None
    prior_ml: float | None
    change_ml: float | None
    change_percent: float | None
    current_percent: float | None
    prior_percent: float | None
    change_points: float | None


@dataclass(frozen=True, slots=True)
class StateAmount:
    """How much lung is in one state of change; percent is a share of the lung compared."""

    ml: float | None
    percent: float | None


@dataclass(frozen=True, slots=True)
class RegionChange:
    """A part of the current lungs: what is compared there, and what became of it.

    ``lung_ml`` is the lung that both scans show, lesions included; ``states`` has the keys
    `STATES`. current lesions = appeared + persistent + to_consolidation + to_ggo, and the prior's
    = resolved + the same last three.
    """

    lung_ml: float | None
    ggo: AmountChange
    consolidation: AmountChange
    lesions: AmountChange
    states: Mapping[str, StateAmount]


_TISSUE = np.full(256, HEALTHY, np.uint8)
_TISSUE[[Label.GGO, Label.CONSOLIDATION, Label.INFECTION]] = (GGO, CONSOLIDATION, INFECTION)
_TISSUE[[Label.IGNORE, OUTSIDE]] = NOT_COMPARED


def tissue_of(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The tissue of each label, `NOT_COMPARED` where it is not reviewed or not in the image."""
    return _TISSUE[labels]


def _states() -> NDArray[np.uint8]:
    """``(current, prior)`` tissue to `ChangeLabel`."""
    table = np.full((TISSUES, PRIOR_KINDS), int(ChangeLabel.PERSISTENT), np.uint8)
    table[HEALTHY, HEALTHY] = ChangeLabel.NONE
    table[HEALTHY, GGO:NOT_COMPARED] = ChangeLabel.RESOLVED
    table[GGO:, HEALTHY] = ChangeLabel.APPEARED
    table[CONSOLIDATION, GGO] = ChangeLabel.TO_CONSOLIDATION
    table[GGO, CONSOLIDATION] = ChangeLabel.TO_GGO
    table[:, NOT_COMPARED] = ChangeLabel.NOT_COMPARED
    table[HEALTHY, NOT_COMPARED] = ChangeLabel.NONE
    return table


STATE_OF = _states()


@dataclass(frozen=True, eq=False)
class JointTally:
    """Voxels of the current lungs: the axes of `CELL_AXES`, then current and prior tissue."""

    cells: NDArray[np.int64]

    @property
    def not_compared(self) -> int:
        """Lung voxels of which the prior says nothing."""
        return int(self.cells[..., NOT_COMPARED].sum())

    @property
    def lung(self) -> int:
        """Lung voxels."""
        return int(self.cells.sum())


class JointCounter:
    """Counts voxels slice by slice into a `JointTally`."""

    def __init__(self) -> None:
        self._cells = np.zeros(CELLS * TISSUES * PRIOR_KINDS, np.int64)

    def add(
        self, cell: NDArray[np.intp], now: NDArray[np.uint8], before: NDArray[np.uint8]
    ) -> None:
        """Count lung voxels by cell (`Regions.voxels`), current and prior tissue."""
        code = (cell * TISSUES + now) * PRIOR_KINDS + before
        self._cells += np.bincount(code, minlength=len(self._cells))

    def tally(self) -> JointTally:
        """What was counted."""
        return JointTally(self._cells.reshape(*CELL_AXES.values(), TISSUES, PRIOR_KINDS))


def region_change(
    tally: JointTally, part: Mapping[str, int], voxel_ml: float | None
) -> RegionChange:
    """What changed in a part, given by the digits of its cells (`figures.PARTS`)."""
    chosen = tally.cells[tuple(part.get(axis, slice(None)) for axis in CELL_AXES)]
    joint = chosen.sum(axis=tuple(range(chosen.ndim - 2)))[:, :NOT_COMPARED]
    lung = int(joint.sum())
    now, before = joint.sum(axis=1), joint.sum(axis=0)

    def ml(voxels: int) -> float | None:
        return None if voxel_ml is None else voxels * voxel_ml

    def percent(voxels: int, of: int) -> float | None:
        return 100.0 * voxels / of if of else None

    def amount(kinds: slice) -> AmountChange:
        new, old = int(now[kinds].sum()), int(before[kinds].sum())
        return AmountChange(
            current_ml=ml(new),
            prior_ml=ml(old),
            change_ml=ml(new - old),
            change_percent=percent(new - old, old),
            current_percent=percent(new, lung),
            prior_percent=percent(old, lung),
            change_points=percent(new - old, lung),
        )

    states = {
        name: int(joint[STATE_OF[:, :NOT_COMPARED] == ChangeLabel[name.upper()]].sum())
        for name in STATES
    }
    return RegionChange(
        lung_ml=ml(lung),
        ggo=amount(slice(GGO, GGO + 1)),
        consolidation=amount(slice(CONSOLIDATION, CONSOLIDATION + 1)),
        lesions=amount(slice(HEALTHY + 1, TISSUES)),
        states={name: StateAmount(ml(n), percent(n, lung)) for name, n in states.items()},
    )


LESIONS = np.isin(np.arange(256), LESION_LABELS)
"""Which of 256 labels are lesion."""
