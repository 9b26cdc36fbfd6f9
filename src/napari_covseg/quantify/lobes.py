"""The five lobes: from a lobe map, or an approximation by two planes a lung.

The approximation knows no fissures. It stands where no lobe map is given, and everything that
rests on it is called approximate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import LUNG_LABELS, Label
from napari_covseg.domain.lobes import Lobe, LobeMap
from napari_covseg.domain.volume import LabelMap
from napari_covseg.preprocess.coarse import CoarseGrid
from napari_covseg.quantify.divisions import split_by_rank

LOBE_SHARES = {
    Lobe.RIGHT_UPPER: 17.9,
    Lobe.RIGHT_MIDDLE: 9.3,
    Lobe.RIGHT_LOWER: 26.5,
    Lobe.LEFT_UPPER: 23.1,
    Lobe.LEFT_LOWER: 23.2,
}
"""Percent of both lungs, supine at full inspiration, mean of 32 volunteers (SD 1.6 to 2.6):
Yamada et al., Respiration 2020;99:598-605, table 3."""
MOST_OUTSIDE_LOBES = 0.10
"""A lobe map that leaves out more of the lungs than this share is not used."""
FISSURE_SLOPE = 0.9
"""How far the oblique fissure falls from the back of a lung to its front, in heights of the lung
per depth of the lung. It starts behind at T4 or T5 and ends in front at the diaphragm."""
_REACH = 0.5
"""Percentile left out at each end when a lung's height and depth are measured."""


def approximate_lobes(lung: NDArray[np.bool_], side: Label) -> NDArray[np.uint8]:
    """Divide one lung by planes in place of its fissures.

    The oblique fissure is a plane that falls to the front by `FISSURE_SLOPE`; in the right lung
    the horizontal fissure is an axial plane. Both are moved until the lobes hold the shares that
    healthy lobes have of a lung (`LOBE_SHARES`), so the shares of the result are not measured.

    Parameters
    ----------
    lung
        One lung with its lesions, ``(z, y, x)``, canonical.
    side
        `Label.LEFT_LUNG` or `Label.RIGHT_LUNG`.

    Returns
    -------
    NDArray[np.uint8]
        `Lobe` of each voxel of the lung, 0 elsewhere.
    """
    lobes = np.zeros(lung.shape, np.uint8)
    z, y, _ = np.nonzero(lung)
    if len(z) == 0:
        return lobes
    height, depth = _unit(z), _unit(y)
    above_fissure = height - FISSURE_SLOPE * depth
    upper, lower = (
        (Lobe.LEFT_UPPER, Lobe.LEFT_LOWER)
        if side is Label.LEFT_LUNG
        else (Lobe.RIGHT_UPPER, Lobe.RIGHT_LOWER)
    )
    over = sum(share for lobe, share in LOBE_SHARES.items() if lobe.side is side and lobe != lower)
    found = np.where(
        split_by_rank(above_fissure, (LOBE_SHARES[lower], over)) == 0, np.uint8(lower), upper
    ).astype(np.uint8)
    if side is Label.RIGHT_LUNG:
        rest = np.flatnonzero(found == upper)
        shares = (LOBE_SHARES[Lobe.RIGHT_MIDDLE], LOBE_SHARES[Lobe.RIGHT_UPPER])
        found[rest[split_by_rank(height[rest], shares) == 0]] = Lobe.RIGHT_MIDDLE
    lobes[lung] = found
    return lobes


def coarse_lobes(
    lobes: LobeMap, grid: CoarseGrid, lung: NDArray[np.bool_], side: Label
) -> NDArray[np.uint8]:
    """What a lobe map says about one lung on a coarse grid; lobes of the other lung are left out.

    Parameters
    ----------
    lobes
        On the full grid.
    grid
        The coarse copy of that grid.
    lung
        One lung on the coarse grid, ``(z, y, x)``.
    side
        Which lung.
    """
    taken = grid.take(lobes.lobes)
    own = [lobe for lobe in Lobe if lobe.side is side]
    return np.where(lung & np.isin(taken, own), taken, np.uint8(0))


def misfit(lobes: LobeMap, labels: LabelMap) -> str:
    """Why a lobe map on the labels' grid cannot be theirs, as in *it leaves out much of them*.

    Empty where it covers the lungs, and has left and right where the labels have them.
    """
    joint = np.zeros((len(Label), len(Lobe) + 1), np.int64)
    for plane, lobe in zip(labels.labels, lobes.lobes, strict=True):
        if plane.any():
            code = plane * np.uint8(joint.shape[1]) + lobe
            joint += np.bincount(code.ravel(), minlength=joint.size).reshape(joint.shape)
    lung = joint[list(LUNG_LABELS)]
    left = [lobe for lobe in Lobe if lobe.side is Label.LEFT_LUNG]
    right = [lobe for lobe in Lobe if lobe.side is Label.RIGHT_LUNG]
    wrong = int(joint[Label.LEFT_LUNG, right].sum() + joint[Label.RIGHT_LUNG, left].sum())
    most = MOST_OUTSIDE_LOBES * int(lung.sum())
    if lung.sum() == 0 or (wrong <= most and int(lung[:, 0].sum()) <= most):
        return ""
    return "has left and right the other way round" if wrong > most else "leaves out much of them"


def _unit(index: NDArray[np.intp]) -> NDArray[np.float64]:
    """Indices along an axis as 0 to 1 from one end of the lung to the other."""
    low, high = np.percentile(index, (_REACH, 100 - _REACH))
    return np.asarray((index - low) / max(1.0, high - low))
