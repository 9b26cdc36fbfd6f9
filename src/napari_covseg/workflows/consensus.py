"""Two readers' versions of a case: compared, and joined into one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.cases.records import Kind, LabelVersion, NewVersion, Review
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import LabelMap
from napari_covseg.editing.consensus import Comparison, Rule, compare, join
from napari_covseg.metrics.agreement import MaskAgreement, mask_agreement


@dataclass(frozen=True, eq=False)
class Readings:
    """Two versions of one case, and how they compare.

    ``agreement`` holds Dice and volumes by class over the slices in which both have an opinion.
    """

    first: LabelVersion
    second: LabelVersion
    first_labels: LabelMap
    second_labels: LabelMap
    comparison: Comparison
    agreement: Mapping[str, MaskAgreement]


@dataclass(frozen=True, slots=True)
class Joined:
    """A consensus that was saved.

    ``review`` is None if it was not accepted; ``beside`` are versions of further readers that have
    to be joined, or set aside, before it can be.
    """

    version: LabelVersion
    review: Review | None
    beside: tuple[LabelVersion, ...]


def side_by_side(store: CaseStore, case: str) -> tuple[LabelVersion, LabelVersion] | None:
    """The newest version of a case and the one beside it that is not settled, the older one first.

    None where nothing has to be settled.

    Raises
    ------
    InputError
        If there is no such case.
    """
    for version in reversed(store.history(case)):
        if version.kind is not Kind.PREDICTION and not version.set_aside:
            beside = store.branches(version.id)
            pair = sorted((version, *beside[-1:]), key=lambda one: one.number)
            return (pair[0], pair[1]) if beside else None
    return None


def read_both(store: CaseStore, first: LabelVersion, second: LabelVersion) -> Steps[Readings]:
    """Read two versions of a case and compare them.

    Raises
    ------
    UsageError
        If they are of different cases, or one and the same.
    InputError
        If a file is gone or was changed since it was saved.
    """
    if first.case != second.case or first.id == second.id:
        raise UsageError(f"{first.case}: expected two different versions of one case")
    yield Progress(0, 3, f"reading version {first.number}")
    one = store.labels(first.id)
    yield Progress(1, 3, f"reading version {second.number}")
    other = store.labels(second.id)
    yield Progress(2, 3, "comparing")
    voxel_ml = one.geometry.voxel_ml
    found = compare(one.labels, other.labels, voxel_ml, (first.reviewed, second.reviewed))
    alone = {*found.first_alone, *found.second_alone}
    shared = [z for z in range(len(one.labels)) if z not in alone]
    agreement = mask_agreement(one.labels[shared], other.labels[shared], voxel_ml)
    return Readings(first, second, one, other, found, agreement)


def save_joined(
    store: CaseStore,
    readings: Readings,
    rule: Rule,
    choices: Mapping[int, Rule] | None = None,
    *,
    author: str,
    comment: str = "",
    minutes: float = 0.0,
    accept: bool = False,
    whole: bool = False,
) -> Steps[Joined]:
    """Join two versions, save the result as their consensus, and accept it if asked to.

    Slices that one of the two readers checked count as checked.

    Parameters
    ----------
    store
        Where the versions are.
    readings
        From `read_both`.
    rule, choices
        As `napari_covseg.editing.consensus.join`.
    author, comment, minutes
        Who joins them, what they say, how long it took.
    accept
        Accept it at once, unless a third reader's version stands beside it.
    whole
        Whoever joins them has checked every slice.

    Raises
    ------
    InputError
        If it shall be accepted and no slice was checked: nothing was saved then.
    ResourceError
        If the disk is full or the store may not be written to.
    """
    first, second = readings.first, readings.second
    reviewed = readings.comparison.reviewed
    if accept and not whole and not reviewed:
        raise InputError(
            f"{first.case}: no slice of version {first.number} or {second.number} is marked as "
            "reviewed, so nothing would be accepted; accept the whole scan if all of it was checked"
        )
    yield Progress(0, 2, "joining")
    labels = join(readings.comparison, rule, choices)
    if whole:
        reviewed = frozenset(range(len(labels)))
    yield Progress(1, 2, "saving")
    version = _saved_before(store, readings, labels, reviewed, author)
    if version is not None:
        beside = store.branches(version.id)
    else:
        saved = store.save_version(
            first.case,
            labels,
            NewVersion(
                author=author,
                kind=Kind.CONSENSUS,
                parent=first.id,
                merged=second.id,
                reviewed=reviewed,
                minutes=minutes,
                comment=comment,
            ),
        )
        version, beside = saved.version, saved.branches
    if not accept or beside:
        return Joined(version, None, beside)
    review = store.accept(version.id, reader=author, comment=comment)
    return Joined(version, review, ())


def _saved_before(
    store: CaseStore,
    readings: Readings,
    labels: NDArray[np.uint8],
    reviewed: Collection[int],
    author: str,
) -> LabelVersion | None:
    """The same consensus, if it was saved when its acceptance failed: it is not saved again."""
    for one in reversed(store.history(readings.first.case)):
        same = (one.kind, one.parent, one.merged, one.author, one.reviewed) == (
            *(Kind.CONSENSUS, readings.first.id, readings.second.id),
            *(author.strip(), frozenset(reviewed)),
        )
        if same and np.array_equal(store.labels(one.id).labels, labels):
            return one
    return None
