"""Where the history of a case forks: two readers started from one version and both saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_covseg.cases.records import Kind, LabelVersion
from napari_covseg.cases.rows import version_record
from napari_covseg.cases.schema import VersionRow


def open_branches(session: Session, version: VersionRow) -> list[VersionRow]:
    """`branches_among` all versions of the case, as rows."""
    rows = session.scalars(
        select(VersionRow).where(VersionRow.case_id == version.case_id).order_by(VersionRow.number)
    )
    return branch_rows(version, list(rows))


def branch_rows(version: VersionRow, rows: Sequence[VersionRow]) -> list[VersionRow]:
    """`branches_among`, as rows. ``rows`` are all versions of the case by number."""
    history = [version_record(row) for row in rows]
    found = {one.id for one in branches_among(version_record(version), history)}
    return [row for row in rows if row.id in found]


def branches_among(version: LabelVersion, history: Sequence[LabelVersion]) -> list[LabelVersion]:
    """Ends of history beside ``version`` that are a person's work and not settled, oldest first.

    Of the same author only finished versions newer than the parent count: a draft they did not
    take up again is given up, not forgotten. ``history`` are all versions of the case by number.
    """
    by_id = {one.id: one for one in history}
    continued = {key for one in history for key in (one.parent, one.merged) if key}
    known = _ancestors(version, by_id)
    start = by_id[version.parent].number if version.parent else 0
    return [
        one
        for one in history
        if one.id not in continued
        and one.id not in known
        and not one.set_aside
        and one.kind is not Kind.PREDICTION
        and (one.author != version.author or (one.kind is not Kind.DRAFT and one.number > start))
    ]


def _ancestors(version: LabelVersion, by_id: Mapping[str, LabelVersion]) -> set[str]:
    """The version itself and all it was made from."""
    found: set[str] = set()
    waiting = [version.id]
    while waiting:
        identity = waiting.pop()
        if identity not in found:
            found.add(identity)
            one = by_id[identity]
            waiting += [key for key in (one.parent, one.merged) if key]
    return found
