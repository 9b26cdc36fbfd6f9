"""A slice as a picture: CT in its window, lungs as outlines, lesions in their colours. No Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import Label
from napari_covseg.plugin.planes import Plane

_RGB = np.zeros((256, 3), np.float32)
for _label, _colour in LABEL_COLOURS.items():
    _RGB[int(_label)] = [int(_colour[i : i + 2], 16) for i in (1, 3, 5)]


@dataclass(frozen=True, eq=False)
class Overlay:
    """Labels of a slice as they lie in the array, ``opacity``, and whether as outlines only."""

    labels: NDArray[np.integer]
    opacity: float
    outlined: bool


def upright(picture: NDArray, plane: Plane) -> NDArray:
    """A slice of a plane with its rows and columns as they are shown: superior or anterior up."""
    return picture[::-1] if plane.growth[1] == "up" else picture


def painted(
    hu: NDArray, limits: tuple[float, float], overlays: Iterable[Overlay]
) -> NDArray[np.uint8]:
    """Grey between the limits, with the labels over it; later overlays lie over earlier ones.

    Parameters
    ----------
    hu
        ``(rows, columns)``.
    limits
        HU of black and white.
    overlays
        Labels of the same shape.

    Returns
    -------
    NDArray[np.uint8]
        ``(rows, columns, 3)``.
    """
    low, high = limits
    grey = np.clip((hu.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6)), 0, 255)
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    for overlay in overlays:
        labels = np.minimum(overlay.labels, 255).astype(np.uint8)
        shown = (labels > 0) & (labels <= max(Label))
        if overlay.outlined:
            shown &= _edges(labels)
        where = np.nonzero(shown)
        colour = _RGB[labels[where]]
        picture[where] += (colour - picture[where]) * np.float32(overlay.opacity)
    return np.ascontiguousarray(picture.astype(np.uint8))


def _edges(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Labelled pixels beside another label, or beside none."""
    edge = np.zeros(labels.shape, bool)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    return edge
