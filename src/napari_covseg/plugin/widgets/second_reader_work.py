"""A second reader's work in a thread, one thing at a time, and the words about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.plugin.widgets.asking import agreed
from napari_covseg.plugin.widgets.author import author_or_ask
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari_covseg.plugin.widgets.second_reader_view import ReviewView


class ReviewWork:
    """What opening, deciding and joining have in common.

    ``changed`` is called when the button's words may no longer hold, ``refresh`` when the list
    has to be read anew.
    """

    def __init__(
        self,
        parent: QWidget,
        view: ReviewView,
        changed: Callable[[], None],
        refresh: Callable[..., None],
    ) -> None:
        self._parent, self._view = parent, view
        self.changed, self.refresh = changed, refresh
        self._runner = Runner()
        self.is_own_doing = False
        """Whether what the desk tells now is what was done here."""

    @property
    def busy(self) -> bool:
        """Whether anything is being read or written."""
        return self._runner.busy

    def abandon(self) -> None:
        """What runs has nowhere to go any more."""
        self._runner.abandon()

    def run(self, steps: Any, done: Callable[[Any], None]) -> None:
        """Do it in a thread, then ``done`` here; nothing if something else is being done."""
        if self._runner.busy:
            return
        callbacks = Callbacks(
            progress=lambda step: None,
            result=partial(self._end, done),
            error=self._on_error,
            cancelled=lambda: None,
        )
        self._runner.start(steps, callbacks)
        self.changed()

    def _end(self, done: Callable[[Any], None], result: Any) -> None:
        done(result)
        self.changed()

    def _on_error(self, error: Exception) -> None:
        tell_error(error)
        self.changed()
        if isinstance(error, InputError):
            self.refresh()

    def reader(self) -> str | None:
        """Who reads; asked once."""
        try:
            return author_or_ask(self._parent)
        except CovsegError as error:
            tell_error(error)
            return None

    @contextmanager
    def own_doing(self) -> Iterator[None]:
        """While this lasts, what the desk tells is no news."""
        self.is_own_doing = True
        try:
            yield
        finally:
            self.is_own_doing = False

    def tell(self, text: str) -> None:
        """Say what was just done."""
        self._view.state.setText(text)

    def agreed(self, question: str) -> bool:
        """Whether the reader says yes."""
        return agreed(self._parent, question)
