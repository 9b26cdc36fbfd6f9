"""An index moves: from a store's folder to a PostgreSQL server, or back.

The new index is made, filled and compared in one change, while the lock of the old one keeps all
writers waiting. Then the folder names the new one: this is the moment that counts. Stopped before
it, nothing has happened; stopped after it, the move is done. At last the old one is marked, so
that who waited for its lock looks again; it is kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert, select, update
from sqlalchemy.orm import Session

from napari_covseg.cases.author import check_author
from napari_covseg.cases.database import Database
from napari_covseg.cases.place import (
    FILE,
    SQLITE,
    ServerPlace,
    checked_place,
    forget_place,
    holds_store,
    keep_place,
    place_of,
)
from napari_covseg.cases.postgres import PostgresIndex, go_on_counting
from napari_covseg.cases.rows import in_force, log
from napari_covseg.cases.schema import (
    COMING,
    MOVED,
    SCHEMA_VERSION,
    Base,
    CaseRow,
    ClaimRow,
    MetaRow,
    VersionRow,
    schema_told,
)
from napari_covseg.cases.sqlite import SqliteIndex
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError, UsageError

_AT_ONCE = 500
_OF_THE_PLACE = ("schema", "store")
"""Facts that are about where an index lies, and do not move with it."""


@dataclass(frozen=True, slots=True)
class Move:
    """What was moved: how many rows, where they are now, and what is left of the old index."""

    rows: int
    now: str
    before: str


def move_index(folder: Path, to: str, *, schema: str | None = None, author: str) -> Move:
    """Move the index of a store. ``to`` is ``sqlite`` or the address of a PostgreSQL database.

    Raises
    ------
    UsageError
        If the index lies there already, or another one does.
    InputError
        If this is no store, or others have cases of it in work.
    ResourceError
        If others write to it, the server does not answer, or the disk is full.
    """
    author = check_author(author)
    if not holds_store(folder):
        raise InputError(f"{folder.name}: no case store here")
    Database(folder).bring_up_to_date()
    place = place_of(folder)
    if to == SQLITE:
        if place is None:
            raise UsageError(f"{folder.name}: the index lies in the store's folder already")
        return _to_folder(folder, place, author)
    wanted = checked_place(to, schema)
    if place is not None:
        raise UsageError(f"{folder.name}: the index lies on a server; move it --to sqlite first")
    return _to_server(folder, replace(wanted, store=secrets.token_hex(8)), author)


def _to_server(folder: Path, place: ServerPlace, author: str) -> Move:
    rows = 0
    try:
        with SqliteIndex(folder).session(write=True) as old:
            _check_free(old, folder.name, author)
            salt = _fact(old, "salt")

            def left_over(there: Session) -> bool:
                told = schema_told(there) or ""
                return told.startswith(COMING) and _fact(there, "salt") == salt

            with PostgresIndex(folder.name, place).coming(left_over) as new:
                _set_fact(new, "schema", f"{COMING}{SCHEMA_VERSION}")
                _set_fact(new, "store", place.store)
                rows = _copy(old, new, folder.name)
                go_on_counting(new)
                _tell(new, author, place.told)
            keep_place(folder, place)
            _set_fact(old, "schema", MOVED)
    except CovsegError:
        if place_of(folder) is None:
            raise
    Database(folder).bring_up_to_date()
    return Move(rows, f"{place.told}, schema {place.schema}", _put_away(folder))


def _to_folder(folder: Path, place: ServerPlace, author: str) -> Move:
    rows = 0
    try:
        with PostgresIndex(folder.name, place).session(write=True) as old:
            _check_free(old, folder.name, author)
            _put_away(folder)
            with SqliteIndex.coming(folder) as made, made.session(write=True) as new:
                _set_fact(new, "schema", str(SCHEMA_VERSION))
                rows = _copy(old, new, folder.name)
                _tell(new, author, FILE)
            forget_place(folder)
            _set_fact(old, "schema", MOVED)
    except CovsegError:
        if place_of(folder) is not None:
            raise
    return Move(rows, FILE, f"schema {place.schema} of {place.told}")


def _check_free(session: Session, name: str, author: str) -> None:
    """Nobody else may have a case in work: they would look for the old index meanwhile."""
    query = (
        select(CaseRow.name, ClaimRow.author, ClaimRow.until)
        .join(CaseRow, CaseRow.id == ClaimRow.case_id)
        .where(in_force(session), ClaimRow.author != author)
        .order_by(CaseRow.id)
    )
    held = session.execute(query).first()
    if held is not None:
        raise InputError(
            f"{name}: {held[1]} has {held[0]} in work until {held[2]:%H:%M} UTC; move the index "
            "when nobody works with it"
        )


def _copy(old: Session, new: Session, name: str) -> int:
    """All rows, compared when they are there; returns how many."""
    count = 0
    for table in Base.metadata.sorted_tables:
        rows = [row for row in _rows(old, table) if row.get("key") not in _OF_THE_PLACE]
        for start in range(0, len(rows), _AT_ONCE):
            new.execute(insert(table), rows[start : start + _AT_ONCE])
        there = [row for row in _rows(new, table) if row.get("key") not in _OF_THE_PLACE]
        if there != rows:
            raise ResourceError(
                f"{name}: what was written to the new index is not what the old one holds "
                f"({table.name}); nothing was moved"
            )
        count += len(rows)
    return count


def _rows(session: Session, table: Table) -> Iterator[dict[str, Any]]:
    # A version stands behind the one it was made from.
    order = (
        (VersionRow.case_id, VersionRow.number)
        if table is VersionRow.__table__
        else tuple(table.primary_key.columns)
    )
    for row in session.execute(select(table).order_by(*order)):
        yield dict(row._mapping)


def _fact(session: Session, key: str) -> str | None:
    return session.scalar(select(MetaRow.value).where(MetaRow.key == key))


def _set_fact(session: Session, key: str, value: str) -> None:
    if _fact(session, key) is None:
        session.execute(insert(MetaRow).values(key=key, value=value))
    else:
        session.execute(update(MetaRow).where(MetaRow.key == key).values(value=value))


def _tell(session: Session, author: str, place: str) -> None:
    log(session, author, "index moved", detail={"to": place})
    session.flush()


def _put_away(folder: Path) -> str:
    """Another name for an index in the folder that is none any more; empty if there is none."""
    file = folder / FILE
    kept = folder / f"covseg-{datetime.now(UTC):%Y%m%dT%H%M%S}.sqlite.moved"
    try:
        file.rename(kept)
    except OSError:
        # It says itself that it was moved, and the folder names the other one.
        return FILE if file.exists() else ""
    return kept.name
