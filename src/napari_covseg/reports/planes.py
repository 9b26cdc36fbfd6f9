"""The slices a report shows, cut from a CT and its labels, and the lungs seen from the front.

Every picture is as a radiologist looks at it: the patient's right on the left, anterior or superior
on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import LESION_LABELS, LUNG_LABELS
from napari_covseg.domain.volume import CTVolume, LabelMap

AXIAL_MANY, CORONAL_MANY = 20, 12
_MARGIN_MM = 12.0


@dataclass(frozen=True, eq=False)
class Plane:
    """A slice, cropped to the lungs.

    ``number`` counts slices from 1, axial ones from the lowest, coronal ones from the front.
    ``hu`` (None without a CT) and ``labels`` are ``(rows, columns)``; ``spacing_mm`` likewise.
    """

    kind: Literal["axial", "coronal"]
    number: int
    of: int
    hu: NDArray | None
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Projection:
    """The lungs from the front, ``(rows, columns)``, superior on top, right lung on the left.

    ``percent`` is the share of the lung behind each point that is lesion, NaN beside the lungs.
    """

    percent: NDArray[np.float32]
    spacing_mm: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Planes:
    """What there is to look at: the slices with most lesion (without lesions, with most lung), and
    slices at even distances through the lungs with these among them.
    """

    key_axial: Plane
    key_coronal: Plane
    axial: tuple[Plane, ...]
    coronal: tuple[Plane, ...]
    projection: Projection
    has_lesions: bool


def planes_of(labels: LabelMap, volume: CTVolume | None) -> Planes:
    """Choose and cut; a CT on another grid counts as none.

    Parameters
    ----------
    labels
        Canonical labels.
    volume
        Their CT.
    """
    array = labels.labels
    fits = volume is not None and volume.geometry.same_as(labels.geometry)
    hu = volume.hu if volume is not None and fits else None
    lung, lesion, sums = _profiles(array)
    window = tuple(
        _extent(axis, spacing)
        for axis, spacing in zip(lung, labels.geometry.spacing_mm, strict=True)
    )
    z_mm, y_mm, x_mm = labels.geometry.spacing_mm
    rows_z, rows_y, columns = window

    def axial(z: int) -> Plane:
        where = (z, rows_y, columns)
        return Plane("axial", z + 1, len(array), _cut(hu, where), array[where], (y_mm, x_mm))

    def coronal(y: int) -> Plane:
        where = (rows_z, y, columns)
        values, many = _cut(hu, where), array.shape[1]
        turned = None if values is None else values[::-1]
        return Plane("coronal", y + 1, many, turned, array[where][::-1], (z_mm, x_mm))

    key_z, key_y = (_most(lesion[axis], lung[axis]) for axis in (0, 1))
    percent = sums[::-1][:, columns]
    height = array.shape[0]
    percent = percent[height - rows_z.stop : height - rows_z.start]
    return Planes(
        key_axial=axial(key_z),
        key_coronal=coronal(key_y),
        axial=tuple(axial(z) for z in _spread(lung[0], key_z, AXIAL_MANY)[::-1]),
        coronal=tuple(coronal(y) for y in _spread(lung[1], key_y, CORONAL_MANY)),
        projection=Projection(percent, (z_mm, x_mm)),
        has_lesions=bool(lesion[0].any()),
    )


def _profiles(
    array: NDArray[np.uint8],
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]], NDArray[np.float32]]:
    """Lung and lesion voxels along each axis, and the share of lesion along y."""
    lungs = [np.zeros(n, np.int64) for n in array.shape]
    lesions = [np.zeros(n, np.int64) for n in array.shape]
    share = np.full((array.shape[0], array.shape[2]), np.nan, np.float32)
    for z, plane in enumerate(array):
        if not plane.any():
            continue
        lung, lesion = np.isin(plane, LUNG_LABELS), np.isin(plane, LESION_LABELS)
        for mask, sums in ((lung, lungs), (lesion, lesions)):
            sums[0][z] = mask.sum()
            sums[1] += mask.sum(axis=1)
            sums[2] += mask.sum(axis=0)
        deep = lung.sum(axis=0)
        there = deep > 0
        share[z, there] = 100.0 * lesion.sum(axis=0)[there] / deep[there]
    return lungs, lesions, share


def _extent(profile: NDArray[np.int64], spacing_mm: float) -> slice:
    """Where there is lung, with a margin; all of the axis without lung."""
    where = np.flatnonzero(profile)
    if len(where) == 0:
        return slice(0, len(profile))
    margin = round(_MARGIN_MM / spacing_mm)
    return slice(max(0, int(where[0]) - margin), min(len(profile), int(where[-1]) + margin + 1))


def _most(lesion: NDArray[np.int64], lung: NDArray[np.int64]) -> int:
    for profile in (lesion, lung):
        if profile.any():
            return int(profile.argmax())
    return len(lung) // 2


def _spread(lung: NDArray[np.int64], key: int, many: int) -> list[int]:
    """Indices at even distances where there is lung; the one nearest to ``key`` becomes it."""
    where = np.flatnonzero(lung)
    first, last = (int(where[0]), int(where[-1])) if len(where) else (0, len(lung) - 1)
    if last - first < many:
        return list(range(first, last + 1))
    # Half a step in from either end: the very first slice holds next to nothing.
    step = (last - first + 1) / many
    chosen = [int(first + (i + 0.5) * step) for i in range(many)]
    nearest = min(range(many), key=lambda i: abs(chosen[i] - key))
    chosen[nearest] = key
    return sorted(set(chosen))


def _cut(hu: NDArray | None, where: tuple[int | slice, ...]) -> NDArray | None:
    return None if hu is None else hu[where]
