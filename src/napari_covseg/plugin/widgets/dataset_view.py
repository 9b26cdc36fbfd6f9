"""What the Dataset widget looks like: parts and texts, no decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_covseg.plugin.plain import plain
from napari_covseg.plugin.widgets.dataset_case import CasePanel
from napari_covseg.plugin.widgets.dataset_history import VersionTable
from napari_covseg.plugin.widgets.dataset_queue import Queue
from napari_covseg.plugin.widgets.dataset_store import StoreBar
from napari_covseg.plugin.widgets.effort_part import EffortPart
from napari_covseg.plugin.widgets.pieces import (
    Folded,
    Running,
    paragraph,
    primary_button,
    scrolled,
)

if TYPE_CHECKING:
    from napari_covseg.domain.progress import Progress
    from napari_covseg.plugin.annotating import Overview


class DatasetView(QWidget):
    """Top to bottom: the button, the store, the case in work, the queue, what is folded."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumWidth(360)
        self.run = primary_button("Open a case store…", "")
        self.running = Running()
        self.bar = StoreBar()
        self.trouble = paragraph()
        self.trouble.setStyleSheet("color: #e0555f;")
        self.case = CasePanel()
        self.queue = Queue()
        self.add = QPushButton("Add scans…")
        self.add.setToolTip("Files, folders or nnU-Net datasets; they can also be dropped here")
        self.add_shown = QPushButton("Add CT in viewer")
        self.add_shown.setToolTip("The CT that is shown, with its labels")
        self.predict = QPushButton("Predict and rank")
        self.predicting = Running()
        self.predicting.cancel.setToolTip("Stop after this case; what was predicted is kept")
        self.versions, self.effort = VersionTable(), EffortPart()
        self.state = paragraph()
        self._build()

    def _build(self) -> None:
        row = QHBoxLayout()
        for button in (self.add, self.add_shown):
            row.addWidget(button, 1)
        self.history_fold, self.effort_fold = Folded("Versions of the case"), Folded("Effort")
        self.history_fold.addWidget(self.versions)
        self.effort_fold.addWidget(self.effort)
        self._rows = QWidget()
        inside = QVBoxLayout(self._rows)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(6)
        inside.addWidget(self.queue, 1)
        inside.addWidget(self.predict)
        inside.addWidget(self.predicting)
        inside.addLayout(row)
        inside.addWidget(self.history_fold)
        inside.addWidget(self.effort_fold)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        for part in (self.bar, self.trouble, self.case):
            column.addWidget(part)
        column.addWidget(self._rows, 1)
        column.addStretch(0)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.run)
        outer.addWidget(self.running)
        outer.addWidget(scrolled(inner), 1)
        outer.addWidget(self.state)
        self.predicting.hide()
        self.trouble.hide()
        self.show_running(False)
        self.show_overview(None)

    def show_overview(self, overview: Overview | None) -> None:
        """The store's cases; None: no store is open."""
        self._rows.setVisible(overview is not None)
        if overview is None:
            return
        self.queue.show_overview(overview)
        count = len(overview.unscored)
        cases = "case" if count == 1 else "cases"
        self.predict.setText(
            f"Predict and rank {count} {cases}" if count else "All cases are ranked"
        )
        tip = (
            f"With the live model ({overview.model}), in the background: labels to begin with, and "
            "how unsure the model is of them, which orders the queue"
        )
        self.predict.setToolTip(plain(tip))
        self.predict.setEnabled(bool(count) and overview.writable)
        for button in (self.add, self.add_shown):
            button.setEnabled(overview.writable)

    def show_trouble(self, text: str) -> None:
        """What is wrong with the store; empty: nothing."""
        self.trouble.setText(text)
        self.trouble.setVisible(bool(text))

    def show_running(self, running: bool) -> None:
        """Progress and Cancel stand in place of the button while it works."""
        self.run.setVisible(not running)
        self.running.setVisible(running)
        self.case.show_running(running)
        if running:
            self.running.restart()

    def show_predicting(self, running: bool) -> None:
        """The same for predictions, which run beside everything else."""
        self.predict.setVisible(not running)
        self.predicting.setVisible(running)
        if running:
            self.predicting.restart()

    def show_progress(self, step: Progress, now: float) -> None:
        """How far it is."""
        self.running.show_progress(step, now)
