"""One correction, as the voxels it changes: it can be applied, reverted and counted exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Box = tuple[slice, slice, slice]
"""A box of voxels, ``(z, y, x)``, with explicit bounds and no steps."""
Point = tuple[int, int, int]
"""A voxel, ``(z, y, x)``."""


@dataclass(frozen=True, eq=False)
class Edit:
    """The voxels that change, and their labels before and after.

    Memory goes with the changed voxels only, whatever the box. ``index`` are flat positions in
    ``box`` (int32, so a box may hold 2^31 voxels); ``before`` and ``after`` have their length.
    """

    box: Box
    index: NDArray[np.int32]
    before: NDArray[np.integer]
    after: NDArray[np.integer]

    @property
    def count(self) -> int:
        """How many voxels change."""
        return len(self.index)

    @property
    def nbytes(self) -> int:
        """Memory held; positions that were asked for (`where`) come on top."""
        return self.index.nbytes + self.before.nbytes + self.after.nbytes

    @cached_property
    def where(self) -> tuple[NDArray[np.int64], ...]:
        """Positions ``(z, y, x)`` of the voxels, as arrays that index a volume."""
        local = np.unravel_index(self.index, box_shape(self.box))
        return tuple(axis + part.start for axis, part in zip(local, self.box, strict=True))

    @property
    def reverse(self) -> Edit:
        """The edit that undoes this one."""
        return Edit(self.box, self.index, self.after, self.before)

    def slices(self, axis: int = 0) -> tuple[int, ...]:
        """Which slices across ``axis`` hold a changed voxel, in order."""
        return tuple(np.unique(self.where[axis]).tolist())

    def apply(self, labels: NDArray[np.integer]) -> None:
        """Write the labels after the edit into ``labels``, ``(z, y, x)``."""
        labels[self.where] = self.after

    def revert(self, labels: NDArray[np.integer]) -> None:
        """Write the labels before the edit into ``labels``."""
        labels[self.where] = self.before


def changed(
    labels: NDArray[np.integer], box: Box, mask: NDArray[np.bool_], values: ArrayLike
) -> Edit:
    """The edit that sets the voxels of ``mask`` to ``values``; what has them already stays out.

    Parameters
    ----------
    labels
        ``(z, y, x)``; only read.
    box
        Where ``mask`` lies.
    mask
        The shape of ``box``.
    values
        A label, or labels in the shape of ``box``.
    """
    held = labels[box]
    wanted = np.asarray(values, dtype=labels.dtype)
    mask = mask & (held != wanted)
    tight, mask = shrunk(box, mask)
    index = np.flatnonzero(mask).astype(np.int32)
    before = labels[tight][mask]
    if wanted.ndim == 0:
        after = np.full(len(index), wanted, labels.dtype)
    else:
        after = wanted[inside(tight, box)][mask]
    return Edit(tight, index, before, after)


def of_voxels(
    where: tuple[NDArray[np.integer], ...],
    before: NDArray[np.integer],
    after: NDArray[np.integer],
) -> Edit:
    """An edit from positions ``(z, y, x)`` and the labels there before and after."""
    if len(where[0]) == 0:
        return nothing(before.dtype)
    box: Box = tuple(slice(int(a.min()), int(a.max()) + 1) for a in where)  # type: ignore[assignment]
    local = tuple(a - part.start for a, part in zip(where, box, strict=True))
    index = np.ravel_multi_index(local, box_shape(box)).astype(np.int32)
    return Edit(box, index, before, np.broadcast_to(after, before.shape))


def changed_in(
    box: Box,
    mask: NDArray[np.bool_] | None,
    before: NDArray[np.integer],
    after: int,
) -> Edit:
    """An edit that set the voxels of ``mask`` in ``box`` (None: all) to ``after``.

    ``before`` are their labels until then, in the order of the mask.
    """
    count = before.size
    index = np.arange(count) if mask is None else np.flatnonzero(mask)
    labels = np.full(count, after, before.dtype)
    return Edit(box, index.astype(np.int32), before.ravel(), labels)


def nothing(dtype: np.dtype) -> Edit:
    """The edit that changes no voxel."""
    none = np.zeros(0, dtype)
    return Edit((slice(0, 0),) * 3, np.zeros(0, np.int32), none, none)


def box_shape(box: Box) -> tuple[int, int, int]:
    """Voxels along each axis."""
    z, y, x = (part.stop - part.start for part in box)
    return z, y, x


def whole(shape: tuple[int, ...]) -> Box:
    """The box of a whole volume."""
    z, y, x = (slice(0, n) for n in shape)
    return z, y, x


def plane(shape: tuple[int, ...], axis: int, index: int) -> Box:
    """The box of one slice across ``axis``."""
    parts = list(whole(shape))
    parts[axis] = slice(index, index + 1)
    return parts[0], parts[1], parts[2]


def around(point: Point, half: tuple[int, int, int], bounds: Box) -> Box:
    """The box of ``half`` voxels to each side of a point, cut off at ``bounds``."""
    z, y, x = (
        slice(max(p - h, part.start), max(min(p + h + 1, part.stop), part.start))
        for p, h, part in zip(point, half, bounds, strict=True)
    )
    return z, y, x


def inside(box: Box, outer: Box) -> Box:
    """``box`` in the coordinates of ``outer``, which holds it."""
    z, y, x = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, outer, strict=True))
    return z, y, x


def shrunk(box: Box, mask: NDArray[np.bool_]) -> tuple[Box, NDArray[np.bool_]]:
    """The smallest box around what is set in ``mask`` (the shape of ``box``), and the mask there.

    Where nothing is set both are empty.
    """
    parts, cut = [], []
    for axis, part in enumerate(box):
        others = tuple(other for other in range(3) if other != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        low, high = (int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 0)
        parts.append(slice(part.start + low, part.start + high))
        cut.append(slice(low, high))
    return (parts[0], parts[1], parts[2]), mask[tuple(cut)]
