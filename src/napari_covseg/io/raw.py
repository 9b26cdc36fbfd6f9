"""A volume as its file stores it, turned to canonical order: what readers hand on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Affine, Geometry, Reorientation, Shape

_MAX_VOXELS = 2**33
"""More than any CT (4096 slices of 1448x1448): a larger claim is a damaged header."""

_SPACING_MM = (0.001, 1000.0)
"""Micro-CT to less than a scout: other spacings are a damaged header's."""


@dataclass(frozen=True, eq=False)
class RawImage:
    """Stored voxels and where they are; ``value = stored * slope + inter``.

    ``values`` is ``(z, y, x)``, canonical and contiguous, in the file's data type (native byte
    order); ``to_native`` turns it back to the file's axis order. ``fields`` holds the header's
    own key-value pairs, where the format has them.
    """

    values: NDArray
    geometry: Geometry
    to_native: Reorientation
    source: str
    warnings: tuple[str, ...] = ()
    slope: float = 1.0
    inter: float = 0.0
    fields: Mapping[str, str] = field(default_factory=dict)


def native_geometry(name: str, shape: Shape, affine: Affine) -> Geometry:
    """The grid as the file has it.

    Raises
    ------
    InputError
        If the affine is singular, not finite or no scanner's, or a size is not positive.
    """
    try:
        grid = Geometry(shape, affine)
    except ValueError as error:
        raise InputError(f"{name}: the header's geometry is unusable: {error}") from None
    if not _SPACING_MM[0] <= min(grid.spacing_mm) <= max(grid.spacing_mm) <= _SPACING_MM[1]:
        z, y, x = grid.spacing_mm
        raise InputError(
            f"{name}: the header's geometry is unusable: voxels of {x:.3g} x {y:.3g} x {z:.3g} mm"
        )
    return grid


def to_canonical(values: NDArray, geometry: Geometry) -> tuple[NDArray, Geometry, Reorientation]:
    """Canonical voxels (contiguous; copied only if axes move), their grid, and the way back."""
    how = geometry.to_canonical()
    turned = np.ascontiguousarray(how.apply(values))
    return turned, geometry.reoriented(how), how.inverse


def check_size(name: str, shape: tuple[int, ...], itemsize: int, most_bytes: int) -> None:
    """Refuse a header that claims more voxels than its file can hold, before allocating.

    Raises
    ------
    InputError
        If a size is not positive, or the voxels need more than ``most_bytes``.
    """
    voxels = prod(int(n) for n in shape)
    if min(shape) < 1:
        raise InputError(f"{name}: the header's sizes {shape} are not positive")
    if voxels > _MAX_VOXELS or voxels * itemsize > most_bytes:
        sizes = " x ".join(str(n) for n in shape)
        raise InputError(
            f"{name}: truncated or damaged: its header promises {sizes} voxels, more than the "
            "file holds"
        )


def numbers(name: str, text: str, *, whole: bool = False) -> list[float]:
    """The numbers in a header's field, separated by blanks.

    Raises
    ------
    InputError
        If one is not a finite number, or not a whole one where that is asked for.
    """
    try:
        found = [float(int(word)) if whole else float(word) for word in text.split()]
    except ValueError:
        found = []
    if not found or not np.isfinite(found).all():
        raise InputError(f"{name}: its header is damaged ({text[:60]!r} should be numbers)")
    return found


def three_sizes(name: str, sizes: Sequence[float]) -> Shape:
    """Sizes along x, y, z and perhaps axes of one entry, as a ``(z, y, x)`` shape.

    Raises
    ------
    InputError
        If that is not a 3D volume.
    """
    counts = [int(size) for size in sizes]
    while len(counts) > 3 and counts[-1] == 1:
        counts.pop()
    if len(counts) != 3 or min(counts) < 1:
        text = " x ".join(map(str, counts))
        raise InputError(f"{name}: {len(counts)}D ({text}); expected one 3D volume of grey values")
    x, y, z = counts
    return (z, y, x)


def leads_out(name: str) -> bool:
    """Whether a path that a file names leads out of that file's folder, on any system."""
    inner = PurePosixPath(name.replace("\\", "/"))
    return inner.is_absolute() or ".." in inner.parts or bool(re.match(r"[A-Za-z]:", name))


def companion(path: Path, named: str) -> Path:
    """The one file beside ``path`` that holds its voxels.

    Raises
    ------
    InputError
        If it is missing, there are several, or the header points out of the file's folder: a
        header from elsewhere must not choose what is read here.
    """
    if named.upper().startswith("LIST") or "%" in named:
        raise InputError(f"{path.name}: its voxels are spread over several files; save it as one")
    if leads_out(named):
        raise InputError(
            f"{path.name}: refused, its header wants voxels from outside its folder; keep both "
            "files in one folder"
        )
    data = path.parent / named
    if not data.is_file():
        raise InputError(f"{path.name}: its voxels should be in {data.name}, which is missing")
    return data
