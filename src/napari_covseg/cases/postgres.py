"""The index in a schema of a PostgreSQL server (13 or newer).

All writers of a store take one lock of the server when they begin, as they do with SQLite: so what
one has read cannot change before it writes, and no two can wait for each other. Beginning, lock,
version and the server's time are one message, because each costs a way there and back. A
connection that died is noticed at the beginning, where it does no harm to try again; where the end
of a change was not heard, the server is asked what came of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Integer, func, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from napari_covseg.cases.clock import set_clock
from napari_covseg.cases.index_errors import IndexMoved, Undecided
from napari_covseg.cases.place import ServerPlace
from napari_covseg.cases.postgres_connections import driver, engine_of
from napari_covseg.cases.postgres_errors import is_gone, may_answer_later, ours
from napari_covseg.cases.rows import last_event, same_event
from napari_covseg.cases.schema import MOVED, Base, check_version
from napari_covseg.domain.errors import CovsegError, InputError, UsageError

RETRY_SECONDS = 8.0
"""A server that is started anew is waited for so long."""
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
"""Whatever the server is set to: who waited for the lock must see what was written meanwhile."""
_TOLD = (
    "SELECT (SELECT value FROM meta WHERE key = 'schema'), "
    "(SELECT value FROM meta WHERE key = 'store'), "
    "extract(epoch FROM clock_timestamp())::float8"
)

T = TypeVar("T")


class PostgresIndex:
    """The index on a server.

    Parameters
    ----------
    name
        Of the store's folder, for errors.
    place
        Where the tables lie.
    """

    def __init__(self, name: str, place: ServerPlace) -> None:
        self._name, self._place = name, place
        # The schema's name holds letters, digits and _ only (`checked_place`), and may be a word
        # of SQL.
        self._path = f'SET LOCAL search_path = "{place.schema}"'
        key = f"hashtextextended('napari-covseg {place.schema}', 0)"
        self._lock = f"{self._path}; SELECT pg_advisory_xact_lock({key})"

    @property
    def told(self) -> str:
        """Where it lies, for errors."""
        return self._place.told

    @contextmanager
    def coming(self, may_go: Callable[[Session], bool]) -> Iterator[Session]:
        """New, empty tables to be filled, all in one change; an index that was there is refused.

        Parameters
        ----------
        may_go
            Whether the tables that lie there are what an interrupted attempt left.

        Raises
        ------
        UsageError
            If the schema holds an index already.
        InputError, ResourceError
            As `session`; also if this user may not make tables.
        """
        schema = self._place.schema
        with self._begun(f"{_WRITE}; {self._lock}; SELECT NULL") as session:
            connection = session.connection()
            if schema not in inspect(connection).get_schema_names():
                session.execute(text(f'CREATE SCHEMA "{schema}"'))
            there = set(inspect(connection).get_table_names(schema=schema))
            if there & Base.metadata.tables.keys():
                if "meta" not in there or not may_go(session):
                    raise UsageError(
                        f"{self.told}: schema {schema} holds an index already; name another one "
                        "with --schema"
                    )
                Base.metadata.drop_all(connection)
            Base.metadata.create_all(connection)
            yield session

    @contextmanager
    def session(self, *, write: bool) -> Iterator[Session]:
        """One state of the index, or with ``write`` what is committed at the end of the block.

        Raises
        ------
        IndexMoved
            On entering: it lies elsewhere now.
        ConnectionLost
            If the server does not answer for `RETRY_SECONDS`, or went away within the block.
        Undecided
            If it went away at the end, and for `RETRY_SECONDS` did not say what came of it.
        InputError, ResourceError
            If it refuses: who asks, what is asked, or for want of space.
        """
        begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {self._path}; {_TOLD}"
        if write:
            begin = f"{_WRITE}; {self._lock}; {_TOLD}"
        with self._begun(begin, write=write) as session:
            version, store, clock = session.info["told"]
            if version == MOVED:
                raise IndexMoved
            check_version(version, self._name, self.told)
            if store != self._place.store:
                raise InputError(
                    f"{self._name}: {self.told} holds the index of another store in schema "
                    f"{self._place.schema}; restore the one that belongs to this folder"
                )
            set_clock(session, datetime.fromtimestamp(clock, UTC))
            yield session

    @contextmanager
    def _begun(self, begin: str, *, write: bool = True) -> Iterator[Session]:
        connection, told = self._retried(lambda: self._begin(begin))
        try:
            with Session(connection, join_transaction_mode="control_fully") as session:
                session.info["told"] = told
                try:
                    yield session
                    session.flush()
                except DBAPIError as error:
                    raise ours(error, self._name, self.told) from None
                if write:
                    self._commit(session)
        finally:
            # What the server has ended already cannot be ended once more.
            with suppress(DBAPIError):
                connection.close()

    def _begin(self, begin: str) -> tuple[Connection, tuple[Any, ...]]:
        connection = engine_of(self._place).connect()
        try:
            cursor = connection.connection.driver_connection.execute(begin)  # type: ignore[union-attr]
            while cursor.nextset():
                pass
            told = cursor.fetchone()
            # For SQLAlchemy; this sends nothing.
            connection.begin()
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        return connection, told

    def _commit(self, session: Session) -> None:
        event = last_event(session)
        try:
            session.commit()
        except DBAPIError as error:
            if not is_gone(error) or not self._was_kept(event):
                raise ours(error, self._name, self.told) from None

    def _was_kept(self, event: tuple[Any, ...] | None) -> bool:
        """What came of a change whose end was not heard: is the event there that it wrote last?

        The number of a transaction would not tell, since a server that crashed may give it to
        another one. What writes no event (a claim, scores) may be done twice.
        """
        if event is None:
            return False
        try:
            # Waits for the lock, which the change holds as long as it is not decided.
            with self.session(write=True) as session:
                return same_event(session, event)
        except (CovsegError, IndexMoved):
            raise Undecided(
                f"{self._name}: {self.told} went away at the end of the change and has not said "
                "what came of it; look before you do it once more"
            ) from None

    def _retried(self, act: Callable[[], T]) -> T:
        """Try to begin until the server answers."""
        until = time.monotonic() + RETRY_SECONDS
        trouble, wait = driver().Error, 0.1
        while True:
            try:
                return act()
            except (DBAPIError, trouble) as error:
                # Whatever was kept of connections is as dead as this one.
                engine_of(self._place).dispose()
                if not may_answer_later(error) or time.monotonic() + wait > until:
                    raise ours(error, self._name, self.told) from None
            time.sleep(wait)
            wait = min(2 * wait, 1.0)


def go_on_counting(session: Session) -> None:
    """Rows that came with their numbers do not move the sequences that number the next ones."""
    for table in Base.metadata.sorted_tables:
        (first, *others) = table.primary_key.columns
        if not others and isinstance(first.type, Integer) and not first.foreign_keys:
            last = select(func.coalesce(func.max(first), 0) + 1).scalar_subquery()
            sequence = func.pg_get_serial_sequence(table.name, first.name)
            session.execute(select(func.setval(sequence, last, False)))
