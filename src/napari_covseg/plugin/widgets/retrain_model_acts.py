"""What is done with a store's models: show, compare, promote, roll back and undo that."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.model_list import (
    ModelLine,
    Verdict,
    compare_steps,
    details_steps,
    promote_steps,
    rollback_steps,
)
from napari_covseg.plugin.widgets.author import author_or_ask
from napari_covseg.plugin.widgets.retrain_models import DetailsDialog
from napari_covseg.plugin.widgets.retrain_reason import ask_reason
from napari_covseg.plugin.widgets.retrain_verdict import sentence
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari_covseg.cases.gate import GateDecision
    from napari_covseg.plugin.widgets.retrain_view import RetrainView

UNDONE = "the rollback was undone"


class ModelActs:
    """Ties the list of models and the verdict to the store.

    Parameters
    ----------
    parent
        For dialogs.
    view
        Where the models stand.
    store
        The store in use.
    changed
        Called with what was done, after the store was changed.
    failed
        Called with an error.
    """

    def __init__(
        self,
        parent: QWidget,
        view: RetrainView,
        store: Callable[[], Path | None],
        changed: Callable[[str], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._parent, self._view, self._store = parent, view, store
        self._changed, self._failed = changed, failed
        self._runner, self._comparer = Runner(), Runner()
        self._taken_off = ""
        models = view.models
        models.details.clicked.connect(self.show_details)
        models.compare.clicked.connect(self.compare)
        models.promote.clicked.connect(self.promote_chosen)
        models.rollback.clicked.connect(self.roll_back)
        models.running.cancel.clicked.connect(self.cancel)
        view.verdict.promote.clicked.connect(self.promote_judged)
        view.undo.clicked.connect(self.undo)

    @property
    def busy(self) -> bool:
        """Whether anything is read, written or measured."""
        return self._runner.busy or self._comparer.busy

    def close(self) -> None:
        """Stop; nothing is shown any more."""
        self._runner.abandon()
        self._comparer.abandon()

    # Looking

    def show_details(self, *_: Any) -> None:
        """Open a window with all that is known of the selected model."""
        chosen, store = self._view.models.chosen(), self._store()
        if len(chosen) == 1 and store is not None:
            (line,) = chosen
            steps = partial(details_steps, store, line.key)
            self._start(self._runner, steps, partial(self._on_details, line))

    def _on_details(self, line: ModelLine, text: str) -> None:
        dialog = DetailsDialog(line.title, text, self._parent)
        dialog.finished.connect(dialog.deleteLater)
        dialog.show()

    def compare(self, *_: Any) -> None:
        """Measure two models on the held-out patients; nothing is promoted by this."""
        pair, store = self._view.models.pair(), self._store()
        author = self._author()
        if pair is None or store is None or author is None or self._comparer.busy:
            return
        old, new = pair
        options = self._view.options
        try:
            request = options.request(store, author)
        except CovsegError as error:
            self._failed(error)
            return
        self._view.models.show_busy(True)
        self._start(
            self._comparer,
            lambda: compare_steps(store, old.key, new.key, author, request.device, request.rule),
            partial(self._on_compared, old, new),
            self._on_progress,
        )

    def cancel(self, *_: Any) -> None:
        """Stop comparing."""
        self._view.models.running.show_cancelling()
        self._comparer.cancel()

    def _on_progress(self, step: Progress) -> None:
        self._view.models.running.show_progress(step, time.monotonic())

    def _on_compared(self, old: ModelLine, new: ModelLine, decision: GateDecision) -> None:
        self._view.models.show_busy(False)
        self._view.verdict.show_verdict(Verdict(old, new, decision, asked=True))
        self._changed("Compared; nothing was promoted.")

    # Changing which is live

    def promote_chosen(self, *_: Any) -> None:
        """Make the selected model live, with a reason."""
        chosen = self._view.models.chosen()
        if len(chosen) == 1:
            told = f"The gate: {chosen[0].gate_text}."
            self._ask_and_promote(chosen[0], told)

    def promote_judged(self, *_: Any) -> None:
        """Make the judged model live, also against the gate, with a reason."""
        verdict = self._view.verdict.verdict
        if verdict is not None:
            self._ask_and_promote(verdict.new, sentence(verdict.decision))

    def _ask_and_promote(self, line: ModelLine, told: str) -> None:
        author = self._author()
        if author is None:
            return
        why = ask_reason(self._parent, f"Promote {line.title}", told)
        if why is not None:
            self._promote(line.key, author, why)

    def _promote(self, key: str, author: str, why: str) -> None:
        store = self._store()
        if store is not None:
            self._view.show_undo(False)
            steps = partial(promote_steps, store, key, author, why)
            self._start(self._runner, steps, self._changed)

    def roll_back(self, *_: Any) -> None:
        """Bring back the model before, at once; `undo` promotes the other again."""
        store, author = self._store(), self._author()
        if store is not None and author is not None and not self._runner.busy:
            self._start(self._runner, partial(rollback_steps, store, author), self._on_rolled_back)

    def _on_rolled_back(self, done: tuple[str, str]) -> None:
        text, self._taken_off = done
        self._changed(text)
        self._view.show_undo(True)

    def undo(self, *_: Any) -> None:
        """Make the model live again that was rolled back."""
        author = self._author()
        if author is not None and self._taken_off:
            self._promote(self._taken_off, author, UNDONE)

    # Running

    def _author(self) -> str | None:
        try:
            return author_or_ask(self._parent)
        except CovsegError as error:
            self._failed(error)
            return None

    def _start(
        self,
        runner: Runner,
        steps: Callable[[], Steps[Any]],
        result: Callable[[Any], None],
        progress: Callable[[Progress], None] = lambda step: None,
    ) -> None:
        callbacks = Callbacks(progress, result, self._on_error, self._on_cancelled)
        runner.start(steps, callbacks)

    def _on_error(self, error: Exception) -> None:
        self._view.models.show_busy(False)
        self._failed(error)

    def _on_cancelled(self) -> None:
        self._view.models.show_busy(False)
