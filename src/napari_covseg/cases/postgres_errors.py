"""What PostgreSQL and its driver say, in our words: one line, no values, never a password."""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError

from napari_covseg.cases import index_errors
from napari_covseg.cases.index_errors import ConnectionLost
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError

_LATER = re.compile(
    r"refused|no such file|time ?d? ?out|closed the connection|unreachable|reset by peer|"
    r"starting up|shutting down|terminating connection|not yet accepting|recovery mode|"
    r"too many|remaining connection slots|connection is (lost|closed)|connection .*closed|"
    r"could not translate|name or service|name resolution|no route|broken pipe|could not receive|"
    r"eof detected|consuming input failed",
    re.IGNORECASE,
)
_GONE = ("08", "57P", "25P03")
_LATER_STATES = ("08", "57P", "25P03", "53300")
_WHO = "say who you are by PGUSER, and your password by PGPASSWORD or ~/.pgpass"


def is_gone(error: BaseException) -> bool:
    """Whether the connection broke, in the middle of whatever it was."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # Without a state it is the driver that speaks, not the server.
    state = _state(error)
    return state.startswith(_GONE) if state else bool(_LATER.search(_text(error)))


def may_answer_later(error: BaseException) -> bool:
    """Whether trying to begin once more may help: a server that is down, starting or crowded."""
    state = _state(error)
    return state.startswith(_LATER_STATES) if state else bool(_LATER.search(_text(error)))


def ours(error: BaseException, name: str, told: str) -> CovsegError:
    """The error for the user; ``name`` is of the store's folder, ``told`` of the index."""
    state, said = _state(error), _text(error)
    if is_gone(error):
        return ConnectionLost(
            f"{name}: {told} does not answer ({said}); nothing was saved, try again when it does"
        )
    if state.startswith("28") or (not state and _is_about_entering(said)):
        return InputError(f"{name}: {told} lets you not in ({said}); {_WHO}")
    if state in ("42501", "25006"):
        return index_errors.read_only(name)
    if state == "55P03":
        return index_errors.locked(name)
    if state == "53100":
        return index_errors.full(name, "server's disk")
    if state in ("42P01", "3F000", "3D000", "42703"):
        return index_errors.damaged(name, told)
    if state.startswith("23") and "never changed" in said:
        return InputError(f"{name}: {said}")
    if state.startswith("22") or "NUL" in said:
        return InputError(f"{name}: {told} cannot keep such a text or number ({said})")
    return ResourceError(f"{name}: {told} cannot be used ({said})")


def _is_about_entering(said: str) -> bool:
    words = ("password", "pg_hba", "authentication", "role", "certificate", "permission denied")
    return any(word in said for word in words)


def _cause(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _state(error: BaseException) -> str:
    return str(getattr(_cause(error), "sqlstate", None) or "")


def _text(error: BaseException) -> str:
    """The first line of what was said, without details, which quote values."""
    cause = _cause(error)
    diagnosis = getattr(cause, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(cause)
    line = next(iter(said.strip().splitlines()), type(cause).__name__)
    return line.removeprefix("connection failed: ").rpartition("FATAL: ")[2].strip()
