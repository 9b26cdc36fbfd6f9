"""Where the history of a case forks: two readers started from one version and both saved."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_covseg.cases.records import Kind
from napari_covseg.cases.schema import VersionRow


def open_branches(session: Session, version: VersionRow) -> list[VersionRow]:
    """`branches_of`, among all versions of the case."""
    rows = session.scalars(
        select(VersionRow).where(VersionRow.case_id == version.case_id).order_by(VersionRow.number)
    )
    return branches_of(version, list(rows))


def branches_of(version: VersionRow, rows: Sequence[VersionRow]) -> list[VersionRow]:
    """Ends of history beside ``version`` that are a person's work and not settled, oldest first.

    Of the same author only finished versions newer than the parent count: a draft they did not
    take up again is given up, not forgotten. ``rows`` are all versions of the case by number.
    """
    by_id = {row.id: row for row in rows}
    continued = {key for row in rows for key in (row.parent_id, row.merged_id) if key}
    known = _ancestors(version, by_id)
    start = by_id[version.parent_id].number if version.parent_id else 0
    return [
        row
        for row in rows
        if row.id not in continued
        and row.id not in known
        and not row.set_aside
        and row.kind != Kind.PREDICTION
        and (row.author != version.author or (row.kind != Kind.DRAFT and row.number > start))
    ]


def _ancestors(version: VersionRow, by_id: dict[str, VersionRow]) -> set[str]:
    """The version itself and all it was made from."""
    found: set[str] = set()
    waiting = [version.id]
    while waiting:
        identity = waiting.pop()
        if identity not in found:
            found.add(identity)
            row = by_id[identity]
            waiting += [key for key in (row.parent_id, row.merged_id) if key]
    return found
