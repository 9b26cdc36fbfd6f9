"""A save on its way into the index: the note that tells of it, and the row made from the note."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_covseg.cases.branches import branch_rows
from napari_covseg.cases.claims import CLAIM_MINUTES, claim_row, release_row
from napari_covseg.cases.records import Kind, LabelVersion, NewVersion, SavedVersion, State
from napari_covseg.cases.rows import find_case, live_claim, log, version_record
from napari_covseg.cases.schema import CaseRow, VersionRow
from napari_covseg.domain.errors import InputError, UsageError

_AFTER: Mapping[Kind, State] = {
    Kind.DRAFT: State.IN_WORK,
    Kind.RESTORED: State.IN_WORK,
    Kind.CORRECTION: State.CORRECTED,
    Kind.CONSENSUS: State.CORRECTED,
    Kind.IMPORT: State.CORRECTED,
}


def make_note(
    case: str, new: NewVersion, before: LabelVersion | None, created: datetime
) -> dict[str, Any]:
    """What the row of a version will say, less what is known once its labels are written.

    Raises
    ------
    UsageError
        If a prediction has no model, or the minutes are no number from 0.
    """
    if new.kind is Kind.PREDICTION and not new.model:
        raise UsageError(f"{case}: a prediction needs the hash of its model")
    if not (math.isfinite(new.minutes) and new.minutes >= 0):
        raise UsageError(f"{case}: {new.minutes} minutes spent; expected 0 or more")
    return {
        "case": case,
        "author": new.author,
        "created": created.isoformat(),
        "kind": new.kind.value,
        "parent": new.parent,
        "merged": new.merged,
        "minutes": float(new.minutes),
        "model": new.model or (before.model if before else None),
        "comment": new.comment.strip(),
    }


def insert(session: Session, identity: str, note: Mapping[str, Any]) -> SavedVersion:
    """The row that a note tells of; if another program was faster in recovering it, that one.

    So is the newest one if it says the same, by the same person from the same parent: whoever was
    not told what came of a save does it once more.
    """
    case = find_case(session, note["case"])
    rows = list(
        session.scalars(
            select(VersionRow).where(VersionRow.case_id == case.id).order_by(VersionRow.number)
        )
    )
    row = next((one for one in rows if one.id == identity), None)
    if row is None and rows and _says(rows[-1], note):
        row = rows[-1]
        # It may have been sent back, or taken into work again, since.
        if case.accepted_id != row.id:
            _move_on(session, case, Kind(row.kind), row.author)
    elif row is None:
        row = _new_row(session, case, rows[-1].number if rows else 0, identity, note)
        rows.append(row)
    beside = branch_rows(row, rows)
    if beside:
        others = {"beside": [one.id for one in beside]}
        log(session, row.author, "branch", case=case.name, version=row.id, detail=others)
    holder = live_claim(session, case.id)
    return SavedVersion(
        version_record(row),
        tuple(version_record(one) for one in beside),
        holder.author if holder is not None and holder.author != row.author else "",
    )


def _says(row: VersionRow, note: Mapping[str, Any]) -> bool:
    """Whether a version is what a note tells of, once more; a model may predict as it likes."""
    return (
        row.kind != Kind.PREDICTION
        and not row.set_aside
        and (row.kind, row.author, row.parent_id, row.merged_id, row.sha256, row.reviewed)
        == tuple(note[key] for key in ("kind", "author", "parent", "merged", "sha256", "reviewed"))
    )


def _new_row(
    session: Session, case: CaseRow, last: int, identity: str, note: Mapping[str, Any]
) -> VersionRow:
    kind = Kind(note["kind"])
    row = VersionRow(
        id=identity,
        case=case,
        number=last + 1,
        sha256=note["sha256"],
        author=note["author"],
        created=datetime.fromisoformat(note["created"]),
        parent_id=note["parent"],
        merged_id=note["merged"],
        kind=kind.value,
        model=note["model"],
        reviewed=note["reviewed"],
        edited_voxels=note["edited_voxels"],
        minutes=note["minutes"],
        comment=note["comment"],
        set_aside=False,
    )
    session.add(row)
    session.flush()
    _move_on(session, case, kind, row.author)
    log(session, row.author, kind.value, case=case.name, version=identity, model=row.model)
    return row


def _move_on(session: Session, case: CaseRow, kind: Kind, author: str) -> None:
    """The case's state and claim after a save; a flag stays until someone takes it away."""
    if case.state != State.FLAGGED:
        if kind in _AFTER:
            case.state = _AFTER[kind].value
        elif case.state == State.NEW:
            case.state = State.PREDICTED.value
    if kind is Kind.DRAFT:
        with suppress(InputError):
            claim_row(session, case, author, CLAIM_MINUTES)
    elif kind in _AFTER:
        release_row(session, case, author)
