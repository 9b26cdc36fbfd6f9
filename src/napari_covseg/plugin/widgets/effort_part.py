"""What correcting cost so far, drawn in a panel; part of another widget."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.pieces import Running, paragraph
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari_covseg.cases.effort_records import Effort

HEIGHT, DRAW_MS = 330, 200
_NO_STORE = "Open a dataset to see what correcting costs."
_NO_CASE = (
    "No accepted case yet. When cases are corrected and accepted, this shows minutes, edited "
    "ml and the prediction's Dice for each, by model."
)
_FILTER = "Table (*.csv)"


class EffortPart(QWidget):
    """Minutes, edited ml and Dice case by case, the sentence that sums them up, and a CSV file."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.effort: Effort | None = None
        self._store: Path | None = None
        self._canvas: Any = None
        self._runner = Runner()
        self._retired = False
        self._timer = QTimer(self, singleShot=True, interval=DRAW_MS)
        self._timer.timeout.connect(self._draw)
        self.words = paragraph(_NO_STORE)
        self.running = Running()
        self.running.cancel.clicked.connect(self._runner.cancel)
        self.refresh = QPushButton("Refresh")
        self.refresh.setToolTip("Count what was accepted since")
        self.refresh.clicked.connect(lambda: self.show_store(self._store))
        self.save = QPushButton("Save CSV…")
        self.save.setToolTip("A row for each accepted case, for a spreadsheet")
        self.save.clicked.connect(self._ask_and_save)
        self._place = QVBoxLayout()
        buttons = QHBoxLayout()
        buttons.addWidget(self.refresh)
        buttons.addWidget(self.save)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.words)
        layout.addLayout(self._place)
        layout.addWidget(self.running)
        layout.addLayout(buttons)
        self._show_state()
        self.destroyed.connect(partial(EffortPart.retire, self))

    def retire(self, *_: Any) -> None:
        """Stop the work; from now on nothing here may touch a Qt object."""
        self._retired = True
        self._runner.abandon()

    def show_store(self, folder: Path | None) -> None:
        """Count what the accepted cases of a store cost, and draw it; None: there is no store."""
        if folder != self._store:
            self.effort = None
        self._store = folder
        self._runner.abandon()
        if folder is not None:
            self.running.restart()
            callbacks = Callbacks(
                progress=partial(EffortPart._on_progress, self),
                result=partial(EffortPart._on_result, self),
                error=partial(EffortPart._on_error, self),
                cancelled=partial(EffortPart._show_state, self),
            )
            self._runner.start(partial(_steps, folder), callbacks)
        self._show_state()

    def write_csv(self, path: Path) -> bool:
        """Write the table; says so and returns False if that cannot be done."""
        from napari_covseg.workflows.effort import write_effort_csv

        if self.effort is None:
            return False
        try:
            write_effort_csv(self.effort, path)
        except CovsegError as error:
            tell_error(error)
            return False
        return True

    def changeEvent(self, event: Any) -> None:
        """Another theme has other colours."""
        super().changeEvent(event)
        if event.type() in (event.Type.PaletteChange, event.Type.StyleChange) and self._canvas:
            self._timer.start()

    def _on_progress(self, step: Progress) -> None:
        if not self._retired:
            self.running.show_progress(step, time.monotonic())

    def _on_result(self, effort: Effort) -> None:
        if self._retired:
            return
        self.effort = effort
        self._show_state()
        self._draw()

    def _on_error(self, error: Exception) -> None:
        if self._retired:
            return
        self._show_state()
        tell_error(error)

    def _show_state(self) -> None:
        """What can be done now, and the words for it."""
        if self._retired:
            return
        effort, busy = self.effort, self._runner.busy
        there = effort is not None and bool(effort.cases)
        self.running.setVisible(busy)
        self.refresh.setVisible(self._store is not None and not busy)
        self.save.setVisible(there)
        if self._canvas is not None:
            self._canvas.setVisible(there)
        self.words.setText(_words(self._store, effort, busy))

    def _draw(self) -> None:
        if self._retired or self.effort is None or not self.effort.cases:
            return
        from napari_covseg.reports.effort import draw_effort

        if self._canvas is None:
            self._canvas = self._make_canvas()
            self._place.addWidget(self._canvas)
        self._canvas.figure.clear()
        draw_effort(self._canvas.figure, self.effort, self.palette().windowText().color().name())
        self._canvas.draw_idle()

    def _make_canvas(self) -> Any:
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        canvas = FigureCanvasQTAgg(Figure(layout="constrained", facecolor="none"))
        canvas.setStyleSheet("background: transparent;")
        canvas.setFixedHeight(HEIGHT)
        # Its own hint is wide, and words above it would be given too few lines.
        canvas.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        canvas.setAccessibleName("Minutes, edited ml and Dice of the prediction, case by case")
        return canvas

    def _ask_and_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save as a table", "effort.csv", _FILTER)
        if name:
            self.write_csv(Path(name))


def _steps(folder: Path) -> Steps[Effort]:
    from napari_covseg.cases.effort import effort_of
    from napari_covseg.cases.store import CaseStore

    return (yield from effort_of(CaseStore.open(folder)))


def _words(store: Path | None, effort: Effort | None, busy: bool) -> str:
    if store is None:
        return _NO_STORE
    if effort is None:
        return "" if busy else "Not counted yet."
    if not effort.cases:
        return _NO_CASE
    from napari_covseg.cases.effort_records import verdict

    count = len(effort.cases)
    sentence = verdict(effort)
    told = f"{count} accepted case{'s' * (count > 1)}, {effort.minutes:.0f} minutes. "
    unread = sum(bool(one.problem) for one in effort.cases)
    bad = f" {unread} could not be compared: covseg dataset verify tells why." if unread else ""
    return f"{told}{sentence[:1].upper()}{sentence[1:]}.{bad}"
