"""Lesion by lesion: which of the prior's it was, and whether it grew."""

from __future__ import annotations

from dataclasses import dataclass, field

import cc3d
import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.quantify.lesions import SMALLEST_ML
from napari_covseg.quantify.mapping import Mapping

OVERLAP_SHARE = 0.10
"""Two lesions are one if they share so much of the smaller one."""
NEAR_MM = 10.0
"""Lesions that overlap with none are one if their centres are so near."""
GROWN_PERCENT = 25.0
SEEN_SHARE = 0.5
"""A lesion of which less can be compared is called neither new nor resolved."""


@dataclass(frozen=True, slots=True)
class LesionChange:
    """Lesions of both scans that belong together, or one that has no other.

    ``kind`` is ``new``, ``resolved``, ``matched`` (one and one), ``merged``, ``split``,
    ``rearranged`` (several and several) or ``not_compared``; ``trend`` is ``grown``, ``shrunk``,
    ``stable`` (by `GROWN_PERCENT`) or empty where there is no other. Volumes are measured in each
    scan's own grid; ``change_percent`` is of the prior's volume. ``current`` and ``prior`` are the
    lesions' numbers, the largest of each scan 1. ``position_mm`` is the LPS centre in the current
    scan, for a resolved lesion where it would be now, and ``slice_index`` the z index of the slice
    with most of it.
    """

    kind: str
    trend: str
    current: tuple[int, ...]
    prior: tuple[int, ...]
    current_ml: float | None
    prior_ml: float | None
    change_ml: float | None
    change_percent: float | None
    consolidation_percent: float | None
    prior_consolidation_percent: float | None
    side: str
    position_mm: tuple[float, float, float]
    slice_index: int


@dataclass(frozen=True, slots=True)
class LesionChanges:
    """Every lesion of `lesions.SMALLEST_ML` or more in either scan; the largest first."""

    listed: tuple[LesionChange, ...]
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Bodies:
    """The lesions of one scan, numbered from the largest, 0 for what is none or too small.

    ``voxels``, ``solid`` (consolidation) and ``centres_mm`` (LPS) are by number, index 0 unused.
    """

    numbers: NDArray[np.uint16]
    voxels: NDArray[np.int64]
    solid: NDArray[np.int64]
    centres_mm: NDArray[np.float64]
    voxel_ml: float

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.voxels) - 1

    @classmethod
    def of(cls, labels: LabelMap) -> Bodies:
        """Find them (26 neighbours)."""
        array, geometry = labels.labels, labels.geometry
        mask = np.isin(array, LESION_LABELS)
        found, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
        voxels = np.bincount(found.ravel(), minlength=count + 1)
        voxels[0] = 0
        least = SMALLEST_ML / geometry.voxel_ml * (1 - 1e-9)
        order = np.argsort(voxels, kind="stable")[::-1]
        order = order[voxels[order] >= max(least, 1)][: np.iinfo(np.uint16).max]
        number = np.zeros(count + 1, np.uint16)
        number[order] = np.arange(1, len(order) + 1)
        numbers = number[found]
        size = len(order) + 1
        sums, solid = np.zeros((size, 3)), np.zeros(size, np.int64)
        for z in np.flatnonzero(numbers.any(axis=(1, 2))):
            y, x = np.nonzero(numbers[z])
            body = numbers[z][y, x].astype(np.intp)
            for axis, at in enumerate((x, y, np.full(len(x), z))):
                sums[:, axis] += np.bincount(body, weights=at, minlength=size)
            dense = array[z][y, x] == Label.CONSOLIDATION.value
            solid += np.bincount(body[dense], minlength=size)
        counts = np.concatenate([[0], voxels[order]])
        index = sums / np.maximum(counts, 1)[:, None]
        centres = index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
        return cls(numbers, counts, solid, centres, geometry.voxel_ml)

    def solid_percent(self, numbers: tuple[int, ...]) -> float | None:
        """The share of consolidation in some of them."""
        total = int(self.voxels[list(numbers)].sum())
        return 100.0 * int(self.solid[list(numbers)].sum()) / total if total else None

    def ml(self, numbers: tuple[int, ...]) -> float:
        """Their volume."""
        return int(self.voxels[list(numbers)].sum()) * self.voxel_ml


class LesionMatcher:
    """Counts, slice by slice, how current lesions and carried ones lie on each other."""

    def __init__(self, current: Bodies, prior: Bodies) -> None:
        self._now, self._before = current, prior
        self._overlap: dict[tuple[int, int], int] = {}
        sizes = (current.count + 1, prior.count + 1)
        self._unknown = np.zeros(sizes[0], np.int64)
        self._in_lungs = np.zeros(sizes[1], np.int64)
        self._most = [np.zeros(n, np.int64) for n in sizes]
        self._most_at = [np.zeros(n, np.int64) for n in sizes]
        self._left = [np.zeros(n, np.int64) for n in sizes]

    def add(
        self,
        z: int,
        now: NDArray[np.uint16],
        before: NDArray[np.uint16],
        left: NDArray[np.bool_],
        unknown: NDArray[np.bool_],
    ) -> None:
        """Take the lung voxels of slice ``z``: lesions' numbers, side, whether not compared."""
        for i, numbers in enumerate((now, before)):
            size = len(self._most[i])
            here = np.bincount(numbers, minlength=size)
            here[0] = 0
            more = here > self._most[i]
            self._most[i][more], self._most_at[i][more] = here[more], z
            self._left[i] += np.bincount(numbers[left], minlength=size)
            if i == 1:
                self._in_lungs += here
        self._unknown += np.bincount(now[unknown], minlength=len(self._unknown))
        both = (now > 0) & (before > 0)
        if both.any():
            width = len(self._in_lungs)
            pairs, counts = np.unique(
                now[both].astype(np.int64) * width + before[both], return_counts=True
            )
            for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True):
                key = (pair // width, pair % width)
                self._overlap[key] = self._overlap.get(key, 0) + n

    def changes(
        self, mapping: Mapping, geometry: Geometry, *, spacing_known: bool = True
    ) -> LesionChanges:
        """What became of each lesion; ``geometry`` is the current grid."""
        groups = self._groups(mapping)
        listed = [self._change(now, before, mapping, geometry) for now, before in groups]
        listed.sort(key=lambda one: -max(one.current_ml or 0.0, one.prior_ml or 0.0))
        if not spacing_known:
            listed = [_without_ml(one) for one in listed]
        counts: dict[str, int] = {}
        for one in listed:
            for name in (one.kind, one.trend):
                if name:
                    counts[name] = counts.get(name, 0) + 1
        return LesionChanges(tuple(listed), counts)

    def _groups(self, mapping: Mapping) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Current and prior lesions that belong together, each in exactly one group."""
        now, before = self._now, self._before
        scale = before.voxel_ml / mapping.volume_factor / now.voxel_ml
        joined = [
            (one, two)
            for (one, two), n in self._overlap.items()
            if n >= OVERLAP_SHARE * min(now.voxels[one], before.voxels[two] * scale)
        ]
        joined += self._near(mapping, joined)
        parent = {("now", n): ("now", n) for n in range(1, now.count + 1)}
        parent |= {("before", n): ("before", n) for n in range(1, before.count + 1)}

        def root(node: tuple[str, int]) -> tuple[str, int]:
            while parent[node] != node:
                node = parent[node]
            return node

        for one, two in joined:
            parent[root(("before", two))] = root(("now", one))
        groups: dict[tuple[str, int], tuple[list[int], list[int]]] = {}
        for node in parent:
            mine = groups.setdefault(root(node), ([], []))
            mine[0 if node[0] == "now" else 1].append(node[1])
        return [(tuple(a), tuple(b)) for a, b in groups.values()]

    def _near(self, mapping: Mapping, joined: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Pairs of lesions that are alone, by the distance of their centres, nearest first."""
        alone = sorted(set(range(1, self._now.count + 1)) - {one for one, _ in joined})
        others = sorted(set(range(1, self._before.count + 1)) - {two for _, two in joined})
        if not alone or not others:
            return []
        there = mapping.back(self._before.centres_mm[others])
        far = np.linalg.norm(self._now.centres_mm[alone][:, None] - there[None], axis=-1)
        found = []
        for flat in np.argsort(far, axis=None, kind="stable"):
            i, j = np.unravel_index(flat, far.shape)
            if far[i, j] > NEAR_MM:
                break
            if alone[i] and others[j]:
                found.append((alone[i], others[j]))
                alone[i] = others[j] = 0
        return found

    def _change(
        self,
        now: tuple[int, ...],
        before: tuple[int, ...],
        mapping: Mapping,
        geometry: Geometry,
    ) -> LesionChange:
        kind = self._kind(now, before, mapping)
        current_ml = self._now.ml(now) if now else None
        prior_ml = self._before.ml(before) if before else None
        change = percent = None
        trend = ""
        if kind != "not_compared":
            change = (current_ml or 0.0) - (prior_ml or 0.0)
            percent = 100.0 * change / prior_ml if prior_ml else None
        if now and before and percent is not None:
            trend = "stable" if abs(percent) < GROWN_PERCENT else "grown"
            trend = "shrunk" if percent <= -GROWN_PERCENT else trend
        which, chosen = (0, now) if now else (1, before)
        largest = chosen[0]
        centre = (
            self._now.centres_mm[largest] if now else mapping.back(self._before.centres_mm[largest])
        )
        here = self._most[which][largest] > 0
        left = int(self._left[which][list(chosen)].sum()) * 2
        return LesionChange(
            kind=kind,
            trend=trend,
            current=now,
            prior=before,
            current_ml=current_ml,
            prior_ml=prior_ml,
            change_ml=change,
            change_percent=percent,
            consolidation_percent=self._now.solid_percent(now),
            prior_consolidation_percent=self._before.solid_percent(before),
            side="left" if left > self._all(which, chosen) else "right",
            position_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
            slice_index=int(self._most_at[which][largest]) if here else _slice_at(centre, geometry),
        )

    def _all(self, which: int, chosen: tuple[int, ...]) -> int:
        if which == 0:
            return int(self._now.voxels[list(chosen)].sum())
        return int(self._in_lungs[list(chosen)].sum())

    def _kind(self, now: tuple[int, ...], before: tuple[int, ...], mapping: Mapping) -> str:
        if not before:
            total = int(self._now.voxels[list(now)].sum())
            seen = total - int(self._unknown[list(now)].sum())
            return "new" if seen >= SEEN_SHARE * total else "not_compared"
        if not now:
            here_ml = int(self._in_lungs[list(before)].sum()) * self._now.voxel_ml
            seen_ml = here_ml * mapping.volume_factor
            known = seen_ml >= SEEN_SHARE * self._before.ml(before)
            return "resolved" if known else "not_compared"
        if len(now) == 1 and len(before) == 1:
            return "matched"
        if len(now) == 1:
            return "merged"
        return "split" if len(before) == 1 else "rearranged"


def _slice_at(centre: NDArray[np.float64], geometry: Geometry) -> int:
    z = (np.linalg.inv(geometry.affine) @ np.append(centre, 1.0))[2]
    return int(np.clip(round(float(z)), 0, geometry.shape[0] - 1))


def _without_ml(one: LesionChange) -> LesionChange:
    from dataclasses import replace

    return replace(one, current_ml=None, prior_ml=None, change_ml=None)
