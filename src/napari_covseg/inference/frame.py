"""Which part of the slices a network sees: the body, resampled to the recipe's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.volume import CTVolume
from napari_covseg.preprocess.recipe import AxialRecipe

BODY_HU = -300
LUNG_HU = (-930, -600)
MARGIN_MM = 12.0
SEARCH_MM = 4.0
MIN_FIELD_MM, MAX_FIELD_MM = 40.0, 1000.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle of native pixels, its size in the network's pixels, and that padded.

    ``rows`` and ``columns`` are half-open ``(start, stop)`` in native pixels; ``size`` and
    ``padded`` are ``(h, w)``.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    size: tuple[int, int]
    padded: tuple[int, int]

    @property
    def native(self) -> tuple[int, int]:
        """``(h, w)`` of the rectangle in native pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in a slice."""
        return slice(*self.rows), slice(*self.columns)


def plan_frame(volume: CTVolume, recipe: AxialRecipe) -> Frame:
    """The rectangle that holds the body in every slice: table and air around cost time only.

    Whole slices where they are equalised, for CLAHE's tiles are parts of a slice.

    Raises
    ------
    InputError
        If the volume has no axial plane to speak of (a single coronal or sagittal slice).
    """
    check_axial(volume)
    _, y_mm, x_mm = volume.geometry.spacing_mm
    _, height, width = volume.geometry.shape
    rows, columns = ((0, height), (0, width)) if recipe.clahe else _body_box(volume)
    size = tuple(
        max(1, round((stop - start) * mm / recipe.pixel_mm))
        for (start, stop), mm in ((rows, y_mm), (columns, x_mm))
    )
    padded = tuple(-(-n // recipe.multiple) * recipe.multiple for n in size)
    return Frame(rows, columns, size, padded)  # type: ignore[arg-type]


def check_axial(volume: CTVolume) -> None:
    """See that there is an axial plane the size of a chest.

    Raises
    ------
    InputError
        If the volume is a single coronal or sagittal slice, or too thin or too wide.
    """
    _, height, width = volume.geometry.shape
    _, y_mm, x_mm = volume.geometry.spacing_mm
    for count, mm, plane in ((height, y_mm, "coronal"), (width, x_mm, "sagittal")):
        if count == 1:
            raise InputError(
                f"expected axial slices, got a single {plane} slice: "
                "choose an axial series of this examination"
            )
        if count * mm < MIN_FIELD_MM:
            raise InputError(
                f"expected axial slices of a chest, got a {plane} slab only {count * mm:.0f} mm "
                "thick: choose an axial series, or check the pixel size in the file"
            )
        if count * mm > MAX_FIELD_MM:
            raise InputError(
                f"slices of {count} pixels of {mm:g} mm are {count * mm / 1000:.1f} m wide: "
                "check the pixel size in the file"
            )


def _body_box(volume: CTVolume) -> tuple[tuple[int, int], tuple[int, int]]:
    step_z, step_y, step_x = (
        max(1, int(SEARCH_MM / mm)) * (2 if axis == 0 else 1)
        for axis, mm in enumerate(volume.geometry.spacing_mm)
    )
    small = volume.hu[::step_z, ::step_y, ::step_x]
    body = _thick_parts(small > BODY_HU)
    lung = ((small > LUNG_HU[0]) & (small < LUNG_HU[1])).mean(axis=0)
    full = volume.geometry.shape[1:]
    if not body.any():
        return (0, full[0]), (0, full[1])
    boxes = []
    for axis, step in ((0, step_y), (1, step_x)):
        inside = np.flatnonzero(body.any(axis=1 - axis))
        lung_like = lung.mean(axis=1 - axis)
        first, last = _keep_lung(int(inside[0]), int(inside[-1]) + 1, lung_like)
        margin = int(np.ceil(MARGIN_MM / volume.geometry.spacing_mm[1 + axis]))
        boxes.append((max(0, first * step - margin), min(full[axis], last * step + margin)))
    return boxes[0], boxes[1]


def _thick_parts(tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``(y, x)``: where in any slice stands tissue too thick to be table, sheet or tube."""
    cross = ndimage.generate_binary_structure(2, 1)[None]
    opened = ndimage.binary_opening(tissue, cross, iterations=2)
    flat = opened.any(axis=0)
    parts, count = ndimage.label(flat)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    keep = sizes >= 0.05 * sizes.max() if count else sizes > 0
    keep[0] = False
    return np.asarray(keep[parts])


def _keep_lung(first: int, last: int, lung_like: NDArray[np.float64]) -> tuple[int, int]:
    """Do not cut a margin that looks like lung: the field of view may cut the chest wall off."""
    if first and lung_like[:first].mean() > 0.15:
        first = 0
    if last < len(lung_like) and lung_like[last:].mean() > 0.15:
        last = len(lung_like)
    return first, last
