"""Pictures of a CT's axial slices, as classifiers of slices know them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.volume import CTVolume
from napari_covseg.io.images import CT_WINDOW_HU

MOST_SLICES = 48
_LUNG_HU = (-950.0, -400.0)
_LEAST_LUNG = 0.08
_BODY_HU = -400.0
_MARGIN = 2


def lung_slices(volume: CTVolume, most: int = MOST_SLICES) -> list[int]:
    """Indices of slices with lung in their middle, evenly thinned out to ``most``.

    A slice counts if 8 % of its body's bounding box have values of lung.

    Raises
    ------
    InputError
        If there is none.
    """
    low, high = _LUNG_HU
    found = []
    for index in range(len(volume.hu)):
        plane = volume.hu[index][body(volume.hu[index])]
        if np.mean((plane > low) & (plane < high)) >= _LEAST_LUNG:
            found.append(index)
    if not found:
        raise InputError("no axial slice shows lung; expected a chest CT in Hounsfield units")
    return [found[i] for i in spread_over(len(found), most)]


def spread_over(count: int, most: int) -> Sequence[int]:
    """At most ``most`` of the places 0 to ``count`` - 1, at even distances."""
    return range(count) if count <= most else [int((i + 0.5) * count / most) for i in range(most)]


def body(plane: NDArray) -> tuple[slice, slice]:
    """Rows and columns that hold the body: figures of CT are cut to it; all where there is none."""
    dense = plane > _BODY_HU
    # A table or a tube is thin: rows and columns count where a tenth of them is dense.
    spans = [_span(dense.mean(axis=axis) > 0.1) for axis in (1, 0)]
    return spans[0], spans[1]


def _span(held: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(held)
    if len(places) < _MARGIN:
        return slice(0, len(held))
    return slice(max(0, int(places[0]) - _MARGIN), min(len(held), int(places[-1]) + 1 + _MARGIN))


def slice_picture(volume: CTVolume, index: int) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
    """A slice cut to its body as grey in [0, 1], and which rows and columns of it that is."""
    where = body(volume.hu[index])
    low, high = CT_WINDOW_HU
    grey = (volume.hu[index][where].astype(np.float32) - low) / (high - low)
    return np.clip(grey, 0, 1), where
