"""The index as ``covseg.sqlite`` in the store's folder.

The journal is a rollback journal (DELETE) with synchronous EXTRA, wherever the folder lies: WAL
needs memory shared by all readers, which a network share has not, and a store moves between both.
A writer takes the lock when it begins, so that what it has read cannot change before it writes.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from napari_covseg.cases.files import settle
from napari_covseg.cases.index_errors import IndexMoved, damaged, full, locked, read_only
from napari_covseg.cases.place import FILE
from napari_covseg.cases.schema import MOVED, Base, schema_told
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError

BUSY_SECONDS = 30.0
_LONGEST = 512
"""SQLite's own limit for a path."""


class SqliteIndex:
    """The index in a store's folder. Holds no connection between calls: a folder can be moved.

    Parameters
    ----------
    folder
        The store's folder.
    file
        The index, if it does not have its name yet.
    """

    told = FILE

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        self._folder = folder
        self._file = folder / FILE if file is None else file
        self._engine = _engine(self._file)

    @classmethod
    @contextmanager
    def coming(cls, folder: Path) -> Iterator[SqliteIndex]:
        """New, empty tables in an existing folder; they get their name at the end of the block.

        Raises
        ------
        ResourceError
            If the folder cannot be written to.
        """
        temporary = folder / f".{FILE}.{secrets.token_hex(4)}.tmp"
        try:
            temporary.touch()
            made = cls(folder, temporary)
            with made.session(write=True) as session:
                Base.metadata.create_all(session.connection())
            yield made
            settle(temporary, folder / FILE)
        except OSError as error:
            raise ResourceError(
                f"{folder.name}: the store cannot be made here ({error.strerror})"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def session(self, *, write: bool) -> Iterator[Session]:
        """One state of the index, or with ``write`` what is committed at the end of the block.

        Raises
        ------
        IndexMoved
            On entering for writing: it lies elsewhere now.
        InputError
            If the folder is gone or the index is damaged.
        ResourceError
            If it is locked for long, may not be written to, or the disk is full.
        """
        with self._errors():
            if not write:
                with Session(self._engine) as session:
                    yield session
                return
            engine = self._engine.execution_options(write=True)
            with Session(engine) as session, session.begin():
                session.connection()
                # Who waited for the lock may have waited for the index to be moved. A new one has
                # no tables yet.
                if self._file.name == FILE and schema_told(session) == MOVED:
                    raise IndexMoved
                yield session

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._ours(error) from None

    def _ours(self, error: DBAPIError) -> CovsegError:
        name, text = self._folder.name, str(error.orig)
        if not self._file.is_file():
            return InputError(
                f"{name}: the folder of the case store is gone (moved, or its drive is not "
                "connected); bring it back and try again"
            )
        if "unable to open" in text and _is_too_long(self._file):
            return InputError(
                f"{name}: the path to this case store is too long for its index (SQLite opens "
                f"{_LONGEST} bytes, with its journal); move the store to a shorter path, or keep "
                "the index on a server (covseg dataset init --index)"
            )
        if "locked" in text:
            return locked(name)
        if "readonly" in text or "read-only" in text:
            return read_only(name)
        if "full" in text:
            return full(name)
        if "malformed" in text or "not a database" in text or "no such table" in text:
            return damaged(name, FILE)
        if isinstance(error.orig, sqlite3.IntegrityError) and "never changed" in text:
            return InputError(f"{name}: {text}")
        return ResourceError(f"{name}: {FILE} cannot be used ({text})")


def _is_too_long(file: Path) -> bool:
    return len(os.fsencode(os.path.realpath(file))) + len("-journal") > _LONGEST


def _engine(file: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        # mode=rw: a store that vanished must not come back as an empty file.
        uri = f"{file.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _: object) -> None:
        for pragma in ("foreign_keys=ON", "journal_mode=DELETE", "synchronous=EXTRA"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
