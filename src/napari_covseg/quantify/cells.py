"""The digits of a voxel's cell: which side, third, depth, rind, lobe and region it lies in."""

from __future__ import annotations

from math import prod

from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import Lobe
from napari_covseg.quantify.twenty import REGIONS

SIDES = (Label.LEFT_LUNG, Label.RIGHT_LUNG)
CELL_AXES = {
    "side": len(SIDES),
    "third": 3,
    "depth": 2,
    "rind": 2,
    "lobe": len(Lobe) + 1,
    "region": len(REGIONS) + 1,
}
"""A cell's digits, most significant first. ``side``: 0 left, 1 right; ``third``: 0 lower, 2 upper;
``depth``: 0 ventral, 1 dorsal; ``rind``: 0 central, 1 peripheral; lobe and region: 0 unknown."""
CELLS = prod(CELL_AXES.values())
