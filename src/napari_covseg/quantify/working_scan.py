"""A scan as it is registered: its lungs and its density on a grid of 2 mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.quantify.mapping import Mapping, carry_values

WORKING_MM = 2.0
MARGIN_MM = 16.0
UNMOVED = Mapping(np.eye(4))


@dataclass(frozen=True, eq=False)
class WorkingScan:
    """A scan on its 2 mm grid along the patient's axes: lungs, and density from 0 (healthy lung)
    to 1 (soft tissue), which is also what lies outside the lungs. ``image`` is its own grid.
    """

    image: Geometry
    grid: Geometry
    lungs: NDArray[np.bool_]
    density: NDArray[np.float32]


def working_scan(labels: LabelMap, volume: CTVolume, which: str) -> WorkingScan:
    """A scan (``which``: current or prior) on its working grid; `register` says what it raises."""
    if not labels.geometry.same_as(volume.geometry):
        raise InputError(
            f"the {which} scan's labels are not on the grid of its CT; segment that CT, or name "
            "the right one"
        )
    lung = (labels.labels > Label.BACKGROUND.value) & (labels.labels < Label.IGNORE.value)
    if not lung.any():
        raise InputError(
            f"no lung is labelled in the {which} scan; segment it first (both lungs are what scans "
            "are laid over each other by)"
        )
    grid = _working_grid(lung, labels.geometry)
    mask = _on(lung.astype(np.float32), labels.geometry, grid, fill=0.0) >= 0.5
    sick = np.isin(labels.labels, LESION_LABELS)
    healthy = float(np.median(volume.hu[lung & ~sick])) if (lung & ~sick).any() else -850.0
    hu = _on(np.asarray(volume.hu, np.float32), labels.geometry, grid, fill=-1024.0)
    lesions = _on(sick.astype(np.float32), labels.geometry, grid, fill=0.0) > 0.0
    density = np.clip((hu - healthy) / max(1.0, -healthy), -0.2, 1.0)
    # The edges of lesions are dense too, and would still tell where they are.
    density[ndimage.binary_dilation(lesions, iterations=1)] = 0.0
    density[~mask] = 1.0
    return WorkingScan(labels.geometry, grid, mask, density.astype(np.float32))


def _working_grid(lung: NDArray[np.bool_], geometry: Geometry) -> Geometry:
    """Along the patient's axes, around the lungs."""
    sides = [np.flatnonzero(lung.any(axis=tuple(a for a in range(3) if a != i))) for i in range(3)]
    ends = [(side[0] - 0.5, side[-1] + 0.5) for side in sides]
    corners = np.array([[x, y, z, 1.0] for z in ends[0] for y in ends[1] for x in ends[2]])
    lps = (corners @ geometry.affine.T)[:, :3]
    low, high = lps.min(axis=0) - MARGIN_MM, lps.max(axis=0) + MARGIN_MM
    x, y, z = (int(n) for n in np.ceil((high - low) / WORKING_MM))
    return Geometry.from_spacing((z, y, x), (WORKING_MM,) * 3, (low[0], low[1], low[2]))


def _on(values: NDArray, source: Geometry, target: Geometry, fill: float) -> NDArray:
    return carry_values(values, source, target, UNMOVED, fill=fill)
