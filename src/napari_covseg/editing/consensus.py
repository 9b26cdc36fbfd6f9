"""Two label maps of one CT: where they differ, region by region, and how to make one of them.

A reader who left something open contradicts nobody: `Label.IGNORE` gives way to whatever the other
drew, `Label.INFECTION` to GGO or consolidation, `Label.LUNG` to a side. Where both drew a lesion
and call it GGO and consolidation, neither union nor intersection can tell which it is, so both say
`Label.INFECTION`; where they name different lungs, both say `Label.LUNG`. Only the choice of a
reader settles these.

A slice that only one of two readers checked holds no disagreement: the other did not look at it,
and the labels of the one who did stand. A reader who marked no slice at all did not keep marks and
is taken to have an opinion everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.editing.edit import Point

SMALLEST_ML = 0.05
"""Differing regions smaller than this are taken together as one."""
_NAMED = 0.1
"""A label is named if it fills at least this share of a region."""
_N = len(Label)
_SIDES = (Label.LEFT_LUNG, Label.RIGHT_LUNG)
_CLASSES = (Label.GGO, Label.CONSOLIDATION)


class Rule(StrEnum):
    """What becomes of a region in which two readers differ."""

    FIRST = "first"
    SECOND = "second"
    UNION = "union"
    INTERSECTION = "intersection"


class Difference(StrEnum):
    """How two readers differ in a region."""

    ONLY_FIRST = "only first"
    """The second reader has nothing of this lesion."""
    ONLY_SECOND = "only second"
    OTHER_CLASS = "other class"
    OUTLINE = "outline"
    """Both have the lesion; one of them drew it larger here."""
    SMALL = "small"
    """All regions of less than `SMALLEST_ML`, taken together."""
    LUNGS = "lungs"
    """Neither has a lesion; they differ in what is lung, everywhere taken together."""


@dataclass(frozen=True, slots=True)
class Region:
    """Connected voxels (26 neighbours) in which two readers differ in one way.

    Parameters
    ----------
    number
        Its place in `Comparison.regions`: the largest lesion first, then `Difference.SMALL`, last
        `Difference.LUNGS`.
    kind
        How they differ.
    larger
        Of an outline, who drew the lesion larger; None for all else.
    first, second
        What each calls it, the commonest label first; labels of less than a tenth are left out.
    voxels, ml
        How much it is.
    slice_index, centre
        The slice with most of it, and its voxel ``(z, y, x)`` nearest to the middle there.
    """

    number: int
    kind: Difference
    larger: Rule | None
    first: tuple[Label, ...]
    second: tuple[Label, ...]
    voxels: int
    ml: float
    slice_index: int
    centre: Point


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two label maps and their differing regions.

    Parameters
    ----------
    agreed
        uint8 ``(z, y, x)``: the labels wherever nothing has to be settled.
    regions
        Where something has.
    reviewed
        Slices that at least one reader checked: what counts as checked in whatever is joined.
    first_alone, second_alone
        Slices whose labels stand because only this reader checked them.
    """

    agreed: NDArray[np.uint8]
    regions: tuple[Region, ...]
    reviewed: frozenset[int]
    first_alone: tuple[int, ...]
    second_alone: tuple[int, ...]
    _at: NDArray[np.int64]
    _pairs: NDArray[np.uint8]
    _starts: NDArray[np.int64]

    def voxels(self, number: int) -> NDArray[np.int64]:
        """Flat positions of a region's voxels in the volume."""
        return self._at[self._part(number)]

    def joined(self, number: int, rule: Rule) -> NDArray[np.uint8]:
        """The labels of a region's voxels by a rule, in the order of `voxels`."""
        return np.asarray(JOINED[rule][self._pairs[self._part(number)]])

    def _part(self, number: int) -> slice:
        return slice(int(self._starts[number]), int(self._starts[number + 1]))


def join(
    comparison: Comparison, rule: Rule, choices: Mapping[int, Rule] | None = None
) -> NDArray[np.uint8]:
    """One label map: ``rule`` for every region but those of ``choices`` (by number).

    Returns uint8 ``(z, y, x)``. Its reviewed slices are `Comparison.reviewed`.
    """
    labels = comparison.agreed.copy()
    flat = labels.reshape(-1)
    for region in comparison.regions:
        chosen = (choices or {}).get(region.number, rule)
        flat[comparison.voxels(region.number)] = comparison.joined(region.number, chosen)
    return labels


def compare(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    voxel_ml: float,
    reviewed: tuple[Collection[int], Collection[int]] = ((), ()),
) -> Comparison:
    """Find where two label maps differ.

    Parameters
    ----------
    first, second
        `Label` of each voxel, ``(z, y, x)``, on one grid.
    voxel_ml
        Volume of a voxel.
    reviewed
        Which slices each of the two readers checked (module text).

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {first.shape} and {second.shape}")
    alone = _alone(len(first), *reviewed)
    agreed, codes = np.empty_like(first), np.zeros(first.shape, np.uint8)
    for z, (one, other) in enumerate(zip(first, second, strict=True)):
        if z in alone[0] or z in alone[1]:
            agreed[z] = one if z in alone[0] else other
            continue
        pairs = one * np.uint8(_N) + other
        agreed[z], codes[z] = JOINED[Rule.FIRST][pairs], _CODES[pairs]
    at, numbers, kinds = _lesion_regions(first, second, codes, voxel_ml)
    lungs = np.flatnonzero(codes == _LUNGS)
    if len(lungs):
        at = np.concatenate([at, lungs])
        numbers = np.concatenate([numbers, np.full(len(lungs), len(kinds), np.int64)])
        kinds.append((Difference.LUNGS, None))
    starts = np.searchsorted(numbers, np.arange(len(kinds) + 1))
    pairs = first.reshape(-1)[at] * np.uint8(_N) + second.reshape(-1)[at]
    regions = tuple(
        _region(number, kind, larger, at[low:high], pairs[low:high], first.shape, voxel_ml)
        for number, ((kind, larger), low, high) in enumerate(
            zip(kinds, starts[:-1], starts[1:], strict=True)
        )
    )
    marks = frozenset(reviewed[0]) | frozenset(reviewed[1])
    return Comparison(agreed, regions, marks, *alone, at, pairs, starts)


def _alone(
    depth: int, first: Collection[int], second: Collection[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The slices that only the first, and only the second reader checked."""
    if not first or not second:
        return (), ()
    one, other = set(first), set(second)
    return (
        tuple(z for z in range(depth) if z in one and z not in other),
        tuple(z for z in range(depth) if z in other and z not in one),
    )


def _lesion_regions(
    first: NDArray[np.uint8], second: NDArray[np.uint8], codes: NDArray[np.uint8], voxel_ml: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[tuple[Difference, Rule | None]]]:
    """Voxels in differing lesions by region, the region of each, and the kind of each region."""
    import cc3d

    in_first, in_second = _IS_LESION[first], _IS_LESION[second]
    slices = np.flatnonzero((in_first | in_second).any(axis=(1, 2)))
    if not len(slices):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), []
    low, high = int(slices[0]), int(slices[-1]) + 1
    in_first, in_second, part = in_first[low:high], in_second[low:high], codes[low:high]
    bodies = cc3d.connected_components(in_first | in_second, connectivity=26).reshape(-1)
    parts = cc3d.connected_components(part * (part != _LUNGS), connectivity=26).reshape(-1)
    at = np.flatnonzero(parts)
    found = parts[at].astype(np.int64)
    counts = np.bincount(found)
    order = np.argsort(counts, kind="stable")[::-1]
    order = order[counts[order] > 0]
    large = order[counts[order] * voxel_ml >= SMALLEST_ML * (1 - 1e-9)]
    numbers = np.full(len(counts), len(large), np.int64)
    numbers[large] = np.arange(len(large))
    number = numbers[found]
    sorting = np.argsort(number, kind="stable")
    at, number = at[sorting], number[sorting]
    in_both = _bodies_of_both(bodies, in_first, in_second)
    firsts = at[np.searchsorted(number, np.arange(len(large)))]
    code_of, body_of = part.reshape(-1)[firsts], bodies[firsts]
    kinds = [
        _kind(int(code), bool(both)) for code, both in zip(code_of, in_both[body_of], strict=True)
    ]
    if len(order) > len(large):
        kinds.append((Difference.SMALL, None))
    return at + low * first[0].size, number, kinds


def _bodies_of_both(
    bodies: NDArray, in_first: NDArray[np.bool_], in_second: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """For each body of lesion, whether both readers have some of it."""
    size = int(bodies.max()) + 1
    one, other = (
        np.bincount(bodies[inside.reshape(-1)], minlength=size) > 0
        for inside in (in_first, in_second)
    )
    return np.asarray(one & other)


def _kind(code: int, both: bool) -> tuple[Difference, Rule | None]:
    if code == _OTHER_CLASS:
        return Difference.OTHER_CLASS, None
    if both:
        return Difference.OUTLINE, Rule.FIRST if code == _FIRST else Rule.SECOND
    return (Difference.ONLY_FIRST if code == _FIRST else Difference.ONLY_SECOND), None


def _region(
    number: int,
    kind: Difference,
    larger: Rule | None,
    at: NDArray[np.int64],
    pairs: NDArray[np.uint8],
    shape: tuple[int, ...],
    voxel_ml: float,
) -> Region:
    plane = shape[1] * shape[2]
    z = at // plane
    most = int(np.bincount(z).argmax())
    y, x = np.divmod(at[z == most] % plane, shape[2])
    nearest = int(np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2))
    return Region(
        number,
        kind,
        larger,
        _named(pairs // _N),
        _named(pairs % _N),
        len(at),
        len(at) * voxel_ml,
        most,
        (most, int(y[nearest]), int(x[nearest])),
    )


def _named(labels: NDArray[np.uint8]) -> tuple[Label, ...]:
    counts = np.bincount(labels, minlength=_N)
    order = np.argsort(-counts, kind="stable")
    return tuple(Label(int(one)) for one in order if counts[one] >= _NAMED * len(labels))


# Rules as tables over pairs of labels: shape (64,), at first * 8 + second.

_AGREED, _FIRST, _SECOND, _OTHER_CLASS, _LUNGS = range(5)


def _settled(first: Label, second: Label) -> Label | None:
    """The label where the two do not contradict each other, else None."""
    if first == second or second is Label.IGNORE:
        return first
    if first is Label.IGNORE:
        return second
    for open_, told in ((Label.INFECTION, _CLASSES), (Label.LUNG, _SIDES)):
        if first is open_ and second in told:
            return second
        if second is open_ and first in told:
            return first
    return None


def _code(first: Label, second: Label) -> int:
    if _settled(first, second) is not None:
        return _AGREED
    lesions = first in LESION_LABELS, second in LESION_LABELS
    return {
        (True, True): _OTHER_CLASS,
        (True, False): _FIRST,
        (False, True): _SECOND,
        (False, False): _LUNGS,
    }[lesions]


def _joined(rule: Rule, first: Label, second: Label) -> Label:
    settled = _settled(first, second)
    if settled is not None:
        return settled
    if rule in (Rule.FIRST, Rule.SECOND):
        return first if rule is Rule.FIRST else second
    code = _code(first, second)
    if code == _OTHER_CLASS:
        return Label.INFECTION
    if code == _LUNGS and Label.BACKGROUND not in (first, second):
        return Label.LUNG
    first_is_more = code == _FIRST or (code == _LUNGS and second is Label.BACKGROUND)
    return first if first_is_more == (rule is Rule.UNION) else second


_PAIRS = [(first, second) for first in Label for second in Label]
JOINED: Mapping[Rule, NDArray[np.uint8]] = {
    rule: np.array([_joined(rule, *pair) for pair in _PAIRS], np.uint8) for rule in Rule
}
"""The label of each pair by each rule: shape ``(64,)``, at ``first * 8 + second``."""
_CODES = np.array([_code(*pair) for pair in _PAIRS], np.uint8)
_IS_LESION = np.isin(np.arange(_N), LESION_LABELS)
