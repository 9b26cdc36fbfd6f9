"""What is under the cursor: Hounsfield units, label, and position in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_covseg.domain.labels import Label
from napari_covseg.plugin.layers import placement_of
from napari_covseg.plugin.planes import lps_text

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

_TITLES = {int(label): label.title for label in Label if label}


def readout(ct: Image, labels: Sequence[Labels], world: tuple[float, ...]) -> str:
    """``-612 HU   GGO   L 45.2  P 12.0  S 120.5 mm``; the label is that of the topmost layer.

    ``world`` is a point in napari's coordinates; outside the CT the text is empty. The position
    is the voxel's, by the true affine, so it is right for oblique scans too.
    """
    index = _index(ct, world)
    placement = placement_of(ct)
    if index is None or placement is None:
        return ""
    z, y, x = index
    lps = placement.geometry.affine @ (x, y, z, 1)
    named = next((name for layer in reversed(labels) if (name := _label(layer, world))), "")
    parts = (f"{float(ct.data[index]):.0f} HU", named, lps_text((lps[0], lps[1], lps[2])))
    return "   ".join(part for part in parts if part)


def _label(layer: Labels, world: tuple[float, ...]) -> str:
    index = _index(layer, world) if layer.visible else None
    return "" if index is None else _TITLES.get(int(layer.data[index]), "")


def _index(layer: Layer, world: tuple[float, ...]) -> tuple[int, int, int] | None:
    if len(world) != 3 or layer.ndim != 3:
        return None
    index = np.rint(np.asarray(layer.world_to_data(world))).astype(int)
    if (index < 0).any() or (index >= layer.data.shape).any():
        return None
    z, y, x = (int(i) for i in index)
    return z, y, x
