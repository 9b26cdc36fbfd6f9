"""A case opened for a second reader, and what was changed in it since the prediction. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.cases.records import (
    CaseTaken,
    LabelVersion,
    Review,
)
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import LabelMap
from napari_covseg.editing.consensus import Comparison, compare
from napari_covseg.plugin.desk import LoadedCase, load_steps
from napari_covseg.plugin.layers import join, split
from napari_covseg.plugin.review_waiting import reviewable

if TYPE_CHECKING:
    from napari_covseg.cases.store import CaseStore

CLASSES = ("infection", "ggo", "consolidation")
"""Of which the overlap with the prediction is told."""


@dataclass(frozen=True, eq=False)
class Basis:
    """What a version was made from, and how far it went from there.

    Parameters
    ----------
    version
        The model's prediction; for labels that no model made, the version they began with.
    lungs, lesions
        Its two layers, uint8 ``(z, y, x)``.
    changes
        From it (first) to the reviewed version (second).
    edited
        How many voxels differ.
    dice
        Overlap of the two by class (`CLASSES`); None where neither has any.
    """

    version: LabelVersion
    lungs: NDArray[np.uint8]
    lesions: NDArray[np.uint8]
    changes: Comparison
    edited: int
    dice: Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class Opened:
    """A case to be reviewed.

    ``minutes`` were spent since the basis, ``note`` says what the reader should know: why it is not
    kept for him, or why there is no basis.
    """

    loaded: LoadedCase
    version: LabelVersion
    beside: tuple[LabelVersion, ...]
    basis: Basis | None
    history: tuple[LabelVersion, ...]
    reviews: tuple[Review, ...]
    minutes: float
    note: str = ""


def next_steps(folder: Path, reader: str) -> Steps[Opened | None]:
    """Take the next case that others corrected; None if none waits. Runs in a thread.

    A store that may only be read hands it out, too; nothing can be decided then.

    Raises
    ------
    InputError
        If the store is not there, or a file of the case is gone or was changed.
    """
    from napari_covseg.cases.order import TO_REVIEW
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 3, "looking for the next case")
    store = CaseStore.open(folder)
    try:
        record = store.next_case(reader, states=TO_REVIEW, second_reader=True)
    except ResourceError:
        waiting = store.queue(reader, states=TO_REVIEW, second_reader=True)
        record = waiting[0] if waiting else None
    if record is None:
        return None
    return (yield from open_steps(folder, reader, record.name))


def open_steps(folder: Path, reader: str, case: str, version: str | None = None) -> Steps[Opened]:
    """Open a case for review and keep it for the reader. Runs in a thread.

    Raises
    ------
    InputError
        If the store or case is not there, nobody drew labels for it, or a file is gone or was
        changed; nobody keeps the case then.
    """
    from napari_covseg.cases.store import CaseStore

    store = CaseStore.open(folder)
    chosen = store.version(version) if version else reviewable(store, case)
    if chosen is None:
        raise InputError(f"{case}: nobody has drawn or corrected labels yet; nothing to review")
    note = _kept_for(store, case, reader)
    try:
        loaded = yield from load_steps(folder, case, chosen.id)
        return (yield from _described(store, loaded, chosen, note))
    except CovsegError:
        with suppress(CovsegError):
            store.release(case, reader)
        raise


def _kept_for(store: CaseStore, case: str, reader: str) -> str:
    try:
        store.claim(case, reader)
    except CaseTaken:
        return f"{store.case(case).claimed_by} has this case in work now."
    except ResourceError:
        return "The store may only be read: decisions cannot be saved."
    return ""


def _described(
    store: CaseStore, loaded: LoadedCase, version: LabelVersion, note: str
) -> Steps[Opened]:
    yield Progress(1, 2, "comparing with the prediction")
    history = tuple(store.history(loaded.record.name))
    minutes, start = version.minutes, _start(store, version)
    basis = None
    if start is not None:
        minutes = _minutes(version, start, history)
        labels = join([(data, arguments) for data, arguments, _ in loaded.layers[1:]])
        try:
            basis = _basis(store.labels(start.id), start, labels)
        except InputError as error:
            note = f"{note} {error}".strip()
    reviews = tuple(store.reviews(loaded.record.name))
    beside = store.branches(version.id)
    return Opened(loaded, version, beside, basis, history, reviews, minutes, note)


def _start(store: CaseStore, version: LabelVersion) -> LabelVersion | None:
    predicted = store.base_prediction(version.id)
    if predicted is not None and predicted.id != version.id:
        return predicted
    return store.version(version.parent) if version.parent else None


def _minutes(
    version: LabelVersion, start: LabelVersion, history: tuple[LabelVersion, ...]
) -> float:
    known = {one.id: one for one in history}
    total, here = 0.0, version
    while here.id != start.id:
        total += here.minutes
        if here.parent is None:
            break
        here = known[here.parent]
    return total


def _basis(before: LabelMap, version: LabelVersion, after: LabelMap) -> Basis:
    from napari_covseg.metrics.agreement import mask_agreement

    voxel_ml = before.geometry.voxel_ml
    lungs, lesions = split(before)
    agreement = mask_agreement(before.labels, after.labels, voxel_ml)
    return Basis(
        version,
        lungs,
        lesions,
        compare(before.labels, after.labels, voxel_ml),
        int(np.count_nonzero(before.labels != after.labels)),
        {name: agreement[name].dice for name in CLASSES if name in agreement},
    )
