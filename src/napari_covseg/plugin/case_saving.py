"""What an annotator does with the case in work: save, accept, flag, give back. No Qt.

All of it runs in a worker's thread: a store may lie on a slow share.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.cases.records import (
    CaseRecord,
    Difficulty,
    Kind,
    LabelVersion,
    NewVersion,
    OpenBranches,
    SavedVersion,
)
from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.case_work import Held

if TYPE_CHECKING:
    from napari_covseg.cases.store import CaseStore


@dataclass(frozen=True, slots=True)
class Remarks:
    """What an annotator says of a case."""

    comment: str = ""
    difficulty: Difficulty | None = None


@dataclass(frozen=True, eq=False)
class Kept:
    """What became of a case's labels.

    ``version`` is what stands in the store now (None: there was nothing to keep), ``beside`` the
    versions of others that must be settled, ``accepted`` whether it was accepted, ``problem`` why
    not, or not wholly, ``claimed_by`` who else has the case in work.
    """

    record: CaseRecord
    version: LabelVersion | None
    beside: tuple[LabelVersion, ...] = ()
    accepted: bool = False
    problem: CovsegError | None = None
    claimed_by: str = ""


def save_steps(
    folder: Path,
    case: str,
    held: Held,
    parent: str | None,
    author: str,
    kind: Kind,
    remarks: Remarks,
) -> Steps[Kept]:
    """Save what is drawn on a case as its next version.

    Labels that nobody drew or marked anything on are not kept: there is no version then.

    Raises
    ------
    InputError
        If nothing was changed since the parent, or the labels do not fit.
    ResourceError
        If the disk is full or the store may not be written to: nothing was saved.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 2, f"saving {case}")
    labels = held.labels()
    if parent is None and not held.reviewed and not labels.labels.any():
        if kind is not Kind.DRAFT:
            raise InputError(f"{case}: nothing is drawn and no slice is marked; nothing to save")
        return Kept(CaseStore.open(folder).case(case), None)
    yield Progress(1, 2, f"saving {case}")
    store = CaseStore.open(folder)
    saved = _save(store, case, labels.labels, held, parent, author, kind, remarks)
    _remark(store, case, author, remarks)
    record = store.case(case)
    return Kept(record, saved.version, saved.branches, claimed_by=saved.claimed_by)


def accept_steps(
    folder: Path,
    case: str,
    held: Held,
    parent: LabelVersion | None,
    author: str,
    *,
    whole: bool,
    remarks: Remarks,
    instead_of: tuple[str, ...] = (),
) -> Steps[Kept]:
    """Save what is drawn on a case and accept it; what nobody reviewed will teach nothing.

    If versions of others stand beside it that are not in ``instead_of``, it is saved and not
    accepted, and they are told; so is what else keeps a saved version from being accepted.

    Raises
    ------
    InputError
        If no slice was reviewed or nothing is drawn on those: nothing was saved.
    ResourceError
        As `save_steps`.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 3, f"saving {case}")
    labels = held.labels()
    _check_acceptable(case, labels.labels, held, whole)
    yield Progress(1, 3, f"saving {case}")
    store = CaseStore.open(folder)
    version = parent
    if parent is None or not _same(store, parent, labels.labels, held):
        identity = None if parent is None else parent.id
        kind = Kind.CORRECTION
        saved = _save(store, case, labels.labels, held, identity, author, kind, remarks)
        version = saved.version
    assert version is not None
    yield Progress(2, 3, f"accepting {case}")
    try:
        store.accept(
            version.id,
            reader=author,
            whole=whole,
            instead_of=instead_of,
            comment=remarks.comment,
            difficulty=remarks.difficulty,
        )
    except OpenBranches:
        return Kept(store.case(case), version, store.branches(version.id))
    except CovsegError as error:
        record = store.case(case)
        return Kept(record, version, accepted=record.accepted == version.id, problem=error)
    return Kept(store.case(case), version, accepted=True)


def flag_steps(folder: Path, case: str, author: str, remarks: Remarks, on: bool) -> Steps[Kept]:
    """Flag a case and give it back, or take the flag away.

    Raises
    ------
    InputError, ResourceError
        As `CaseStore.flag`.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, f"{'flagging' if on else 'taking the flag from'} {case}")
    store = CaseStore.open(folder)
    if on:
        store.flag(case, reader=author, comment=remarks.comment)
        _remark(store, case, author, Remarks(difficulty=remarks.difficulty))
        store.release(case, author)
    else:
        store.unflag(case, reader=author, comment=remarks.comment)
    return Kept(store.case(case), None)


def release_steps(folder: Path, case: str, author: str, remarks: Remarks) -> Steps[Kept]:
    """Give a case back.

    Raises
    ------
    InputError, ResourceError
        As `CaseStore.release`.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, f"giving {case} back")
    store = CaseStore.open(folder)
    _remark(store, case, author, remarks)
    store.release(case, author)
    return Kept(store.case(case), None)


def _save(
    store: CaseStore,
    case: str,
    labels: NDArray[np.uint8],
    held: Held,
    parent: str | None,
    author: str,
    kind: Kind,
    remarks: Remarks,
) -> SavedVersion:
    with held.once(parent):
        return store.save_version(
            case,
            labels,
            NewVersion(
                author=author,
                kind=kind,
                parent=parent,
                reviewed=held.reviewed,
                minutes=held.seconds / 60,
                comment=remarks.comment if remarks.comment != store.case(case).comment else "",
            ),
        )


def _check_acceptable(case: str, labels: NDArray[np.uint8], held: Held, whole: bool) -> None:
    """What the store would not accept is told before it is saved."""
    slices = slice(None) if whole else sorted(held.reviewed)
    if not whole and not held.reviewed:
        raise InputError(f"{case}: no slice is marked as reviewed; mark those that you checked")
    if not np.isin(labels[slices], (Label.BACKGROUND, Label.IGNORE), invert=True).any():
        raise InputError(
            f"{case}: no lung or lesion is drawn in what was reviewed; an empty label map is not "
            "accepted"
        )


def _remark(store: CaseStore, case: str, author: str, remarks: Remarks) -> None:
    """Keep what was said of a case, if it is new."""
    record = store.case(case)
    comment = remarks.comment.strip()
    fresh = comment not in ("", record.comment)
    if fresh or remarks.difficulty not in (None, record.difficulty):
        said = comment if fresh else ""
        store.comment(case, reader=author, comment=said, difficulty=remarks.difficulty)


def _same(store: CaseStore, version: LabelVersion, labels: NDArray[np.uint8], held: Held) -> bool:
    """Whether a version says the same already, as finished work."""
    if version.kind is Kind.DRAFT or held.reviewed != version.reviewed:
        return False
    with suppress(InputError):
        return bool(np.array_equal(store.labels(version.id).labels, labels))
    return False
