"""Stacks of slices: parallel, of one pixel size, in order, each position once, no large gaps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_covseg.io.dicom_header import Frame
from napari_covseg.io.dicom_values import Vector

SAME_POSITION_MM = 0.01
LARGE_GAP_MM = 25.0
LARGE_GAP_STEPS = 5.0
"""A gap wider than both, in mm and in usual gaps, parts a series: nothing is known in between."""

_SAME_COSINE = 2e-3


def stacks(frames: list[Frame]) -> tuple[list[list[Frame]], int]:
    """Part slices of one series and size into stacks, and count copies that were left out.

    Every slice must have a position, an orientation and a pixel spacing.
    """
    found: list[list[Frame]] = []
    copies = 0
    for parallel in _parallel(frames):
        unique, left_out = _without_copies(parallel)
        copies += left_out
        for once in _each_position_once(unique):
            ordered = [once[i] for i in np.argsort(heights(once), kind="stable")]
            found += _without_gaps(ordered)
    return found, copies


class Oriented(Protocol):
    """What has row and column cosines."""

    @property
    def orientation(self) -> Vector | None: ...  # noqa: D102


def normal_of(frame: Oriented) -> NDArray[np.float64]:
    """Unit normal of a slice with an orientation: row cosines cross column cosines."""
    row, column = axes_of(frame)
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal))


def axes_of(frame: Oriented) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors along a row (columns' index) and along a column, LPS."""
    cosines = np.array(frame.orientation, dtype=np.float64)
    row, column = cosines[:3], cosines[3:]
    return row / np.linalg.norm(row), column / np.linalg.norm(column)


def heights(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Positions along the first slice's normal in mm, shape ``(n,)``."""
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    return np.asarray(positions @ normal_of(frames[0]))


def _parallel(frames: list[Frame]) -> list[list[Frame]]:
    """Groups of one orientation and pixel size."""
    groups: list[tuple[NDArray, list[Frame]]] = []
    for frame in frames:
        key = np.array([*(frame.orientation or ()), *np.log(frame.spacing or ())])
        for known, members in groups:
            if np.abs(known - key).max() < _SAME_COSINE:
                members.append(frame)
                break
        else:
            groups.append((key, [frame]))
    return [members for _, members in groups]


def _without_copies(frames: list[Frame]) -> tuple[list[Frame], int]:
    """Each instance once (a file may lie there twice), and how many copies were dropped."""
    kept: dict[tuple, Frame] = {}
    for frame in sorted(frames, key=name_order):
        key = (frame.image.sop_uid or frame.image.member.name, frame.index)
        kept.setdefault(key, frame)
    return list(kept.values()), len(frames) - len(kept)


def _each_position_once(frames: list[Frame]) -> list[list[Frame]]:
    """Part time points or reconstructions: no result holds two slices at one position.

    By the first header value that parts them (time point, acquisition, kernel, ...), else in the
    order of instance numbers, first of each position with first.
    """
    if not _has_doubles(frames):
        return [frames]
    splits = [_by_key(frames, i) for i in range(len(frames[0].keys))]
    clean = [groups for groups in splits if not any(map(_has_doubles, groups))]
    best = min(clean, key=len, default=[])
    # A value that differs from slice to slice parts everything: it tells no time points apart.
    if max(map(len, best), default=0) * 2 >= len(set(_places(frames))):
        return best
    return _by_occurrence(frames)


def _by_key(frames: list[Frame], i: int) -> list[list[Frame]]:
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[frame.keys[i]].append(frame)
    return list(groups.values())


def _by_occurrence(frames: list[Frame]) -> list[list[Frame]]:
    places = _places(frames)
    order = sorted(range(len(frames)), key=lambda i: (frames[i].number, name_order(frames[i])))
    seen: Counter[int] = Counter()
    groups: dict[int, list[Frame]] = defaultdict(list)
    for i in order:
        groups[seen[places[i]]].append(frames[i])
        seen[places[i]] += 1
    return list(groups.values())


def _places(frames: list[Frame]) -> list[int]:
    """A number for each slice's position, the same for slices at one position."""
    along = heights(frames)
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order], prepend=along[order[0]]) > SAME_POSITION_MM
    places = np.empty(len(frames), dtype=int)
    places[order] = np.cumsum(steps)
    return [int(place) for place in places]


def _has_doubles(frames: list[Frame]) -> bool:
    return len(set(_places(frames))) < len(frames)


def _without_gaps(frames: list[Frame]) -> list[list[Frame]]:
    """Part an ordered stack where a gap is far wider than usual."""
    if len(frames) < 3:
        return [frames]
    gaps = np.diff(heights(frames))
    limit = max(LARGE_GAP_MM, LARGE_GAP_STEPS * float(np.median(gaps)))
    cuts = [0, *(np.flatnonzero(gaps > limit) + 1), len(frames)]
    return [frames[start:end] for start, end in pairwise(cuts)]


def name_order(frame: Frame) -> tuple[str, int]:
    """An order that does not depend on how files were found."""
    return (frame.image.member.name, frame.index)
