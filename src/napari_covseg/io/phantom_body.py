"""The still parts of the synthetic chest: body wall, spine, abdomen, heart and lung shapes.

Everything is an implicit shape in patient millimetres around the middle of the volume (x to the
patient's left, y to posterior, z to superior), painted one axial slice at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.geometry import Geometry

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

AIR, FAT, SOFT, MUSCLE, BLOOD = -1000.0, -100.0, 30.0, 52.0, 42.0
LIVER, SPLEEN, FLUID, CORTEX, MARROW, CARTILAGE = 58.0, 50.0, 18.0, 520.0, 160.0, 110.0
LEFT, RIGHT = 1, 2

# z (mm): half width, half depth, middle y of the skin; the same three of the pleural cavity
_SECTIONS = np.array(
    [
        [-160, 152, 106, 2, 126, 80, 10],
        [-100, 158, 112, 0, 134, 88, 6],
        [-50, 164, 114, 0, 138, 91, 3],
        [0, 168, 112, 2, 134, 88, 5],
        [40, 170, 106, 5, 125, 80, 11],
        [80, 172, 96, 11, 106, 66, 20],
        [110, 170, 86, 18, 82, 51, 28],
        [160, 160, 76, 24, 56, 40, 34],
    ],
    dtype=np.float64,
)


@dataclass(frozen=True)
class Grid:
    """The voxel centres along each axis in mm, float32, around the middle of the volume."""

    x: Image
    y: Image
    z: Image

    @classmethod
    def of(cls, geometry: Geometry) -> Grid:
        """The axes of a grid whose voxels stand straight in patient space."""
        z, y, x = (
            (np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(step)
            for n, step in zip(geometry.shape, geometry.spacing_mm, strict=True)
        )
        return cls(x, y, z)

    @property
    def axes(self) -> tuple[Image, Image, Image]:
        """The axes in array order ``(z, y, x)``."""
        return self.z, self.y, self.x


@dataclass(frozen=True)
class Section:
    """The outlines of the body and of the pleural cavity at one height, in mm."""

    width: float
    depth: float
    middle: float
    cavity_width: float
    cavity_depth: float
    cavity_middle: float

    @classmethod
    def at(cls, z: float) -> Section:
        """The outlines at height ``z``."""
        return cls(*(float(np.interp(z, _SECTIONS[:, 0], column)) for column in _SECTIONS.T[1:]))

    def body(self, x: Image, y: Image, inside_mm: float = 0.0) -> Mask:
        """Points of the body more than ``inside_mm`` below the skin."""
        return squircle(
            x / (self.width - 1.5 * inside_mm),
            (y - self.middle) / (self.depth - inside_mm),
            0.4,
        )

    def cavity(self, x: Image, y: Image, outside_mm: float = 0.0) -> Mask:
        """Points of the pleural cavity, grown by ``outside_mm``."""
        return squircle(
            x / (self.cavity_width + outside_mm),
            (y - self.cavity_middle) / (self.cavity_depth + outside_mm),
            0.25,
        )


def squircle(x: Image, y: Image, square: float) -> Mask:
    """Inside of a shape between the unit circle (``square`` 0) and the unit square (1)."""
    x2, y2 = np.square(x), np.square(y)
    away = x2 * y2
    away *= np.float32(-square)
    away += x2
    away += y2
    return np.asarray((away < 1) & (y2 < 1))


def ellipse(
    x: Image, y: Image, centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0
) -> Image:
    """Squared distance from the centre in units of the radii, turned by ``turn`` degrees."""
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    if turn == 0:
        return np.asarray(
            np.square(dx / np.float32(radii[0])) + np.square(dy / np.float32(radii[1]))
        )
    u = dx * np.float32(c / radii[0]) + dy * np.float32(s / radii[0])
    v = dy * np.float32(c / radii[1]) - dx * np.float32(s / radii[1])
    return np.asarray(u * u + v * v)


def dome(x: Image, y: Image, side: int) -> Image:
    """Height of the diaphragm over ``(x, y)``, in mm: the right dome stands higher."""
    top, middle_x, middle_y = (-50.0, -64.0, -12.0) if side == RIGHT else (-64.0, 66.0, -6.0)
    dx, dy = (x - middle_x) / 76.0, y - middle_y
    q = dx * dx + np.square(dy / np.where(dy < 0, 100.0, 74.0))
    return np.asarray(top - np.minimum(78.0 * q / (1 + 0.4 * q), 80.0), dtype=np.float32)


@dataclass(frozen=True)
class Slice:
    """What several painters of one axial slice need; arrays are ``(y, x)``, in mm."""

    x: Image
    y: Image
    z: float
    section: Section
    heart: Image
    hila: Mask
    diaphragm: dict[int, Image]

    @classmethod
    def at(cls, x: Image, y: Image, z: float) -> Slice:
        """The slice at height ``z``."""
        domes = {side: dome(x, y, side) for side in (LEFT, RIGHT)}
        return cls(x, y, z, Section.at(z), _heart(x, y, z), _hila(x, y, z), domes)


class Body:
    """Paints axial slices; ``rng`` bends every outline a little, so that none is an ellipse."""

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.grid = grid
        self._phases = rng.uniform(0, 2 * np.pi, (2, 2))

    def slice(self, z: float) -> tuple[Image, NDArray[np.uint8]]:
        """The slice at height ``z``: HU without lungs, and which lung a voxel is in (0: none)."""
        here = Slice.at(*self._bent(z), z)
        hu = _wall(here)
        inner = here.section.cavity(here.x, here.y)
        _mediastinum(hu, here, inner)
        _abdomen(hu, here, inner)
        _spine(hu, here)
        _table(hu, self.grid)
        return hu, self._lungs(here)

    def _bent(self, z: float) -> tuple[Image, Image]:
        x, y = self.grid.x[None, :], self.grid.y[:, None]
        long, short, rise = 2 * np.pi / 150, 2 * np.pi / 83, 2 * np.pi / 170
        a, b = self._phases
        dx = 1.8 * np.sin(long * y + rise * z + a[0]) + 0.7 * np.sin(short * y - long * z + a[1])
        dy = 1.8 * np.sin(long * x - rise * z + b[0]) + 0.7 * np.sin(short * x + long * z + b[1])
        return x + dx.astype(np.float32), y + dy.astype(np.float32)

    def _lungs(self, here: Slice) -> NDArray[np.uint8]:
        x, y = here.x, here.y
        cavity = here.section.cavity(x, y) & ~_between_lungs(here)
        side = np.zeros(x.shape, np.uint8)
        step = abs(float(self.grid.x[1] - self.grid.x[0])) if len(self.grid.x) > 1 else 1.0
        for value, sign, top in ((LEFT, 1, 122.0), (RIGHT, -1, 120.0)):
            half = cavity & (x * sign > 0) & (here.z > here.diaphragm[value])
            half &= here.z < _apex(x * sign, y, top)
            if half.any():
                rounded = ndimage.gaussian_filter(half.astype(np.float32), 3.4 / step) > 0.5
                side[rounded] = value
        return side


def _apex(x: Image, y: Image, top: float) -> Image:
    away = np.square((x - 44.0) / 60.0) + np.square((y - 28.0) / 58.0)
    return np.asarray(top - 30.0 * away, dtype=np.float32)


def _heart(x: Image, y: Image, z: float) -> Image:
    """Below 1 inside: ventricles towards the left front, right atrium right of the spine."""
    down = ((z + 52.0) / 60.0) ** 2
    ventricles = ellipse(x, y, (26.0, -26.0), (68.0, 46.0), -32.0) + down
    atrium = ellipse(x, y, (-18.0, -12.0), (30.0, 36.0)) + ((z + 42.0) / 42.0) ** 2
    left_atrium = ellipse(x, y, (8.0, 12.0), (40.0, 22.0)) + ((z + 28.0) / 28.0) ** 2
    return np.asarray(np.minimum(np.minimum(ventricles, atrium), left_atrium))


def _hila(x: Image, y: Image, z: float) -> Mask:
    near: Mask = np.zeros(x.shape, bool)
    for middle, height in ((-36.0, -8.0), (36.0, 2.0)):
        near |= ellipse(x, y, (middle, 10.0), (17.0, 20.0)) + ((z - height) / 26.0) ** 2 < 1
    return near


def _between_lungs(here: Slice) -> Mask:
    """Spine with its muscles, mediastinum and heart: what parts the lungs."""
    x, y, z = here.x, here.y, here.z
    upper = float(np.interp(z, [-150, -60, 0, 30, 60, 100, 130], [24, 22, 24, 33, 31, 27, 30]))
    band = np.interp(y, [-75, -48, -30, 20, 34, 60], [4, 6, upper, upper, 19, 24])
    parted = np.abs(x - 2.0) < band
    parted |= ellipse(x, y, (0.0, 76.0), (35.0, 44.0)) < 1
    parted |= (here.heart < 1.12) | here.hila
    fat_pad = ellipse(x, y, (22.0, -76.0), (36.0, 30.0))
    parted |= fat_pad + ((z + 32.0) / 46.0) ** 2 < 1
    if z < 46:
        parted |= ellipse(x, y, (24.0, 44.0), (15.0, 15.0)) < 1 - (max(z - 26.0, 0.0) / 20.0) ** 2
    return np.asarray(parted)


def _wall(here: Slice) -> Image:
    """Air, skin, fat, muscle and the soft tissue of the rib cage."""
    x, y, z, section = here.x, here.y, here.z, here.section
    hu = np.full(x.shape, AIR, np.float32)
    hu[section.body(x, y)] = 20.0
    hu[section.body(x, y, 2.5)] = FAT
    fat = float(np.interp(z, [-150, -60, 60, 150], [19, 14, 12, 14]))
    streaks = 3.0 * np.sin(x * 0.11 + y * 0.07) + 2.0 * np.sin(y * 0.17 - x * 0.05 + 0.03 * z)
    muscle = section.body(x, y, fat) & (streaks + 2 * np.sin(0.2 * x) < 4.2)
    hu[muscle] = MUSCLE
    hu[section.cavity(x, y, 17.0)] = FAT + 25
    hu[section.cavity(x, y, 13.0)] = SOFT + 12
    hu[section.cavity(x, y, 4.2)] = FAT + 5
    hu[section.cavity(x, y, 1.0)] = SOFT
    _shoulder_blades(hu, here)
    return hu


def _shoulder_blades(hu: Image, here: Slice) -> None:
    x, y, z, section = here.x, here.y, here.z, here.section
    if not 15 < z < 125:
        return
    length = 40.0 * np.sqrt(max(0.05, 1 - ((z - 80.0) / 66.0) ** 2))
    for sign in (-1, 1):
        middle = (sign * (section.cavity_width + 12.0), section.cavity_middle + 36.0)
        plate = ellipse(x, y, middle, (length, 5.0), sign * -58.0)
        hu[plate < 1] = CORTEX - 60
        hu[ellipse(x, y, middle, (length - 3, 2.2), sign * -58.0) < 1] = MARROW


def _mediastinum(hu: Image, here: Slice, inner: Mask) -> None:
    x, y = here.x, here.y
    hu[inner] = FAT + 10
    hu[inner & (np.abs(x) < 12) & (y > -20) & (y < 40)] = SOFT
    hu[inner & here.hila] = BLOOD - 10
    hu[inner & (here.heart < 0.98)] = BLOOD


def _abdomen(hu: Image, here: Slice, inner: Mask) -> None:
    """Below the diaphragm: its muscle, fat, liver on the right, stomach and spleen on the left."""
    x, y, z = here.x, here.y, here.z
    if z > -45:
        return
    lower = np.where(x < 0, here.diaphragm[RIGHT], here.diaphragm[LEFT])
    below = inner & (z < lower) & (here.heart > 0.98)
    hu[below] = MUSCLE
    deep = below & (z < lower - 4.0)
    hu[deep] = FAT
    liver = (x < 34.0 - 0.5 * (y + 40.0)) & (x + 0.45 * y < 40.0)
    hu[deep & liver] = LIVER
    spleen = ellipse(x, y, (88.0, 42.0), (34.0, 34.0)) + ((z + 112.0) / 40.0) ** 2 < 1
    stomach = ellipse(x, y, (66.0, -22.0), (42.0, 36.0)) + ((z + 112.0) / 42.0) ** 2
    hu[deep & (stomach < 1)] = SOFT + 10
    hu[deep & (stomach < 0.8)] = FLUID
    hu[deep & (stomach < 0.8) & (y < -34.0)] = AIR + 30
    hu[deep & spleen] = SPLEEN


def _spine(hu: Image, here: Slice) -> None:
    x, y = here.x, here.y
    phase = (here.z + 200.0) % 25.0
    hu[ellipse(x, y, (0.0, 76.0), (33.0, 32.0)) < 1] = MUSCLE - 4
    if phase < 15:
        hu[(np.abs(x) < 33) & (np.abs(y - 77.0 - 0.12 * np.abs(x)) < 4.5)] = CORTEX - 180
    arch = ellipse(x, y, (0.0, 72.0), (15.0, 13.0))
    hu[arch < 1] = CORTEX - 120
    hu[(np.abs(x) < 3.5) & (y > 82) & (y < 102)] = CORTEX - 150
    body = ellipse(x, y, (0.0, 49.0), (18.0, 15.0))
    disc = phase > 20
    hu[body < 1] = 95.0 if disc else CORTEX - 100
    hu[body < 0.84] = 85.0 if disc else MARROW + 30 + 80 * (phase < 1.5 or phase > 18.5)
    hu[ellipse(x, y, (0.0, 71.0), (9.0, 7.5)) < 1] = 25.0


def _table(hu: Image, grid: Grid) -> None:
    """A curved carbon-fibre top with foam inside, behind the back."""
    x, y = grid.x[None, :], grid.y[:, None]
    depth = y - (121.0 - 0.00045 * x * x)
    hu[(depth > 0) & (depth < 26.0) & (hu < -500)] = -985.0
    shell = (depth > 0) & (depth < 2.4) & (np.abs(x) < 176)
    hu[shell] = np.maximum(hu[shell], -420.0)
