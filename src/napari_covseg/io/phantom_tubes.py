"""Tubes of the synthetic chest: ribs, great vessels, airways and the trees that fill the lungs.

Positions are patient millimetres ``(x, y, z)``, as in `phantom_body`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.io.phantom_body import (
    AIR,
    BLOOD,
    CARTILAGE,
    CORTEX,
    MARROW,
    SOFT,
    Grid,
    Image,
    Section,
)

Point = NDArray[np.float64]
Window = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Segment:
    """A cone from ``start`` to ``end`` (mm) whose radius goes from ``wide`` to ``narrow`` (mm)."""

    start: Point
    end: Point
    wide: float
    narrow: float


def path(points: Iterable[tuple[float, float, float]], *radii: float) -> list[Segment]:
    """Segments through ``points``; ``radii`` are spread evenly along it."""
    stops = np.array(list(points), dtype=np.float64)
    places = np.linspace(0, 1, len(stops))
    widths = np.interp(places, np.linspace(0, 1, len(radii)), radii)
    return [
        Segment(stops[i], stops[i + 1], float(widths[i]), float(widths[i + 1]))
        for i in range(len(stops) - 1)
    ]


def cover(grid: Grid, segment: Segment, soft_mm: float) -> tuple[Window, Image] | None:
    """How much of each voxel near the segment it fills (0 to 1), and where; None outside."""
    reach = max(segment.wide, segment.narrow) + soft_mm
    low = np.minimum(segment.start, segment.end) - reach
    high = np.maximum(segment.start, segment.end) + reach
    window, local = [], []
    for axis, line in zip((2, 1, 0), grid.axes, strict=True):
        first, last = np.searchsorted(line, (low[axis], high[axis]))
        if first == last:
            return None
        window.append(slice(int(first), int(last)))
        local.append(line[first:last] - np.float32(segment.start[axis]))
    dz, dy, dx = local[0][:, None, None], local[1][None, :, None], local[2][None, None, :]
    way = (segment.end - segment.start).astype(np.float32)
    length2 = max(float(way @ way), 1e-6)
    along = np.clip((dx * way[0] + dy * way[1] + dz * way[2]) / np.float32(length2), 0, 1)
    away = (
        np.square(dx - along * way[0])
        + np.square(dy - along * way[1])
        + np.square(dz - along * way[2])
    )
    radius = np.float32(segment.wide) + along * np.float32(segment.narrow - segment.wide)
    filled = (radius - np.sqrt(away)) / np.float32(soft_mm) + np.float32(0.5)
    return (window[0], window[1], window[2]), np.clip(filled, 0, 1).astype(np.float32)


def paint(
    hu: Image,
    grid: Grid,
    segments: Iterable[Segment],
    value: float,
    soft_mm: float = 1.4,
    where: Callable[[Window], NDArray[np.bool_]] | None = None,
    denser_only: bool = False,
) -> None:
    """Blend tubes of ``value`` HU into ``hu``, in place.

    ``where`` names the voxels that may change; ``denser_only`` leaves what is denser already.
    """
    for segment in segments:
        found = cover(grid, segment, soft_mm)
        if found is None:
            continue
        window, filled = found
        part = hu[window]
        change = filled * (np.float32(value) - part)
        if denser_only:
            np.maximum(change, 0, out=change)
        if where is not None:
            change *= where(window)
        part += change


def fill(mask: NDArray[np.bool_], grid: Grid, segments: Iterable[Segment]) -> None:
    """Set the voxels whose centre is in a tube, in place."""
    for segment in segments:
        found = cover(grid, segment, 1e-3)
        if found is not None:
            mask[found[0]] |= found[1] > 0.5


def grow_tree(
    root: Point, targets: Point, leaf_mm: float, rng: np.random.Generator
) -> list[Segment]:
    """A vessel tree from ``root`` that reaches every target, shape ``(n, 3)``.

    Each target joins the node that costs least in wire and in path from the root (Cuntz et al.
    2010, PLoS Comput Biol 6:e1000877); radii follow Murray's law, r^3 = sum of the branches' r^3.
    """
    order = np.argsort(np.linalg.norm(targets - root, axis=1))
    nodes = np.empty((len(targets) + 1, 3))
    nodes[0] = root
    travelled = np.zeros(len(nodes))
    parent = np.zeros(len(nodes), dtype=np.int64)
    for i, target in enumerate(targets[order], start=1):
        step = np.linalg.norm(nodes[:i] - target, axis=1)
        parent[i] = int(np.argmin(step + 0.45 * travelled[:i]))
        travelled[i] = travelled[parent[i]] + step[parent[i]]
        nodes[i] = target
    leaves = np.bincount(parent[1:], minlength=len(nodes)) == 0
    flow = leaves.astype(np.float64)
    for i in range(len(nodes) - 1, 0, -1):
        flow[parent[i]] += flow[i]
    radius = leaf_mm * np.cbrt(np.maximum(flow, 1))
    nodes[1:] += rng.normal(0, 0.8, (len(targets), 3))
    return [
        Segment(nodes[parent[i]], nodes[i], float(min(radius[i] * 1.1, 7.0)), float(radius[i]))
        for i in range(1, len(nodes))
    ]


def paint_ribs(hu: Image, grid: Grid) -> None:
    """Eleven pairs of ribs with marrow, falling to the front, their cartilage, the sternum."""
    outer: list[Segment] = []
    inner: list[Segment] = []
    cartilage: list[Segment] = []
    for number in range(11):
        for sign in (-1, 1):
            points = _rib(number, sign)
            bony = int(len(points) * (0.84 if number < 7 else 0.9))
            outer += path(points[:bony], 5.2, 5.6, 5.0)
            inner += path(points[1 : bony - 1], 3.2, 3.5, 3.0)
            if number < 8:
                cartilage += path(points[bony - 1 :], 5.0, 5.0)
    paint(hu, grid, cartilage, CARTILAGE)
    paint(hu, grid, outer, CORTEX, denser_only=True)
    paint(hu, grid, inner, MARROW)
    breastbone = [(0.0, _front(z) - 9.0, z) for z in np.linspace(-45.0, 84.0, 12)]
    for shift in (-9.0, -3.0, 3.0, 9.0):
        moved = [(x + shift, y, z) for x, y, z in breastbone]
        paint(hu, grid, path(moved, 6.0), CORTEX - 200, denser_only=True)
    for shift in (-8.0, -2.5, 2.5, 8.0):
        moved = [(x + shift, y, z) for x, y, z in breastbone]
        paint(hu, grid, path(moved, 4.3), MARROW - 40)
    for sign in (-1, 1):
        collar = [(sign * x, y, z) for x, y, z in [(16, -38, 92), (60, -46, 104), (150, -6, 118)]]
        paint(hu, grid, path(collar, 6.5, 5.5), CORTEX, denser_only=True)
        paint(hu, grid, path(collar, 4.2, 3.4), MARROW + 60)


def _front(z: float) -> float:
    section = Section.at(z)
    return section.cavity_middle - section.cavity_depth


def _rib(number: int, sign: int) -> list[tuple[float, float, float]]:
    top = 116.0 - 22.0 * number
    fall = min(30.0 + 12.0 * number, 84.0)
    reach = 0.93 * np.pi if number < 7 else (0.86 - 0.1 * (number - 7)) * np.pi
    points = []
    for angle in np.linspace(0.10 * np.pi, reach, 46):
        z = top - fall * (1 - np.cos(angle)) / 2
        section = Section.at(z)
        c, s = np.cos(angle), np.sin(angle)
        swell = 1.0 + 0.16 * (2 * c * s) ** 2
        x = (section.cavity_width + 7.0) * s * swell
        y = section.cavity_middle + (section.cavity_depth + 6.5) * c * swell
        points.append((sign * float(x), float(y), float(z)))
    return points


def great_vessels() -> list[Segment]:
    """Aorta with its arch, pulmonary arteries, caval veins and the vessels of the neck."""
    segments = path([(2, -16, -34), (-14, -22, -5), (-16, -18, 20), (-8, -8, 36)], 15.0, 14.5)
    segments += path([(-8, -8, 36), (6, 8, 44), (18, 28, 40), (24, 42, 26)], 14.0, 12.5)
    segments += path([(24, 42, 26), (24, 46, -30), (20, 46, -100), (10, 34, -160)], 12.5, 11.0)
    segments += path([(20, -34, -24), (18, -20, -2), (12, -6, 8)], 14.0, 12.5)
    segments += path([(12, -6, 8), (-20, 2, 2), (-40, 8, -6)], 11.0, 9.0)
    segments += path([(12, -6, 8), (30, 10, 12), (38, 14, 6)], 11.0, 9.0)
    segments += path([(-24, -14, 70), (-26, -10, 20), (-24, -6, -10)], 8.5, 9.5)
    segments += path([(-22, -4, -78), (-22, 6, -160)], 12.0)
    segments += path([(-8, -8, 44), (-16, -4, 80), (-22, 2, 160)], 6.0, 4.0)
    segments += path([(6, 0, 46), (14, 2, 90), (20, 8, 160)], 4.0, 3.5)
    segments += path([(14, 16, 46), (26, 22, 90), (34, 26, 120)], 4.5, 4.0)
    segments += path([(-24, -14, 70), (0, -22, 66), (24, -18, 84)], 6.5, 5.5)
    return segments


def windpipe() -> list[Segment]:
    """Trachea and the main and lobar bronchi, as lumen."""
    segments = path([(0, 4, 160), (-1, 12, 80), (-2, 20, 26)], 9.0, 8.5)
    segments += path([(-2, 20, 26), (-24, 20, 6), (-34, 20, -8)], 7.6, 6.4)
    segments += path([(-22, 20, 8), (-38, 18, 16), (-50, 16, 24)], 4.8, 3.6)
    segments += path([(-34, 20, -8), (-42, 26, -28), (-50, 32, -46)], 5.4, 3.6)
    segments += path([(-37, 20, -16), (-50, 0, -28)], 3.8, 3.0)
    segments += path([(-2, 20, 26), (26, 22, 2), (38, 22, -6)], 6.8, 5.8)
    segments += path([(36, 20, -4), (52, 6, 8), (58, 2, 24)], 4.6, 3.4)
    segments += path([(38, 22, -6), (48, 32, -30), (54, 38, -50)], 5.0, 3.4)
    return segments


def paint_chest_tubes(hu: Image, grid: Grid, outside_lungs: NDArray[np.bool_]) -> None:
    """Great vessels, gullet, trachea and bronchi outside the lungs."""

    def where(window: Window) -> NDArray[np.bool_]:
        return outside_lungs[window]

    paint(hu, grid, great_vessels(), BLOOD, where=where)
    gullet = path([(4, 32, 160), (2, 34, 30), (6, 30, -40), (12, 22, -100)], 6.5)
    paint(hu, grid, gullet, SOFT + 6, where=where)
    paint_airways(hu, grid, windpipe(), wall_mm=1.6, where=where)


def paint_airways(
    hu: Image,
    grid: Grid,
    segments: list[Segment],
    wall_mm: float,
    where: Callable[[Window], NDArray[np.bool_]] | None = None,
) -> None:
    """Airways: their wall first, so that no wall closes the lumen of a branch."""
    walls = [
        Segment(s.start, s.end, s.wide + min(wall_mm, 0.5 * s.wide), s.narrow + 0.5 * wall_mm)
        for s in segments
    ]
    paint(hu, grid, walls, SOFT, where=where, denser_only=True)
    paint(hu, grid, segments, AIR, where=where)
