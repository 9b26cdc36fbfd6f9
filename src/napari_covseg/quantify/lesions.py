"""Every lesion by itself: how large, where, how dense."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.lobes import Lobe
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.quantify.cells import CELL_AXES
from napari_covseg.quantify.density import HU_HIGH, HU_LOW
from napari_covseg.quantify.regions import SliceVoxels

SMALLEST_ML = 0.05
"""What is smaller is a speck: counted, not listed. (Fresh segmentations hold none.)"""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Lesion:
    """A connected body of lesion voxels (26 neighbours; GGO and consolidation that touch are one).

    ``number`` counts from the largest, 1. ``position_mm`` is the LPS position ``(x, y, z)`` of its
    centre of volume, ``slice_index`` the z index of the slice with most of it, ``middle`` that
    index with the mean y and x index of its voxels in this slice. ``lobe`` is the one that most of
    it lies in, None where lobes are not given. ``consolidation_percent`` is a share of
    the lesion. ``mean_hu`` and ``mass_g`` are None without a CT. ``touches_edge``: it reaches the
    edge of the image, so it may go on beyond.
    """

    number: int
    ml: float | None
    side: str
    lobe: str | None
    position_mm: tuple[float, float, float]
    slice_index: int
    middle: tuple[int, float, float]
    consolidation_percent: float
    mean_hu: float | None
    mass_g: float | None
    touches_edge: bool


@dataclass(frozen=True, slots=True)
class Lesions:
    """All lesions of `SMALLEST_ML` or more, the largest first, and how many are smaller."""

    listed: tuple[Lesion, ...]
    specks: int

    @property
    def count(self) -> int:
        """How many are listed."""
        return len(self.listed)

    @property
    def largest(self) -> Lesion | None:
        """The one of largest volume."""
        return self.listed[0] if self.listed else None

    @property
    def touching_edge(self) -> int:
        """How many reach the edge of the image."""
        return sum(lesion.touches_edge for lesion in self.listed)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over the voxels of each body; index 0 is the background."""

    voxels: NDArray[np.int64]
    solid: NDArray[np.int64]
    left: NDArray[np.int64]
    lobes: NDArray[np.int64]
    index_xyz: NDArray[np.float64]
    hu: NDArray[np.float64]
    mass: NDArray[np.float64]
    most: NDArray[np.int64]
    most_at: NDArray[np.int64]
    middle_yx: NDArray[np.float64]

    @classmethod
    def empty(cls, bodies: int) -> _Sums:
        whole = (np.zeros(bodies, np.int64) for _ in range(5))
        voxels, solid, left, most, at = whole
        lobes = np.zeros((bodies, len(Lobe) + 1), np.int64)
        real = np.zeros(bodies), np.zeros(bodies)
        centres, middles = np.zeros((bodies, 3)), np.zeros((bodies, 2))
        return cls(voxels, solid, left, lobes, centres, *real, most, at, middles)


class LesionMeter:
    """Finds lesions at once, and measures them slice by slice.

    Parameters
    ----------
    labels
        The label map.
    box
        Where its lesions are (`LungProfile.lesions`); None where there are none.
    volume
        The CT on the same grid, if there is one.
    """

    def __init__(self, labels: LabelMap, box: Box | None, volume: CTVolume | None) -> None:
        self._geometry, self._volume = labels.geometry, volume
        self._box: Box = box or (slice(0, 0), slice(0, 0), slice(0, 0))
        inner = labels.labels[self._box]
        mask = np.empty(inner.shape, np.bool_)
        for inside, plane in zip(mask, inner, strict=True):
            inside[...] = np.isin(plane, LESION_LABELS)
        count = 0
        self._bodies = np.zeros(inner.shape, np.uint32)
        if box is not None:
            self._bodies, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
        self._sums = _Sums.empty(count + 1)

    def add(self, z: int, voxels: SliceVoxels) -> None:
        """Measure what of the lesions lies in slice ``z``."""
        if not self._box[0].start <= z < self._box[0].stop:
            return
        sick = np.flatnonzero(np.isin(voxels.labels, LESION_LABELS))
        if len(sick) == 0:
            return
        sums, size = self._sums, len(self._sums.voxels)
        index = voxels.index[sick]
        y, x = np.divmod(index, self._geometry.shape[2])
        plane = self._bodies[z - self._box[0].start]
        body = plane[y - self._box[1].start, x - self._box[2].start].astype(np.intp)
        here = np.bincount(body, minlength=size)
        sums.voxels[...] += here
        more = here > sums.most
        sums.most[more], sums.most_at[more] = here[more], z
        for axis, at in enumerate((y, x)):
            total = np.bincount(body, weights=at, minlength=size)
            sums.middle_yx[more, axis] = total[more] / here[more]
        solid = voxels.labels[sick] == Label.CONSOLIDATION.value
        sums.solid[...] += np.bincount(body[solid], minlength=size)
        sums.left[...] += np.bincount(body[voxels.side[sick] == 0], minlength=size)
        lobe = voxels.cell[sick] // CELL_AXES["region"] % CELL_AXES["lobe"]
        width = CELL_AXES["lobe"]
        found = np.bincount(body * width + lobe, minlength=size * width)
        sums.lobes[...] += found.reshape(size, width)
        for axis, at in enumerate((x, y, np.full(len(x), z))):
            sums.index_xyz[:, axis] += np.bincount(body, weights=at, minlength=size)
        if self._volume is not None:
            hu = self._volume.hu[z].ravel()[index].astype(np.float64)
            np.clip(hu, HU_LOW, HU_HIGH, out=hu)
            sums.hu[...] += np.bincount(body, weights=hu, minlength=size)
            sums.mass[...] += np.bincount(body, np.maximum(hu + 1000, 0), minlength=size)

    def lesions(self, voxel_ml: float | None, *, with_lobes: bool) -> Lesions:
        """What was measured; volumes are None where the volume of a voxel is not known."""
        edges = _at_edges(self._bodies, self._box, self._geometry.shape)
        has_hu = self._volume is not None
        return _listed(self._sums, edges, self._geometry, voxel_ml, has_hu, with_lobes)


def _at_edges(bodies: NDArray, box: Box, shape: tuple[int, int, int]) -> NDArray[np.intp]:
    """The bodies that reach a face of the image."""
    faces: list[NDArray] = []
    if bodies.size == 0:
        return np.zeros(0, np.intp)
    for axis, (inside, size) in enumerate(zip(box, shape, strict=True)):
        for at, edge in ((0, inside.start == 0), (-1, inside.stop == size)):
            # In a single slice every lesion would touch the faces above and below.
            if edge and size > 1:
                faces.append(np.take(bodies, at, axis=axis).ravel())
    return np.unique(np.concatenate(faces)) if faces else np.zeros(0, np.intp)


def _listed(
    sums: _Sums,
    edges: NDArray[np.intp],
    geometry: Geometry,
    voxel_ml: float | None,
    has_hu: bool,
    with_lobes: bool,
) -> Lesions:
    order = np.argsort(sums.voxels[1:], kind="stable")[::-1] + 1
    order = order[sums.voxels[order] > 0]
    large = sums.voxels[order] * geometry.voxel_ml >= SMALLEST_ML * (1 - 1e-9)
    at_edge = set(edges.tolist())
    listed = []
    for number, body in enumerate(order[large], start=1):
        n = int(sums.voxels[body])
        centre = geometry.affine @ np.append(sums.index_xyz[body] / n, 1.0)
        in_lobes = sums.lobes[body, 1:]
        lobe = int(in_lobes.argmax()) + 1 if with_lobes and in_lobes.any() else 0
        listed.append(
            Lesion(
                number=number,
                ml=None if voxel_ml is None else n * voxel_ml,
                side="left" if 2 * int(sums.left[body]) > n else "right",
                lobe=Lobe(lobe).name.lower() if lobe else None,
                position_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
                slice_index=int(sums.most_at[body]),
                middle=_middle(sums, int(body)),
                consolidation_percent=100.0 * int(sums.solid[body]) / n,
                mean_hu=float(sums.hu[body]) / n if has_hu else None,
                mass_g=float(sums.mass[body]) / 1000.0 * voxel_ml
                if has_hu and voxel_ml is not None
                else None,
                touches_edge=int(body) in at_edge,
            )
        )
    return Lesions(tuple(listed), int((~large).sum()))


def _middle(sums: _Sums, body: int) -> tuple[int, float, float]:
    y, x = sums.middle_yx[body]
    return int(sums.most_at[body]), float(y), float(x)
