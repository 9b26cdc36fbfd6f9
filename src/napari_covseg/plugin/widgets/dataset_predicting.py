"""Predict and rank: the live model looks at the cases in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.telling import show_error
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari_covseg.plugin.desk import Desk
    from napari_covseg.plugin.widgets.dataset_view import DatasetView
    from napari_covseg.workflows.dataset_predict import PredictResult


class Predicting:
    """Runs beside everything else; what is done is in the store at once, case by case.

    ``author`` says who works here (None: nobody says), ``tell`` takes a line about what was done.
    """

    def __init__(
        self,
        desk: Desk,
        view: DatasetView,
        author: Callable[[], str | None],
        tell: Callable[[str], None],
    ) -> None:
        self._desk, self._view, self._author, self._tell = desk, view, author, tell
        self.runner = Runner()
        self._case = ""
        view.predicting.cancel.clicked.connect(lambda *_: self.cancel())

    def start(self, cases: tuple[str, ...]) -> None:
        """Predict these cases, or all that have no labels or no score yet."""
        folder, author = self._desk.store, self._author()
        if folder is None or author is None or self.runner.busy:
            return
        self._view.show_predicting(True)
        self._case = ""
        callbacks = Callbacks(
            progress=self._on_progress,
            result=self._on_result,
            error=self._on_error,
            cancelled=self._on_cancelled,
        )
        self.runner.start(partial(_steps, folder, author, cases), callbacks)

    def cancel(self) -> None:
        """Stop before the next step."""
        self._view.predicting.show_cancelling()
        self.runner.cancel()

    def _on_progress(self, step: Progress) -> None:
        self._view.predicting.show_progress(step, time.monotonic())
        case = step.message.split(":")[0]
        if case != self._case:
            # Another case begins, so the one before is in the list now.
            self._case = case
            self._desk.touched.emit()

    def _on_result(self, result: PredictResult) -> None:
        self._view.show_predicting(False)
        done = [one for one in result.cases if one.done]
        cases = "case" if len(done) == 1 else "cases"
        self._tell(f"{len(done)} {cases} predicted and ranked.")
        failed = [f"{one.case}: {one.error}" for one in result.cases if one.error is not None]
        if failed:
            show_error("\n".join(failed))
        self._desk.touched.emit()

    def _on_error(self, error: Exception) -> None:
        self._view.show_predicting(False)
        tell_error(error)
        self._desk.touched.emit()

    def _on_cancelled(self) -> None:
        self._view.show_predicting(False)
        self._tell("Stopped; what was predicted is kept.")
        self._desk.touched.emit()


def _steps(folder: Path, author: str, cases: tuple[str, ...]) -> Steps[PredictResult]:
    from napari_covseg.workflows import dataset_predict

    request = dataset_predict.PredictRequest(folder, author, cases=cases)
    return (yield from dataset_predict.predict_cases(request))
