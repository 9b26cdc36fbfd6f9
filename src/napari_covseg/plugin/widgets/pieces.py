"""Pieces that several widgets are built from: the primary button, words, folds, progress."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_covseg.plugin.plain import Markup, Words, plain

if TYPE_CHECKING:
    from napari_covseg.domain.progress import Progress

_FOLD = "QPushButton { background: transparent; text-align: left; padding: 4px 2px; }"
_NO_LIMIT = 16_777_215
"""Qt's greatest height."""
_PRIMARY = """
QPushButton { background: #2566c8; color: white; font-weight: 600; padding: 9px;
              border-radius: 4px; }
QPushButton:hover { background: #2f78e6; }
QPushButton:focus { border: 2px solid #9cc4ff; }
QPushButton:disabled { background: #5c6470; color: #c8ccd2; }
"""


def primary_button(text: str, tip: str) -> QPushButton:
    """The one button of a widget that says what it will do."""
    button = QPushButton(text)
    button.setStyleSheet(_PRIMARY)
    button.setToolTip(plain(tip))
    return button


def paragraph(text: str = "") -> QLabel:
    """Words that wrap."""
    label = Words(text)
    label.setWordWrap(True)
    return label


def marked(html: str = "") -> QLabel:
    """HTML that wraps; what is not fixed in it is escaped."""
    label = Markup(html)
    label.setWordWrap(True)
    return label


def scrolled(inner: QWidget) -> QScrollArea:
    """A widget that scrolls up and down when it is too tall, never sideways."""
    scroll = QScrollArea()
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(inner)
    return scroll


def docked(widget: QWidget, view: QWidget) -> None:
    """Put what a dock widget looks like into it."""
    # Without this napari pushes the widget into the upper half of its dock.
    widget.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(6, 6, 6, 4)
    layout.addWidget(view)


def filled(
    view: QWidget,
    top: Iterable[QWidget],
    parts: Iterable[QWidget],
    foot: Iterable[QWidget],
    gap: int = 8,
) -> QScrollArea:
    """From top to bottom: what stays in sight, what scrolls, and what stays below."""
    inner = QWidget()
    column = QVBoxLayout(inner)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(gap)
    for part in parts:
        column.addWidget(part)
    column.addStretch(1)
    scroll = scrolled(inner)
    outer = QVBoxLayout(view)
    outer.setContentsMargins(0, 0, 0, 0)
    for part in (*top, scroll, *foot):
        outer.addWidget(part)
    outer.setStretchFactor(scroll, 1)
    return scroll


def side_by_side(*parts: QWidget) -> QWidget:
    """A row; what is no label shares the room there is."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part, 0 if isinstance(part, QLabel) else 1)
    return row


class Folded(QCollapsible):
    """What is rarely needed, under its title; a click on the title unfolds it."""

    def __init__(self, title: str) -> None:
        # No icons: theirs are drawn in a colour that the dark theme swallows.
        clear = QPixmap(1, 1)
        clear.fill(Qt.GlobalColor.transparent)
        super().__init__("", expandedIcon=QIcon(clear), collapsedIcon=QIcon(clear))
        self._title = title
        # The animation would limit the height to what was there when it was unfolded.
        self.setDuration(0)
        self.toggleButton().setStyleSheet(_FOLD)
        self.toggled.connect(self._name)
        self._name(False)

    def set_title(self, title: str) -> None:
        """Another title."""
        self._title = title
        self._name(self.isExpanded())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """What is unfolded grows and wraps its words as it likes."""
        changed = event.type() in (QEvent.Type.Resize, QEvent.Type.LayoutRequest)
        if changed and self.isExpanded():
            self.content().setMaximumHeight(_NO_LIMIT)
        return False

    def _name(self, expanded: bool) -> None:
        self.setText(f"▾ {self._title}" if expanded else f"▸ {self._title}")


class Running(QWidget):
    """The progress bar with its step, and Cancel."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.step = Words("")
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; nothing is changed")
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
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
        self.cancel.setEnabled(True)
        self._message = ""

    def show_progress(self, step: Progress, now: float) -> None:
        """Time left is what this step took so far, by how much of it is done."""
        if step.message != self._message:
            self._message, self._since = step.message, now
        text = step.message[:1].upper() + step.message[1:]
        if step.done and step.done < step.total:
            left = (now - self._since) * (step.total - step.done) / step.done
            text += f", {_time_left(left)} left"
        self.step.setText(text)
        known = step.total > 1
        self.bar.setRange(0, step.total if known else 0)
        if known:
            self.bar.setValue(step.done)

    def show_cancelling(self) -> None:
        """Cancel was pressed; the step under way still has to end."""
        self.step.setText("Cancelling…")
        self.cancel.setEnabled(False)


def _time_left(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
