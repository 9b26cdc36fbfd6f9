"""What a second reader decides about a case, kept in the store. No Qt."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.cases.records import (
    CaseRecord,
    Decision,
    Difficulty,
    Kind,
    LabelVersion,
    NewVersion,
    OpenBranches,
)
from napari_covseg.domain.errors import CovsegError, ResourceError
from napari_covseg.domain.progress import Progress, Steps

if TYPE_CHECKING:
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.plugin.case_work import Held


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a reader decides.

    ``own`` is what he corrected himself, saved as his version before the decision; ``set_aside``
    are versions of others that the accepted one replaces.
    """

    decision: Decision
    reader: str
    comment: str = ""
    difficulty: Difficulty | None = None
    whole: bool = False
    set_aside: tuple[str, ...] = ()
    own: Held | None = None


@dataclass(frozen=True, eq=False)
class Decided:
    """What became of a decision.

    ``record`` is the case afterwards, ``version`` the one that it is about. If ``error`` is not
    None it was refused; the reader's own correction was saved all the same, and is ``version``.
    """

    verdict: Verdict
    record: CaseRecord
    version: LabelVersion
    error: CovsegError | None = None


def decide_steps(folder: Path, version: LabelVersion, verdict: Verdict) -> Steps[Decided]:
    """Save what the reader corrected, then keep the decision. Runs in a thread.

    Raises
    ------
    CovsegError
        If the correction could not be saved, or a decision without one could not: nothing was
        changed then.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 2, "saving")
    store = CaseStore.open(folder)
    own, comment = verdict.own, verdict.comment
    if own is not None:
        labels = own.labels()
        with own.once(version.id):
            saved = store.save_version(
                version.case,
                labels,
                NewVersion(
                    author=verdict.reader,
                    kind=Kind.CORRECTION,
                    parent=version.id,
                    reviewed=own.reviewed,
                    minutes=own.seconds / 60,
                    comment=comment,
                ),
            )
        version = saved.version
    yield Progress(1, 2, "saving")
    refused: CovsegError | None = None
    try:
        _decide(store, version, verdict)
    except CovsegError as error:
        if own is None and not isinstance(error, OpenBranches):
            raise
        refused = error
    return Decided(verdict, store.case(version.case), version, refused)


def _decide(store: CaseStore, version: LabelVersion, verdict: Verdict) -> None:
    case, reader, comment = version.case, verdict.reader, verdict.comment
    if verdict.decision is Decision.ACCEPT:
        store.accept(
            version.id,
            reader=reader,
            whole=verdict.whole,
            instead_of=verdict.set_aside,
            comment=comment,
            difficulty=verdict.difficulty,
        )
        return
    if verdict.difficulty is not None and verdict.decision is not Decision.COMMENT:
        store.comment(case, reader=reader, comment="", difficulty=verdict.difficulty)
    if verdict.decision is Decision.SEND_BACK:
        store.send_back(case, reader=reader, comment=comment)
    elif verdict.decision is Decision.FLAG:
        store.flag(case, reader=reader, comment=comment)
    elif verdict.decision is Decision.UNFLAG:
        store.unflag(case, reader=reader, comment=comment)
    else:
        store.comment(case, reader=reader, comment=comment, difficulty=verdict.difficulty)
    if verdict.decision in (Decision.SEND_BACK, Decision.FLAG):
        store.release(case, reader)


def release_steps(folder: Path, case: str, reader: str) -> Steps[None]:
    """Give a case back without a decision. Runs in a thread.

    Raises
    ------
    InputError
        If the store or case is not there.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "giving the case back")
    # In a store that may only be read nothing was kept.
    with suppress(ResourceError):
        CaseStore.open(folder).release(case, reader)
