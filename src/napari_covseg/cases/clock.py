"""What time it is: the server's where there is one, so that no annotator's clock decides."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

_TOLD = "clock"


def now(session: Session | None = None) -> datetime:
    """The time in UTC: of the server that a session talks to, else of this computer."""
    told = None if session is None else session.info.get(_TOLD)
    if told is None:
        return datetime.now(UTC)
    server, here = told
    moment: datetime = server + timedelta(seconds=time.monotonic() - here)
    return moment


def set_clock(session: Session, server: datetime) -> None:
    """The server has just said what time it is."""
    session.info[_TOLD] = (server, time.monotonic())
