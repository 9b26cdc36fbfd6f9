"""Tell the left lung from the right: geometry, so one function does it for everyone.

The surface between the lungs is, in each axial slice, a path from front to back that cuts as
little lung as possible, thin bridges before thick ones (dynamic programming over rows, all slices
at once). It is found twice, the second time drawn to the smoothed first one, so that it does not
jump from slice to slice. What it cuts off by mistake (a wide neck) is given back.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import Label
from napari_covseg.preprocess.midline import find_midline

LEFT, RIGHT = int(Label.LEFT_LUNG), int(Label.RIGHT_LUNG)
Spacing = tuple[float, float, float]

# Cost of a cut through one voxel: 1 at the surface of a lung, more the deeper it goes.
DEPTH_MM = 6.0
BEND = 0.02
REACH = 2
# So far off the guess a row costs 0.3: enough to keep the path from going round a whole lung.
PULL = 0.3
PULL_FIRST_MM, PULL_SECOND_MM = 30.0, 25.0
SMOOTH_MM = 15.0
# Lungs that touch are narrow where they do; what is no wider behind the cut was cut off wrongly.
WIDE_NECK_LUNG, WIDE_NECK_PART = 0.75, 0.5
SMALL_MM = 15.0
# So much of it lies right above or below the other side: the seam changed sides between slices.
STACKED = 0.5


def split_sides(
    mask: NDArray[np.bool_],
    spacing_mm: Spacing,
    *,
    known: NDArray[np.uint8] | None = None,
    tissue: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """The side of every lung voxel: 1 left, 2 right, 0 outside ``mask``.

    Parameters
    ----------
    mask
        Both lungs with their lesions, ``(z, y, x)``, canonical (x grows to the patient's left).
        Meant for a grid of about 3 mm; finer grids give the same answer more slowly.
    spacing_mm
        ``(z, y, x)``.
    known
        Sides that are known already, 1 or 2, 0 where not; they keep their side.
    tissue
        Soft tissue, which tells the side of a lone lung.
    """
    sides = np.zeros(mask.shape, np.uint8)
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return sides
    inner = box[0]
    # Midline from the whole grid, since soft tissue lies around the lungs; the rest in the box.
    middle = find_midline(mask, spacing_mm, known, tissue)[inner[0]] - inner[2].start
    lung = mask[inner]
    told = None if known is None else known[inner]
    seam = _find_seam(lung, spacing_mm, middle, told)
    left = np.arange(lung.shape[2]) >= seam[..., None]
    found = _settle_parts(lung, left, middle, spacing_mm, told)
    if told is not None:
        found = np.where(lung & np.isin(told, (LEFT, RIGHT)), told, found)
    sides[inner] = found
    return sides


def _find_seam(
    lung: NDArray[np.bool_],
    spacing_mm: Spacing,
    middle: NDArray[np.float64],
    known: NDArray[np.uint8] | None,
) -> NDArray[np.intp]:
    """``(z, y)``: from this x index on, a voxel is left."""
    depth = ndimage.distance_transform_edt(np.pad(lung, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    cost = np.where(lung, 1.0 + depth / DEPTH_MM, 0.0).astype(np.float32)
    if known is not None:
        wrong_left = np.cumsum(known == LEFT, axis=2, dtype=np.float32)
        wrong_left -= known == LEFT
        wrong_right = np.cumsum((known == RIGHT)[..., ::-1], axis=2, dtype=np.float32)[..., ::-1]
        cost += wrong_left + wrong_right
    guess = np.broadcast_to(middle[:, None], lung.shape[:2])
    first = _cheapest_path(cost, guess, spacing_mm[2] / PULL_FIRST_MM)
    size = 2 * round(SMOOTH_MM / spacing_mm[0]) + 1
    smooth = ndimage.median_filter(first, size=(size, 1), mode="nearest")
    return _cheapest_path(cost, smooth, spacing_mm[2] / PULL_SECOND_MM)


def _cheapest_path(cost: NDArray[np.float32], guess: NDArray, scale: float) -> NDArray[np.intp]:
    """Dynamic programming along y for all slices at once; ties go to the smaller bend."""
    slices, rows, columns = cost.shape
    x = np.arange(columns, dtype=np.float32)
    moves = sorted(range(-REACH, REACH + 1), key=abs)
    came = np.zeros((rows, slices, columns), np.int8)
    total = np.zeros((slices, columns), np.float32)
    for y in range(rows):
        best = total.copy()
        for move in moves[1:]:
            step = np.full_like(total, np.inf)
            into = slice(max(0, move), columns + min(0, move))
            step[:, into] = total[:, slice(max(0, -move), columns - max(0, move))]
            step += BEND * abs(move)
            better = step < best
            best[better] = step[better]
            came[y][better] = move
        off = (x - guess[:, y, None].astype(np.float32)) * np.float32(scale)
        total = best + cost[:, y] + PULL * off * off
    path = np.empty((slices, rows), np.intp)
    at = total.argmin(axis=1)
    every = np.arange(slices)
    for y in range(rows - 1, -1, -1):
        path[:, y] = at
        at = at - came[y, every, at]
    return path


@dataclass(frozen=True, eq=False)
class _Parts:
    """Connected parts of the two sides; index 0 is the background."""

    labels: NDArray[np.uint32]
    left: NDArray[np.bool_]
    voxels: NDArray[np.int64]
    width_mm: NDArray[np.float64]
    """Mean over slices of the square root of the area."""
    neck: NDArray[np.float64]
    """Rows the cut runs through over rows of the part's longest column, both summed over slices."""
    stacked: NDArray[np.float64]
    """Area of faces shared with the other side in the slice above or below, over its mean area."""
    other: NDArray[np.intp]
    """The part of the other side with which it shares most."""


def _settle_parts(
    lung: NDArray[np.bool_],
    left: NDArray[np.bool_],
    middle: NDArray[np.float64],
    spacing_mm: Spacing,
    known: NDArray[np.uint8] | None,
) -> NDArray[np.uint8]:
    """Give back what the seam cut off by mistake; ``left`` is the side that the seam gives."""
    parts = _measure_parts(lung, left, spacing_mm)
    sides = np.where(parts.left, LEFT, RIGHT).astype(np.uint8)
    sides[0] = 0
    told = _told_sides(parts, known)
    mains = [_largest(parts, sides == side) for side in (LEFT, RIGHT)]
    order = np.argsort(parts.voxels, kind="stable")[::-1]
    largest = int(order[0])
    one_lung = np.arange(len(sides)) == largest
    for part in order[parts.voxels[order] > 0]:
        if told[part]:
            sides[part] = told[part]
        elif part != largest and parts.other[part] and _cut_wrongly(parts, part, part in mains):
            sides[part] = sides[parts.other[part]]
            one_lung[part] = one_lung[parts.other[part]]
    if one_lung.sum() > 1 and not told[one_lung].any():
        # The seam went through this lung, so it does not know its side; the midline does.
        inside = one_lung[parts.labels]
        beyond = np.arange(lung.shape[2]) > middle[:, None, None]
        sides[one_lung] = LEFT if (inside & beyond).sum() * 2 > inside.sum() else RIGHT
    return sides[parts.labels]


def _cut_wrongly(parts: _Parts, part: int, is_lung: bool) -> bool:
    return bool(
        parts.neck[part] > (WIDE_NECK_LUNG if is_lung else WIDE_NECK_PART)
        or parts.width_mm[part] < SMALL_MM
        or parts.stacked[part] > STACKED
    )


def _largest(parts: _Parts, which: NDArray[np.bool_]) -> int:
    return int(np.where(which, parts.voxels, -1).argmax())


def _told_sides(parts: _Parts, known: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """The side most of a part's known voxels have, 0 where none is known."""
    count = len(parts.voxels)
    if known is None:
        return np.zeros(count, np.uint8)
    votes = [
        np.bincount(parts.labels[known == side], minlength=count)[:count] for side in (LEFT, RIGHT)
    ]
    told = np.where(votes[0] >= votes[1], LEFT, RIGHT)
    told[(votes[0] + votes[1]) == 0] = 0
    told[0] = 0
    return told.astype(np.uint8)


def _measure_parts(lung: NDArray[np.bool_], left: NDArray[np.bool_], spacing_mm: Spacing) -> _Parts:
    two = np.where(lung, np.where(left, np.uint8(LEFT), np.uint8(RIGHT)), np.uint8(0))
    labels, count = cc3d.connected_components(two, connectivity=26, return_N=True)
    count += 1
    voxels = np.bincount(labels.ravel(), minlength=count)
    voxels[0] = 0
    is_left = np.zeros(count, bool)
    is_left[labels[two == LEFT]] = True
    z_mm, y_mm, x_mm = spacing_mm
    pixels = np.stack([np.bincount(plane.ravel(), minlength=count) for plane in labels])
    pixels[:, 0] = 0
    areas = pixels * (y_mm * x_mm)
    height = np.maximum((areas > 0).sum(axis=0), 1)
    roots = np.sqrt(areas).sum(axis=0)
    columns = np.stack([_longest_columns(plane, count) for plane in labels]).sum(axis=0)
    cut, faces = np.zeros(count), np.zeros(count)
    shared: dict[tuple[int, int], float] = {}
    for axis, length in ((2, y_mm), (1, x_mm), (0, y_mm * x_mm)):
        for (a, b), n in _touching(labels, axis).items():
            for one, two_ in ((a, b), (b, a)):
                if axis == 2:
                    cut[one] += n
                elif axis == 0:
                    faces[one] += n * length
                extent = n * length * (1.0 if axis == 0 else z_mm)
                shared[one, two_] = shared.get((one, two_), 0.0) + extent
    other = np.zeros(count, np.intp)
    for (one, two_), extent in shared.items():
        best = shared.get((one, int(other[one])), 0.0)
        if extent > best:
            other[one] = two_
    return _Parts(
        labels=labels,
        left=is_left,
        voxels=voxels,
        width_mm=roots / height,
        neck=cut / np.maximum(columns, 1),
        stacked=faces / np.maximum(areas.sum(axis=0) / height, 1e-6),
        other=other,
    )


def _longest_columns(plane: NDArray, count: int) -> NDArray[np.int64]:
    """For each part the most voxels it has in one column (front to back) of a slice."""
    x = np.arange(plane.shape[1])
    found = np.bincount((plane.astype(np.int64) * len(x) + x).ravel(), minlength=count * len(x))
    return np.asarray(found.reshape(count, len(x)).max(axis=1))


def _touching(labels: NDArray, axis: int) -> dict[tuple[int, int], int]:
    """How many faces along ``axis`` each pair of different parts shares."""
    ahead = np.moveaxis(labels, axis, 0)
    a, b = ahead[:-1], ahead[1:]
    meet = (a != b) & (a > 0) & (b > 0)
    low = np.minimum(a[meet], b[meet]).astype(np.int64)
    high = np.maximum(a[meet], b[meet]).astype(np.int64)
    base = int(labels.max()) + 1
    pairs, counts = np.unique(low * base + high, return_counts=True)
    return {(int(p) // base, int(p) % base): int(n) for p, n in zip(pairs, counts, strict=True)}
