"""Rows of the index found by name, turned into records, and the log of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from napari_covseg.cases.clock import now
from napari_covseg.cases.encoding import geometry_from_json, numbers_from
from napari_covseg.cases.records import (
    CaseRecord,
    Decision,
    Difficulty,
    Event,
    Kind,
    LabelVersion,
    Review,
    State,
)
from napari_covseg.cases.schema import CaseRow, ClaimRow, EventRow, ReviewRow, VersionRow
from napari_covseg.domain.errors import InputError

_LAST = "last event"
_AHEAD = timedelta(days=1)
_FEW = 20
"""For so many cases the database is asked about them, for more about all."""


def find_case(session: Session, name: str) -> CaseRow:
    """The row of a case.

    Raises
    ------
    InputError
        If there is no such case.
    """
    row = session.scalar(select(CaseRow).where(CaseRow.name == name))
    if row is None:
        raise InputError(f"{name}: no such case in this store; covseg dataset list shows them")
    return row


def find_version(session: Session, identity: str) -> VersionRow:
    """The row of a label version.

    Raises
    ------
    InputError
        If there is no such version.
    """
    row = session.get(VersionRow, identity)
    if row is None:
        raise InputError(f"{identity[:8]}: no such label version in this store")
    return row


def newest_version(session: Session, case_id: int) -> VersionRow | None:
    """The version of a case that was saved last."""
    return session.scalar(
        select(VersionRow)
        .where(VersionRow.case_id == case_id)
        .order_by(VersionRow.number.desc())
        .limit(1)
    )


def in_force(session: Session) -> ColumnElement[bool]:
    """Of claims that count: not run out, and not of a clock that is days ahead of this one.

    Without a server each computer has its own clock. One that is years ahead would keep its cases
    from everybody until then; wrong by a time zone it is believed.
    """
    moment = now(session)
    return and_(ClaimRow.until > moment, ClaimRow.since <= moment + _AHEAD)


def live_claim(session: Session, case_id: int) -> ClaimRow | None:
    """The claim on a case, if it counts."""
    return session.scalar(
        select(ClaimRow).where(ClaimRow.case_id == case_id).where(in_force(session))
    )


def log(
    session: Session,
    actor: str,
    kind: str,
    *,
    case: str | None = None,
    version: str | None = None,
    model: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add an event."""
    row = EventRow(
        created=now(session),
        actor=actor,
        kind=kind,
        case=case,
        version=version,
        model=model,
        detail=dict(detail or {}),
    )
    session.add(row)
    session.info[_LAST] = row


def last_event(session: Session) -> tuple[Any, ...] | None:
    """What tells the event that a change wrote last from all others; None if it wrote none."""
    row: EventRow | None = session.info.get(_LAST)
    return None if row is None else _identity(row)


def same_event(session: Session, event: tuple[Any, ...]) -> bool:
    """Whether the event that `last_event` told of is there."""
    row = session.get(EventRow, event[0])
    return row is not None and _identity(row) == event


def _identity(row: EventRow) -> tuple[Any, ...]:
    return (row.id, row.created, row.actor, row.kind, row.case, row.version, row.model)


def case_records(session: Session, rows: Iterable[CaseRow]) -> list[CaseRecord]:
    """Cases with what the other tables say of them: two queries, however many cases."""
    rows = list(rows)
    newest: dict[int, tuple[str, int]] = {}
    numbers = select(VersionRow.case_id, func.max(VersionRow.number).label("number"))
    if len(rows) <= _FEW:
        numbers = numbers.where(VersionRow.case_id.in_([row.id for row in rows]))
    last = numbers.group_by(VersionRow.case_id).subquery()
    for identity, case_id, number in session.execute(
        select(VersionRow.id, VersionRow.case_id, VersionRow.number).join(
            last, (VersionRow.case_id == last.c.case_id) & (VersionRow.number == last.c.number)
        )
    ):
        newest[case_id] = (identity, number)
    claims = {
        row.case_id: row for row in session.scalars(select(ClaimRow).where(in_force(session)))
    }
    return [_case(row, newest.get(row.id), claims.get(row.id)) for row in rows]


def _case(row: CaseRow, newest: tuple[str, int] | None, claim: ClaimRow | None) -> CaseRecord:
    geometry, to_native = geometry_from_json(row.geometry)
    return CaseRecord(
        name=row.name,
        patient=row.patient.pseudonym,
        geometry=geometry,
        to_native=to_native,
        state=State(row.state),
        comment=row.comment,
        difficulty=None if row.difficulty is None else Difficulty(row.difficulty),
        added=row.added,
        accepted=row.accepted_id,
        accepted_slices=numbers_from(row.accepted_slices),
        newest=newest[0] if newest else None,
        claimed_by=claim.author if claim else "",
        versions=newest[1] if newest else 0,
        claimed_until=claim.until if claim else None,
    )


def version_record(row: VersionRow) -> LabelVersion:
    """A label version."""
    return LabelVersion(
        id=row.id,
        case=row.case.name,
        number=row.number,
        sha256=row.sha256,
        author=row.author,
        created=row.created,
        parent=row.parent_id,
        merged=row.merged_id,
        kind=Kind(row.kind),
        model=row.model,
        reviewed=numbers_from(row.reviewed),
        edited_voxels=row.edited_voxels,
        minutes=row.minutes,
        comment=row.comment,
        set_aside=row.set_aside,
    )


def review_record(row: ReviewRow, case: str) -> Review:
    """A reader's decision."""
    return Review(
        case=case,
        version=row.version_id,
        reader=row.reader,
        decision=Decision(row.decision),
        comment=row.comment,
        difficulty=None if row.difficulty is None else Difficulty(row.difficulty),
        reviewed=numbers_from(row.reviewed),
        created=row.created,
    )


def event_record(row: EventRow) -> Event:
    """An event."""
    return Event(
        row.id, row.created, row.actor, row.kind, row.case, row.version, row.model, row.detail
    )
