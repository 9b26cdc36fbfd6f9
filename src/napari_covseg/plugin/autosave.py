"""The draft of a correction: saved by itself, offered again after a crash."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.editing.draft import SUFFIX, Draft, fingerprint, read_draft, write_draft
from napari_covseg.plugin.layers import placement_of
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Image

QUIET_MS = 4000
"""A draft is saved this long after the last edit,"""
LONGEST_S = 30.0
"""and after this long in any case."""


def drafts_folder() -> Path:
    """Where drafts lie: the user's data folder, since a CT's own may be read-only."""
    from platformdirs import user_data_path

    return user_data_path("napari-covseg", appauthor=False) / "drafts"


def draft_path(ct: Image) -> Path:
    """The draft of a CT, there or not."""
    placement = placement_of(ct)
    assert placement is not None
    return drafts_folder() / (fingerprint(ct.data, placement.geometry) + SUFFIX)


class Autosave:
    """Keeps the draft of one correction.

    Parameters
    ----------
    ct
        The CT that is corrected.
    snapshot
        Copies what is to be saved.
    told
        Called after the draft was saved (None) or could not be (why).
    """

    def __init__(
        self, ct: Image, snapshot: Callable[[], Draft], told: Callable[[Exception | None], None]
    ) -> None:
        self.path = draft_path(ct)
        self._older: Path | None = self.path if self.path.is_file() else None
        self._shape = ct.data.shape
        self._snapshot, self._told = snapshot, told
        self.saved_at: datetime | None = None
        """When the draft was last written; None where it was not, or is not needed any more."""
        self._runner = Runner()
        self._since: float | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(QUIET_MS)
        self._timer.timeout.connect(self.save)

    @property
    def older(self) -> datetime | None:
        """When the draft was saved that is yet to be restored or discarded; None without one."""
        if self._older is not None:
            with suppress(OSError):
                return datetime.fromtimestamp(self._older.stat().st_mtime)
        return None

    @property
    def busy(self) -> bool:
        """Whether a draft is being written."""
        return self._runner.busy

    def take_older(self) -> Draft:
        """The draft that was there before; it stays on disk until the next one is written.

        Raises
        ------
        InputError
            As `napari_covseg.editing.draft.read_draft`.
        """
        draft = read_draft(self._older or self.path, self._shape)
        self._older = None
        return draft

    def discard_older(self) -> None:
        """Delete the draft that was there before."""
        if self._older is not None:
            with suppress(OSError):
                self._older.unlink()
        self._older = None

    def _make_way(self) -> None:
        """A draft that nobody has decided on is not written over by work begun beside it."""
        if self._older == self.path:
            aside = self.path.with_suffix(".older")
            with suppress(OSError):
                self.path.replace(aside)
                self._older = aside

    def touch(self) -> None:
        """Something was edited."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since < LONGEST_S:
            self._timer.start()
        elif not self._runner.busy:
            self.save()

    def save(self) -> None:
        """Write the draft in a thread."""
        if self._runner.busy:
            self._timer.start()
            return
        self._timer.stop()
        self._since = None
        self._make_way()
        draft, path = self._snapshot(), self.path

        def steps() -> Steps[Path]:
            yield Progress(0, 1, "saving the draft")
            return write_draft(path, draft)

        self._runner.start(
            steps,
            Callbacks(
                progress=lambda step: None,
                result=self._on_saved,
                error=self._told,
                cancelled=lambda: None,
            ),
        )

    def _on_saved(self, _path: Path) -> None:
        self.saved_at = datetime.now()
        self._told(None)

    def finish(self) -> None:
        """Write what is not yet written, now; nothing is told any more."""
        self._timer.stop()
        unsaved = self._since is not None or self._runner.busy
        self._runner.abandon()
        self._since = None
        if unsaved:
            self._make_way()
            with suppress(CovsegError):
                write_draft(self.path, self._snapshot())

    def discard(self) -> None:
        """Delete the draft: what it held was saved elsewhere."""
        self._timer.stop()
        self._runner.abandon()
        self._since = self.saved_at = None
        if self._older != self.path:
            with suppress(OSError):
                self.path.unlink()
