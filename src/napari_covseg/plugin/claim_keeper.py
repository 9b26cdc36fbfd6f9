"""Keeps the case that stands in the viewer for its annotator, as long as it stands there."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.cases.records import CaseTaken
from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari_covseg.plugin.desk import Desk, Served

RENEW_AFTER_S = 900.0
"""Well before a claim runs out (`napari_covseg.cases.claims.CLAIM_MINUTES`)."""


def renew_steps(folder: Path, case: str, author: str) -> Steps[str]:
    """Renew the claim on a case; says who has it instead, empty if nobody has.

    Raises
    ------
    CovsegError
        If the store is not there or may not be written to.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, f"keeping {case}")
    store = CaseStore.open(folder)
    try:
        store.claim(case, author)
    except CaseTaken:
        return store.case(case).claimed_by
    return ""


class ClaimKeeper:
    """Renews claims in a thread.

    Parameters
    ----------
    desk
        Where the case is.
    author
        Who works here, empty if nobody said.
    tell
        Takes what the annotator should know of the case: that somebody else has it now. Empty when
        that is over.
    """

    def __init__(self, desk: Desk, author: Callable[[], str], tell: Callable[[str], None]) -> None:
        self._desk, self._author, self._tell = desk, author, tell
        self.runner = Runner()
        self._served: Served | None = None
        self._at = 0.0
        self._told = False

    def look(self) -> None:
        """Renew the claim if it is time; to be called now and then."""
        served, author = self._desk.served, self._author()
        if served is None or self._served is None or served.ct is not self._served.ct:
            # Whoever opened it has claimed it just now.
            self._served, self._at, self._told = served, time.monotonic(), False
            return
        if time.monotonic() - self._at < RENEW_AFTER_S or self.runner.busy or not author:
            return
        self._at = time.monotonic()
        callbacks = Callbacks(
            progress=lambda step: None,
            result=partial(self._on_renewed, served),
            error=_unless_ours,
            cancelled=lambda: None,
        )
        self.runner.start(partial(renew_steps, served.store, served.record.name, author), callbacks)

    def _on_renewed(self, served: Served, holder: str) -> None:
        now = self._desk.served
        if now is None or now.ct is not served.ct:
            return
        if holder:
            self._tell(
                f"{holder} has taken {served.record.name} into work since your time was up; what "
                "you save will stand beside theirs"
            )
        elif self._told:
            self._tell("")
        self._told = bool(holder)


def _unless_ours(error: Exception) -> None:
    """A store that cannot be reached now is told of when something is to be saved in it."""
    if not isinstance(error, CovsegError):
        raise error
