"""The index of a store, wherever it lies: how it is made, opened and brought up to date."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Connection, select, update
from sqlalchemy.orm import Session

from napari_covseg.cases.index_errors import IndexMoved
from napari_covseg.cases.place import ServerPlace, keep_place, place_of
from napari_covseg.cases.postgres import PostgresIndex
from napari_covseg.cases.schema import (
    COMING,
    SCHEMA_VERSION,
    CaseRow,
    MetaRow,
    check_version,
    schema_told,
)
from napari_covseg.cases.sqlite import SqliteIndex
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError

MIGRATIONS: Mapping[int, Callable[[Connection], None]] = MappingProxyType({})
"""What brings a store of the version that is the key to the next one; all in one transaction."""
_TRIES = 3


class Database:
    """The index of one store. Where it lies is looked up at each call, for it may be moved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def create(cls, folder: Path, place: ServerPlace | None = None) -> Database:
        """A new, empty index of an existing folder, in it or on a server; whole or not at all.

        Raises
        ------
        UsageError
            If there is an index at this place already.
        ResourceError, InputError
            If the folder cannot be written to, or the server does not let us.
        """
        if place is None:
            with SqliteIndex.coming(folder) as index, index.session(write=True) as session:
                _fill(session, str(SCHEMA_VERSION))
        else:
            place = replace(place, store=secrets.token_hex(8))
            with PostgresIndex(folder.name, place).coming(_is_empty) as session:
                _fill(session, f"{COMING}{SCHEMA_VERSION}")
                session.add(MetaRow(key="store", value=place.store))
            keep_place(folder, place)
        made = cls(folder)
        made.bring_up_to_date()
        return made

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the index.

        Raises
        ------
        InputError
            If the folder is gone or the index is damaged.
        ResourceError
            If the index is locked for long, or the server does not answer.
        """
        with ExitStack() as stack:
            yield self._entered(stack, write=False)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that alone may write; committed at the end of the block, or not at all.

        Raises
        ------
        InputError, ResourceError
            As `read`; also if the folder may not be written to or the disk is full.
        """
        with ExitStack() as stack:
            yield self._entered(stack, write=True)

    def _entered(self, stack: ExitStack, *, write: bool) -> Session:
        for _ in range(_TRIES):
            place = place_of(self._folder)
            with suppress(IndexMoved):
                session = stack.enter_context(_index(self._folder, place).session(write=write))
                # Who waited for the lock may have waited for the index to be moved.
                if not write or place_of(self._folder) == place:
                    return session
                stack.close()
        raise ResourceError(
            f"{self._folder.name}: the index is being moved; try again when that is done"
        )

    def bring_up_to_date(self) -> None:
        """Check the version of the schema; an older one is migrated.

        Raises
        ------
        InputError
            If a newer version of the program made the store, or it is no store.
        """
        with self.read() as session:
            told = schema_told(session)
            version = self._version(told)
        if told is not None and told.startswith(COMING):
            # Whoever made it was stopped before saying that it is whole. Who may not say it in his
            # place can use it all the same.
            with suppress(CovsegError), self.write() as session:
                _set_version(session, version)
        if version == SCHEMA_VERSION:
            return
        with self.write() as session:
            # Another program may have done it while this one waited for the lock.
            for old in range(self._version(schema_told(session)), SCHEMA_VERSION):
                MIGRATIONS[old](session.connection())
                _set_version(session, old + 1)

    def _version(self, told: str | None) -> int:
        name = self._folder.name
        version = check_version(told, name, _index(self._folder, place_of(self._folder)).told)
        if any(old not in MIGRATIONS for old in range(version, SCHEMA_VERSION)):
            raise InputError(f"{name}: store version {version} is too old for this program")
        return version


def _index(folder: Path, place: ServerPlace | None) -> SqliteIndex | PostgresIndex:
    return SqliteIndex(folder) if place is None else PostgresIndex(folder.name, place)


def _fill(session: Session, version: str) -> None:
    session.add(MetaRow(key="schema", value=version))
    session.add(MetaRow(key="salt", value=secrets.token_hex(16)))


def _is_empty(session: Session) -> bool:
    """Whether an index is what an interrupted `Database.create` leaves."""
    told = schema_told(session) or ""
    return told.startswith(COMING) and session.scalar(select(CaseRow.id).limit(1)) is None


def _set_version(session: Session, version: int) -> None:
    session.execute(update(MetaRow).where(MetaRow.key == "schema").values(value=str(version)))
