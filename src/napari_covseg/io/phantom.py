"""A synthetic chest CT made in code: the sample that ships, and the tests' ground truth.

The anatomy is drawn from formulas (`phantom_body`, `phantom_tubes`, `phantom_lesions`); no
patient's data is in it. It stands in millimetres around the middle of the volume, so that another
shape or spacing samples the same body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.geometry import Geometry, Shape
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.io.phantom_body import BLOOD, LEFT, RIGHT, Body, Grid, Image
from napari_covseg.io.phantom_lesions import paint_lesions
from napari_covseg.io.phantom_tubes import (
    Segment,
    Window,
    fill,
    grow_tree,
    paint,
    paint_airways,
    paint_chest_tubes,
    paint_ribs,
    windpipe,
)

_NOISE_HU = 16.0
_HILUM = {LEFT: np.array([36.0, 16.0, 0.0]), RIGHT: np.array([-36.0, 16.0, -6.0])}
_VEIN = {LEFT: np.array([34.0, 10.0, -26.0]), RIGHT: np.array([-34.0, 10.0, -28.0])}


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic CT and what is true of it.

    ``labels`` holds left and right lung, GGO and consolidation; ``volumes_ml`` the volume of each
    of these four labels, exactly: voxels times the volume of one.
    """

    volume: CTVolume
    labels: LabelMap
    volumes_ml: dict[Label, float]


def make_phantom(
    shape: Shape = (120, 256, 256),
    spacing_mm: tuple[float, float, float] = (2.5, 1.4, 1.4),
    seed: int = 0,
) -> Phantom:
    """Draw the phantom.

    Parameters
    ----------
    shape
        ``(z, y, x)``.
    spacing_mm
        ``(z, y, x)``; the body is about 345 mm wide, the lungs 250 mm high.
    seed
        Bends outlines, places vessels, frays lesions and draws the noise. The same seed gives the
        same bytes; every seed has the same lesions in the same places.

    Returns
    -------
    Phantom
        Canonical int16 HU and labels on one grid whose middle is the origin.
    """
    middle = tuple(-(n - 1) / 2 * step for n, step in zip(shape, spacing_mm, strict=True))
    geometry = Geometry.from_spacing(shape, spacing_mm, (middle[2], middle[1], middle[0]))
    grid = Grid.of(geometry)
    rng = np.random.default_rng(seed)
    hu, labels = _draw(grid, rng)
    voxels = _scan(hu, labels, grid, rng)
    volume = CTVolume(voxels, geometry, case="phantom", source="phantom")
    counts = np.bincount(labels.ravel(), minlength=len(Label))
    return Phantom(
        volume,
        LabelMap.like(volume, labels),
        {
            label: float(counts[label]) * geometry.voxel_ml
            for label in (Label.LEFT_LUNG, Label.RIGHT_LUNG, Label.GGO, Label.CONSOLIDATION)
        },
    )


def _draw(grid: Grid, rng: np.random.Generator) -> tuple[Image, NDArray[np.uint8]]:
    """Sharp anatomy in HU and its labels."""
    shape = tuple(len(axis) for axis in grid.axes)
    hu = np.empty(shape, np.float32)
    sides = np.empty(shape, np.uint8)
    body = Body(grid, rng)
    for k, z in enumerate(grid.z):
        hu[k], sides[k] = body.slice(float(z))
    paint_ribs(hu, grid)
    paint_chest_tubes(hu, grid, sides == 0)
    trees = _trees(sides, grid, rng)
    _parenchyma(hu, sides, grid)
    labels = sides.copy()
    paint_lesions(hu, labels, grid, rng)
    _fill_lungs(hu, sides > 0, grid, trees)
    hilar = np.zeros(shape, bool)
    fill(hilar, grid, [s for s in trees.vessels if s.wide > 4.0])
    fill(hilar, grid, windpipe())
    labels[hilar & (labels < Label.GGO.value)] = Label.BACKGROUND
    return hu, labels


@dataclass(frozen=True)
class _Trees:
    vessels: list[Segment]
    airways: list[Segment]


def _trees(sides: NDArray[np.uint8], grid: Grid, rng: np.random.Generator) -> _Trees:
    """Arteries, veins and bronchi of both lungs."""
    vessels: list[Segment] = []
    airways: list[Segment] = []
    for side in (LEFT, RIGHT):
        inside = np.flatnonzero(sides == side)
        if not len(inside):
            continue
        for root, count in ((_HILUM[side], 620), (_VEIN[side], 480)):
            vessels += grow_tree(root, _scatter(inside, sides.shape, grid, count, rng), 0.68, rng)
        targets = _scatter(inside, sides.shape, grid, 110, rng)
        near = np.linalg.norm(targets - _HILUM[side], axis=1) < 115
        airways += grow_tree(_HILUM[side], targets[near], 0.95, rng)
    return _Trees(vessels, airways)


def _scatter(
    inside: NDArray[np.int64],
    shape: tuple[int, ...],
    grid: Grid,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Places drawn evenly from the voxels ``inside``, in mm, shape ``(count, 3)``."""
    z, y, x = np.unravel_index(rng.choice(inside, count), shape)
    return np.stack([grid.x[x], grid.y[y], grid.z[z]], axis=1).astype(np.float64)


def _parenchyma(hu: Image, sides: NDArray[np.uint8], grid: Grid) -> None:
    """Air-filled lung, denser towards the back, where gravity draws the blood."""
    depth = (np.float32(-866.0) + np.float32(0.28) * grid.y)[:, None]
    for k in range(len(grid.z)):
        np.copyto(hu[k], depth, where=sides[k] > 0)


def _fill_lungs(hu: Image, lungs: NDArray[np.bool_], grid: Grid, trees: _Trees) -> None:
    def where(window: Window) -> NDArray[np.bool_]:
        return lungs[window]

    paint(hu, grid, trees.vessels, BLOOD - 6, soft_mm=1.9, where=where, denser_only=True)
    paint_airways(hu, grid, trees.airways, wall_mm=1.0, where=where)
    paint_airways(hu, grid, windpipe(), wall_mm=1.5, where=where)


def _scan(
    hu: Image, labels: NDArray[np.uint8], grid: Grid, rng: np.random.Generator
) -> NDArray[np.int16]:
    """What a scanner makes of it: blur, parenchymal texture, correlated noise, whole numbers."""
    steps = [abs(float(axis[1] - axis[0])) if len(axis) > 1 else 1.0 for axis in grid.axes]
    blur = [0.9 / steps[1], 0.9 / steps[2]]
    voxels = np.empty(hu.shape, np.int16)
    if len(hu) > 2:
        hu = ndimage.convolve1d(hu, np.array([0.12, 0.76, 0.12], np.float32), axis=0)
    for k in range(len(hu)):
        noise = rng.standard_normal(hu[k].shape, dtype=np.float32)
        grain = ndimage.gaussian_filter(noise, 1.5, truncate=2.5)
        image = ndimage.gaussian_filter(hu[k] + np.float32(2.2 * _NOISE_HU) * noise, blur)
        image += np.float32(90.0) * grain * (labels[k] > 0)
        np.clip(image, -1024, 3071, out=image)
        voxels[k] = np.rint(image)
    return voxels
