"""What the Retrain widget looks like: controls and texts, no decisions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin.expected_time import duration
from napari_covseg.plugin.plain import Markup
from napari_covseg.plugin.widgets.device_line import DeviceLine
from napari_covseg.plugin.widgets.pieces import Folded, marked, paragraph, primary_button, scrolled
from napari_covseg.plugin.widgets.retrain_curves import RetrainCurves
from napari_covseg.plugin.widgets.retrain_models import ModelsView
from napari_covseg.plugin.widgets.retrain_options import RetrainOptions
from napari_covseg.plugin.widgets.retrain_verdict import RetrainVerdict

if TYPE_CHECKING:
    from napari_covseg.domain.progress import Progress
    from napari_covseg.plugin.model_list import LogLine
    from napari_covseg.plugin.retraining import Unfinished

NO_STORE = (
    "Retraining works on a case store: open one in Dataset, or choose its folder. The model is "
    "trained further on the cases that were accepted there."
)
_BANNER = "QFrame#unfinished { border: 1px solid #d9a520; border-radius: 4px; }"
_MOST_LOG = 30


class RetrainView(QWidget):
    """Top to bottom: the button, who trains, curves, the verdict, models, log, options."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumWidth(340)
        self.run = primary_button("Retrain", "Train the live model further on the accepted cases")
        self.running = RetrainRunning()
        self.empty = paragraph()
        self.open_store = QPushButton("Open a case store…")
        self.open_store.setToolTip("The folder that covseg dataset init or Dataset made")
        self.unfinished = UnfinishedBanner()
        self.material, self.certainty = paragraph(), marked()
        self.curves = RetrainCurves()
        self.verdict = RetrainVerdict()
        self.models = ModelsView()
        self.log = LogFold()
        self.options = RetrainOptions()
        self.device = DeviceLine()
        self.state = paragraph()
        self.undo = QPushButton("Undo")
        self.undo.setToolTip("Promote the model again that was rolled back")
        self._build()

    def _build(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 2, 0)
        column.setSpacing(8)
        self._working = (self.material, self.certainty, self.models, self.log)
        for part in (self.empty, self.open_store, self.unfinished, self.material, self.certainty):
            column.addWidget(part)
        for part in (self.curves, self.verdict, self.models, self.log, self.options, self.device):
            column.addWidget(part)
        column.addStretch(1)
        self.scroll = scrolled(inner)
        row = QHBoxLayout()
        row.addWidget(self.state, 1)
        row.addWidget(self.undo)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.run)
        outer.addWidget(self.running)
        outer.addWidget(self.scroll, 1)
        outer.addLayout(row)
        stops = (
            *(self.run, self.running.pause, self.running.cancel, self.open_store),
            *(self.unfinished.resume, self.unfinished.discard, self.verdict.promote),
            *(self.models.table, self.models.details, self.models.compare),
            *(self.models.promote, self.models.rollback, self.log.toggleButton()),
            *(self.options.toggleButton(), self.undo),
        )
        for before, after in pairwise(stops):
            self.setTabOrder(before, after)
        for part in (self.running, self.unfinished, self.curves, self.verdict):
            part.hide()
        self.show_undo(False)
        self.show_nothing()

    def show_nothing(self) -> None:
        """No store is in use: say what to do."""
        self.show_empty(NO_STORE)
        self.open_store.show()
        for part in (*self._working, self.unfinished, self.verdict, self.curves):
            part.hide()
        self.options.hide()
        self.device.hide()

    def show_empty(self, text: str) -> None:
        """What has to be done first; empty if nothing."""
        self.empty.setText(text)
        self.empty.setVisible(bool(text))
        self.run.setEnabled(not text)

    def show_store(self) -> None:
        """A store is in use."""
        self.open_store.hide()
        for part in (*self._working, self.options, self.device):
            part.show()

    def show_running(self, running: bool) -> None:
        """Progress, Pause and Cancel stand in place of the button while it works."""
        self.run.setVisible(not running)
        self.running.setVisible(running)
        self.options.rows.setEnabled(not running)
        if running:
            self.running.restart()
            self.unfinished.hide()
            self.curves.show()

    def show_undo(self, offered: bool) -> None:
        """Whether a rollback can be undone by a click."""
        self.undo.setVisible(offered)


class RetrainRunning(QWidget):
    """The progress bar with its step, the time left, Pause and Cancel."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.step = paragraph()
        # As tall as two lines: what stands below must not jump with every step.
        self.step.setMinimumHeight(2 * self.step.fontMetrics().lineSpacing() + 2)
        self.step.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.pause, self.cancel = QPushButton("Pause"), QPushButton("Cancel")
        self.pause.setToolTip("Save the state and free the device; it goes on from there, exactly")
        self.cancel.setToolTip("Give up this retraining; the live model stays as it is")
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.pause)
        row.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.step)
        self._message, self._since = "", 0.0

    def restart(self) -> None:
        """Ready for the next run."""
        self.bar.setRange(0, 0)
        self.step.setText("Starting…")
        self.show_stopping(None)
        self._message = ""

    def show_progress(self, step: Progress, now: float, least_left: float) -> None:
        """``least_left`` are the seconds that the whole takes longer, as far as was foreseen."""
        message = step.message.partition(", loss")[0]
        if message != self._message:
            self._message, self._since = message, now
        left = least_left
        if 0 < step.done < step.total:
            left = max(left, (now - self._since) * (step.total - step.done) / step.done)
        text = step.message[:1].upper() + step.message[1:]
        if left > 1:
            text += f" · about {duration(left)} left"
        if self.pause.isEnabled():
            self.step.setText(text)
        known = step.total > 1
        self.bar.setRange(0, step.total if known else 0)
        if known:
            self.bar.setValue(step.done)

    def show_stopping(self, text: str | None) -> None:
        """Pause or Cancel was pressed; the step under way still has to end."""
        for button in (self.pause, self.cancel):
            button.setEnabled(text is None)
        if text is not None:
            self.step.setText(text)


class UnfinishedBanner(QFrame):
    """A retraining that was paused or interrupted: go on, or give it up."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("unfinished")
        self.setStyleSheet(_BANNER)
        self.text = paragraph()
        self.resume, self.discard = QPushButton("Resume"), QPushButton("Give up")
        self.resume.setToolTip("Go on from the saved state, with the labels of its beginning")
        self.discard.setToolTip("Remove what it has trained; the live model stays as it is")
        row = QHBoxLayout()
        row.addWidget(self.resume)
        row.addWidget(self.discard)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.addWidget(self.text)
        layout.addLayout(row)

    def show_run(self, run: Unfinished | None) -> None:
        """Fill in which one; None hides it."""
        self.setVisible(run is not None)
        if run is None:
            return
        which = f"Retraining {run.number} ({run.by}, {run.started})"
        self.text.setText(
            f"{which} runs in another program just now; wait for it."
            if run.elsewhere
            else f"{which} has not ended. It goes on from where it was, or is given up."
        )
        for button in (self.resume, self.discard):
            button.setVisible(not run.elsewhere)


class LogFold(Folded):
    """Every decision about the models, the newest first."""

    def __init__(self) -> None:
        super().__init__("Decisions")
        self.text = Markup()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self.addWidget(self.text)

    def show_lines(self, lines: Sequence[LogLine]) -> None:
        """Fill in the log."""
        from html import escape

        self.set_title(f"Decisions ({len(lines)})")
        said = [
            f"<b>{line.when.astimezone():%d %b %H:%M}</b>, {escape(line.by)}: {escape(line.text)}"
            for line in lines[:_MOST_LOG]
        ]
        self.text.setText("<br>".join(said) or "None yet.")
