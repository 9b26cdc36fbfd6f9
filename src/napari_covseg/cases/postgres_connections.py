"""Connections to PostgreSQL databases: one for each process is kept for the next call."""

from __future__ import annotations

import os
import threading
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import QueuePool

from napari_covseg.cases.place import ServerPlace
from napari_covseg.domain.errors import InputError

BUSY_SECONDS = 30
IDLE_SECONDS = 300
"""A computer that fell asleep while it held the lock loses it after this long."""
CONNECT_SECONDS = 5
_KEPT, _MORE, _RENEWED_AFTER_S = 1, 7, 600
_GONE_AFTER = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
"""The server notices within half a minute that a computer vanished, and takes its lock away."""

_engines: dict[str, Engine] = {}
_guard = threading.Lock()


def driver() -> Any:
    """The driver, ``psycopg``.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import psycopg
    except ImportError:
        raise InputError(
            "the index of this store lies on a PostgreSQL server, and what talks to it is not "
            "installed: pip install 'napari-covseg[postgres]'"
        ) from None
    return psycopg


def engine_of(place: ServerPlace) -> Engine:
    """The connections to the database of a place.

    Raises
    ------
    InputError
        If the driver is not installed, or does not understand the address.
    """
    with _guard:
        if place.url not in _engines:
            _engines[place.url] = _engine(place)
        return _engines[place.url]


def _engine(place: ServerPlace) -> Engine:
    psycopg = driver()
    settings = {
        "lock_timeout": f"{BUSY_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        **_GONE_AFTER,
    }
    try:
        wanted = psycopg.conninfo.conninfo_to_dict(place.url)
    except psycopg.Error:
        raise InputError(f"{place.told}: the address is not one that PostgreSQL knows") from None
    wanted = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "napari-covseg",
        **wanted,
        "client_encoding": "UTF8",
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }

    def connect() -> Any:
        # Beginning and ending are ours (`PostgresIndex`): one message each. Nothing is prepared,
        # so that a pooler between us and the server does no harm.
        return psycopg.connect(**wanted, autocommit=True, prepare_threshold=None)

    return create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=_KEPT,
        max_overflow=_MORE,
        pool_recycle=_RENEWED_AFTER_S,
        use_native_hstore=False,
        hide_parameters=True,
    )


def _after_fork() -> None:
    """A connection must not be shared with the parent."""
    global _guard
    _guard = threading.Lock()
    for engine in _engines.values():
        engine.dispose(close=False)
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
