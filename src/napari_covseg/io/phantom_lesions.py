"""Lesions of the synthetic chest: where they stand, how they look, what their labels are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import Label
from napari_covseg.io.phantom_body import Grid, Image


@dataclass(frozen=True)
class Lesion:
    """A ragged ellipsoid: ``centre`` and ``radii`` in mm ``(x, y, z)``, ``hu`` in its middle."""

    kind: Label
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    hu: float


LESIONS = (
    Lesion(Label.GGO, (82, 56, -58), (46, 36, 36), -530),  # left lower lobe, behind: the largest
    Lesion(Label.GGO, (112, 20, -6), (26, 36, 28), -570),  # left upper lobe, at the side
    Lesion(Label.GGO, (58, 72, 32), (28, 22, 22), -550),  # left lower lobe, its top
    Lesion(Label.GGO, (-80, 60, -46), (36, 28, 32), -550),  # right lower lobe, behind
    Lesion(Label.GGO, (-116, 8, 26), (20, 28, 24), -590),  # right upper lobe, at the side
    Lesion(Label.CONSOLIDATION, (90, 66, -56), (32, 16, 27), -15),  # at the pleura, left
    Lesion(Label.CONSOLIDATION, (56, 78, 32), (22, 13, 17), -20),  # at the pleura, left, higher
    Lesion(Label.CONSOLIDATION, (-78, 72, -50), (27, 15, 24), -15),  # at the pleura, right
)
"""More disease on the left than on the right, and in the lower lobes: sides cannot be mixed up."""


def paint_lesions(
    hu: Image, labels: NDArray[np.uint8], grid: Grid, rng: np.random.Generator
) -> None:
    """Blend the lesions into the lungs of ``labels``, and label where they fill half or more.

    Both arrays change in place. Later lesions lie over earlier ones.
    """
    for lesion in LESIONS:
        ragged = rng.standard_normal((12, 12, 12)).astype(np.float32)
        near = [
            slice(*np.searchsorted(axis, (c - 1.5 * r, c + 1.5 * r)))
            for axis, c, r in zip(grid.axes, lesion.centre[::-1], lesion.radii[::-1], strict=True)
        ]
        window = (near[0], near[1], near[2])
        if 0 in hu[window].shape:
            continue
        weight = _weight(lesion, grid, window, ragged)
        lung = labels[window] > 0
        weight *= lung
        part = hu[window]
        uneven = _spread(ragged[::-1], part.shape)
        if lesion.kind is not Label.GGO:
            uneven *= np.float32(0.7)
        part += weight * (np.float32(lesion.hu) + uneven - part)
        labels[window][lung & (weight >= 0.5)] = lesion.kind


def _weight(lesion: Lesion, grid: Grid, window: tuple[slice, slice, slice], ragged: Image) -> Image:
    """How much of each voxel is lesion, 0 to 1: GGO fades over 8 mm, consolidation over 4 mm."""
    z, y, x = (
        (axis[part] - np.float32(c)) / np.float32(r)
        for axis, part, c, r in zip(
            grid.axes, window, lesion.centre[::-1], lesion.radii[::-1], strict=True
        )
    )
    away = np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2)
    noise = _spread(ragged, away.shape) / np.float32(60.0)
    fade, rough = (8.0, 0.14) if lesion.kind is Label.GGO else (4.0, 0.10)
    inside_mm = (1 - away + np.float32(rough) * noise) * np.float32(min(lesion.radii))
    return np.asarray(np.clip(inside_mm / np.float32(fade) + 0.5, 0, 1), dtype=np.float32)


def _spread(coarse: Image, shape: tuple[int, ...]) -> Image:
    """The coarse noise smoothly over ``shape``, standard deviation near 60."""
    factors = [n / m for n, m in zip(shape, coarse.shape, strict=True)]
    fine = ndimage.zoom(coarse, factors, order=2, mode="nearest", grid_mode=True)
    return np.asarray(fine * np.float32(60.0), dtype=np.float32)
