"""The index ``covseg.sqlite``: how it is opened, locked, brought up to date, and what it says.

The journal is a rollback journal (DELETE) with synchronous EXTRA, wherever the folder lies: WAL
needs memory shared by all readers, which a network share has not, and a store moves between both.
A writer takes the lock when it begins, so that what it has read cannot change before it writes.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from napari_covseg.cases.schema import SCHEMA_VERSION, Base, MetaRow
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError

FILE = "covseg.sqlite"
BUSY_SECONDS = 30.0
MIGRATIONS: Mapping[int, Callable[[Connection], None]] = MappingProxyType({})
"""What brings a store of the version that is the key to the next one; all in one transaction."""


class Database:
    """The index of one store. Holds no connection between calls, so a folder can be moved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / FILE
        self._engine = _engine(self._file)

    @classmethod
    def create(cls, folder: Path) -> Database:
        """A new, empty index in an existing folder; it has its name only when it is whole."""
        temporary = folder / f".{FILE}.{secrets.token_hex(4)}.tmp"
        try:
            temporary.touch()
            made = cls(folder)
            with made._errors():
                engine = _engine(temporary)
                with engine.execution_options(write=True).begin() as connection:
                    Base.metadata.create_all(connection)
                with Session(engine.execution_options(write=True)) as session, session.begin():
                    session.add(MetaRow(key="schema", value=str(SCHEMA_VERSION)))
                    session.add(MetaRow(key="salt", value=secrets.token_hex(16)))
            temporary.rename(folder / FILE)
        except OSError as error:
            raise ResourceError(
                f"{folder.name}: the store cannot be made here ({error.strerror})"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)
        return made

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the index.

        Raises
        ------
        InputError
            If the folder is gone or the index is damaged.
        ResourceError
            If the index is locked for long.
        """
        with self._errors(), Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that alone may write; committed at the end of the block, or not at all.

        Raises
        ------
        InputError, ResourceError
            As `read`; also if the folder may not be written to or the disk is full.
        """
        with (
            self._errors(),
            Session(self._engine.execution_options(write=True)) as session,
            session.begin(),
        ):
            yield session

    def bring_up_to_date(self) -> None:
        """Check the version of the schema; an older one is migrated.

        Raises
        ------
        InputError
            If a newer version of the program made the store, or it is no store.
        """
        with self.read() as session:
            version = _version(session, self._folder.name)
        if version == SCHEMA_VERSION:
            return
        with self.write() as session:
            # Another program may have done it while this one waited for the lock.
            for old in range(_version(session, self._folder.name), SCHEMA_VERSION):
                MIGRATIONS[old](session.connection())
                session.execute(
                    MetaRow.__table__.update()  # type: ignore[attr-defined]
                    .where(MetaRow.key == "schema")
                    .values(value=str(old + 1))
                )

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
        if "locked" in text:
            return ResourceError(f"{name}: another program is writing to this store; try again")
        if "readonly" in text or "read-only" in text:
            return ResourceError(f"{name}: the case store may not be written to; nothing was saved")
        if "full" in text:
            return ResourceError(f"{name}: the disk is full; nothing was saved")
        if "malformed" in text or "not a database" in text or "no such table" in text:
            return InputError(
                f"{name}: {FILE} is damaged; restore it from a copy (label files in versions/ are "
                "untouched)"
            )
        if isinstance(error.orig, sqlite3.IntegrityError) and "never changed" in text:
            return InputError(f"{name}: {text}")
        return ResourceError(f"{name}: {FILE} cannot be used ({text})")


def _version(session: Session, name: str) -> int:
    found = session.scalar(select(MetaRow.value).where(MetaRow.key == "schema"))
    if found is None or not found.isdecimal():
        raise InputError(f"{name}: {FILE} is damaged: it does not say its version")
    version = int(found)
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{name}: this case store was made by a newer napari-covseg (store version {version}, "
            f"this program knows {SCHEMA_VERSION}); update the program"
        )
    if any(old not in MIGRATIONS for old in range(version, SCHEMA_VERSION)):
        raise InputError(f"{name}: store version {version} is too old for this program")
    return version


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
