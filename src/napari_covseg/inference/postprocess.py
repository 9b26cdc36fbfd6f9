"""From a network's classes to a label map: sensible lungs with sides, no holes, no specks."""

from __future__ import annotations

from collections.abc import Iterator

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.outside import TISSUE_HU, without_outside_air
from napari_covseg.preprocess.coarse import CoarseGrid
from napari_covseg.preprocess.sides import split_sides

SPECK_ML = 0.05
# What such a speck is in a single slice: the cross-section of a ball of that volume.
SPECK_MM2 = float(np.pi * (3 * SPECK_ML * 1000 / (4 * np.pi)) ** (2 / 3))
# A hole in a slice up to this size is lung; a larger one only if it is closed on all sides.
HOLE_MM2 = 300.0
SECOND_BODY, NEAR_MM, CRUMB_ML = 0.02, 10.0, 0.5
SLICES_PER_STEP = 64

Box = tuple[slice, slice, slice]
Labels = NDArray[np.uint8]


def postprocess(classes: Labels, volume: CTVolume) -> Steps[Labels]:
    """Turn network classes into labels 0 to 4 (`Label`), both uint8 ``(z, y, x)``.

    Lungs are the largest bodies and what lies beside them; each voxel gets its side; holes inside
    become lung; lesions outside the lungs are dropped, lesions below `SPECK_ML` become lung.
    """
    labels = np.zeros_like(classes)
    box = _bounding_box(classes)
    if box is None:
        return labels
    inner = classes[box]
    steps = -(-len(inner) // SLICES_PER_STEP) + 4
    yield Progress(0, steps, "telling left from right")
    grid, field = _side_field(classes, volume)
    yield Progress(1, steps, "closing holes")
    for done in _fill_slices(inner, labels, box, grid, field):
        yield Progress(1 + done, steps, "closing holes")
    _close_holes(labels[box])
    yield Progress(steps - 2, steps, "removing specks")
    _paint_lesions(labels[box], inner, volume.geometry.spacing_mm)
    yield Progress(steps, steps, "removing specks")
    return labels


def _side_field(classes: Labels, volume: CTVolume) -> tuple[CoarseGrid, Labels]:
    """The side (1, 2) of lung near each coarse voxel, 0 where there is none or it is dropped."""
    spacing = volume.geometry.spacing_mm
    grid = CoarseGrid.of(classes.shape, spacing)
    coarse = grid.take(classes) > NetworkClass.BACKGROUND.value
    if not coarse.any():
        grid = CoarseGrid.of(classes.shape, spacing, target_mm=0.0)
        coarse = classes > NetworkClass.BACKGROUND.value
    hu = grid.take(volume.hu)
    kept = sensible_bodies(without_outside_air(coarse, hu), grid.spacing_mm)
    tissue = (hu > TISSUE_HU[0]) & (hu < TISSUE_HU[1])
    sides = split_sides(kept, grid.spacing_mm, tissue=tissue)
    return grid, _spread(sides, coarse, grid.spacing_mm)


def sensible_bodies(
    lung: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """The bodies that can be lungs: the largest, what is large too and level with it, what is near.

    A lung may come in pieces (an opaque lobe, a fissure between thick slices), so a piece beside a
    lung is kept; bowel gas and specks elsewhere are not.
    """
    bodies, count = cc3d.connected_components(lung, connectivity=26, return_N=True)
    if count < 2:
        return lung
    stats = cc3d.statistics(bodies)
    sizes = stats["voxel_counts"].astype(np.int64)
    sizes[0] = 0
    largest = int(sizes.argmax())
    level = stats["bounding_boxes"][largest][0]
    middle = stats["centroids"][:, 0]
    is_level = (middle >= level.start) & (middle < level.stop)
    keep = (sizes >= SECOND_BODY * sizes[largest]) & is_level
    keep[0] = False
    crumb = CRUMB_ML * 1000 / np.prod(spacing_mm) if len(lung) > 1 else 0
    unsure = ~keep & (sizes >= crumb)
    unsure[0] = False
    if unsure.any():
        keep |= unsure & (_gaps(bodies, keep, unsure, spacing_mm) <= NEAR_MM)
    return np.asarray(keep[bodies])


def _gaps(
    bodies: NDArray[np.integer],
    kept: NDArray[np.bool_],
    asked: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float64]:
    """How far each body that is asked for lies from the kept ones, in mm; infinite beyond near."""
    inside = kept[bodies]
    around = tuple(
        slice(max(0, s.start - margin), s.stop + margin)
        for s, margin in zip(
            ndimage.find_objects(inside.view(np.uint8))[0],
            (int(NEAR_MM / mm) + 1 for mm in spacing_mm),
            strict=True,
        )
    )
    away = ndimage.distance_transform_edt(~inside[around], sampling=spacing_mm)
    where = asked[bodies[around]]
    gaps = np.full(len(kept), np.inf)
    np.minimum.at(gaps, bodies[around][where], away[where])
    return gaps


def _spread(
    sides: Labels, coarse: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> Labels:
    """Carry sides to voxels within two coarse steps, where thin lung fell between the samples."""
    field = np.zeros_like(sides)
    found = ndimage.find_objects(coarse.astype(np.uint8))
    if not found:
        return field
    box = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in found[0])
    near, nearest = ndimage.distance_transform_edt(
        ~coarse[box], sampling=spacing_mm, return_indices=True
    )
    reach = 2.0 * max(spacing_mm[1:])
    field[box] = np.where(near <= reach, sides[box][tuple(nearest)], 0)
    return field


def _bounding_box(classes: Labels) -> Box | None:
    slices = np.flatnonzero(classes.any(axis=(1, 2)))
    if len(slices) == 0:
        return None
    flat = classes.max(axis=0)
    planes = (slices, np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0)))
    z, y, x = (slice(int(p[0]), int(p[-1]) + 1) for p in planes)
    return z, y, x


def _fill_slices(
    inner: Labels, labels: Labels, box: Box, grid: CoarseGrid, field: Labels
) -> Iterator[int]:
    """Give each lung voxel its side and close holes in slices; yields how many steps are done."""
    z_slice, y_slice, x_slice = box
    y, x = grid.index(1)[y_slice], grid.index(2)[x_slice]
    z_index = grid.index(0)[z_slice]
    _, y_mm, x_mm = grid.full_spacing_mm
    hole = int(HOLE_MM2 / (y_mm * x_mm))
    out = labels[box]
    for z, plane in enumerate(inner):
        side = field[z_index[z]].take(y, axis=0).take(x, axis=1)
        np.multiply(side, plane > NetworkClass.BACKGROUND.value, out=out[z])
        for lung in (Label.LEFT_LUNG, Label.RIGHT_LUNG):
            _close_small_holes(out[z], lung, hole)
        if (z + 1) % SLICES_PER_STEP == 0:
            yield (z + 1) // SLICES_PER_STEP


def _close_small_holes(plane: Labels, lung: Label, largest: int) -> None:
    mask = plane == lung.value
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return
    columns = np.flatnonzero(mask.any(axis=0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    # With a rim, everything open to the outside is one body: number `outside`.
    gaps = np.pad(~mask[part], 1, constant_values=True)
    holes, count = cc3d.connected_components(gaps, connectivity=4, return_N=True)
    if count < 2:
        return
    small = np.bincount(holes.ravel(), minlength=count + 1) <= largest
    small[0] = small[holes[0, 0]] = False
    plane[part][small[holes[1:-1, 1:-1]] & (plane[part] == 0)] = lung


def _close_holes(out: Labels) -> None:
    """What lung encloses on all sides is lung; the faces of the box do not enclose."""
    if min(out.shape) < 3:
        return
    gaps, count = cc3d.connected_components(out == 0, connectivity=6, return_N=True)
    if count < 2:
        return
    outer = np.zeros(count + 1, bool)
    for axis in range(3):
        for end in (0, -1):
            outer[np.unique(gaps.take(end, axis=axis))] = True
    outer[0] = True
    if outer.all():
        return
    sizes = cc3d.statistics(gaps)["bounding_boxes"]
    for number in np.flatnonzero(~outer):
        where = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in sizes[number])
        around = out[where]
        lungs = np.bincount(around.ravel(), minlength=3)[1:3]
        around[gaps[where] == number] = 1 + int(lungs.argmax())


def _paint_lesions(out: Labels, inner: Labels, spacing_mm: tuple[float, float, float]) -> None:
    """Put the lesions that are large enough over the lungs; both in one box."""
    lesion = (inner >= NetworkClass.GGO.value) & (out > 0)
    box = _bounding_box(lesion.view(np.uint8))
    if box is None:
        return
    lesion = lesion[box]
    single = len(out) == 1
    voxel = spacing_mm[1] * spacing_mm[2] * (1 if single else spacing_mm[0])
    smallest = int(np.ceil((SPECK_MM2 if single else SPECK_ML * 1000) / voxel - 1e-6))
    if smallest > 1:
        lesion = cc3d.dust(lesion, threshold=smallest, connectivity=26, in_place=False) > 0
    target, source = out[box], inner[box]
    target[lesion & (source == NetworkClass.GGO.value)] = Label.GGO
    target[lesion & (source == NetworkClass.CONSOLIDATION.value)] = Label.CONSOLIDATION
