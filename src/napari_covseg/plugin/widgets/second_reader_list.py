"""The list of cases that wait for a second reader."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from napari_covseg.cases.author import known_author
from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin.review_texts import shortened
from napari_covseg.plugin.review_waiting import Listed, Shown, listing_steps
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.second_reader_texts import empty_text, row_of
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari_covseg.plugin.desk import Desk
    from napari_covseg.plugin.widgets.second_reader_view import QueuePage


class CaseList:
    """Ties `QueuePage` to the store on the desk; ``changed`` is called when the list did."""

    def __init__(self, desk: Desk, page: QueuePage, changed: Callable[[], None]) -> None:
        self._desk, self._page, self._changed = desk, page, changed
        self._runner = Runner()
        self._error = ""
        self.listed: list[Listed] = []

    @property
    def busy(self) -> bool:
        """Whether it is being read."""
        return self._runner.busy

    @property
    def shown(self) -> Shown:
        """Which cases are listed."""
        return Shown(self._page.shown.currentText())

    @property
    def waiting(self) -> list[Listed] | None:
        """What waits for review, the next one first; None where something else is listed."""
        return self.listed if self.shown is Shown.WAITING else None

    def stop(self) -> None:
        """Forget what is being read."""
        self._runner.abandon()

    def refresh(self) -> None:
        """Read it anew, in a thread."""
        store = self._desk.store
        if store is None:
            self._runner.abandon()
            self._take([])
            return
        self._runner.start(
            partial(listing_steps, store, reader_known(), self.shown),
            Callbacks(
                progress=lambda step: None,
                result=self._take,
                error=self._on_error,
                cancelled=lambda: None,
            ),
        )

    def _take(self, listed: list[Listed]) -> None:
        self.listed, self._error = listed, ""
        self.show()

    def _on_error(self, error: Exception) -> None:
        self.listed, self._error = [], str(error) if isinstance(error, CovsegError) else ""
        self.show()
        if not self._error:
            tell_error(error)

    def show(self) -> None:
        """Write it into the page."""
        page, store = self._page, self._desk.store
        page.store.setText(f"Dataset: {store.name}" if store else "")
        page.store.setVisible(store is not None)
        for part in page.parts:
            part.setVisible(store is not None)
        reader = reader_known()
        page.reader.setText(f"Reader: {shortened(reader)}" if reader else "Reader: …")
        page.table.show_rows([row_of(one) for one in self.listed])
        page.table.setVisible(bool(self.listed))
        page.open.setVisible(bool(self.listed))
        text = self._error or empty_text(store is not None, self.shown, bool(self.listed))
        page.empty.setText(text)
        page.empty.setVisible(bool(text))
        self._changed()


def reader_known() -> str | None:
    """Who reads, if that is known; a name that is no good counts as none."""
    try:
        return known_author()
    except CovsegError:
        return None
