"""What the Correct widget looks like: controls and texts, no decisions."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin.plain import Words
from napari_covseg.plugin.widgets.correct_actions import NEXT, REVIEWED
from napari_covseg.plugin.widgets.correct_parts import (
    ClassChoice,
    SliceTools,
    Threshold,
    Tools,
    Uncertainty,
    button,
)
from napari_covseg.plugin.widgets.results_table import ResultsTable
from napari_covseg.plugin.widgets.review_bar import ReviewBar

_PRIMARY = """
QPushButton { background: #2566c8; color: white; font-weight: 600; padding: 9px;
              border-radius: 4px; }
QPushButton:hover { background: #2f78e6; }
QPushButton:focus { border: 2px solid #9cc4ff; }
QPushButton:disabled { background: #5c6470; color: #c8ccd2; }
"""
_BANNER = "QFrame#draft { border: 1px solid #d9a520; border-radius: 4px; }"


class CorrectView(QWidget):
    """The button; the CT, volumes, review, uncertainty; class, tools, slice, threshold."""

    def __init__(self, ct: Any) -> None:
        super().__init__()
        self.setMinimumWidth(360)
        self.save = QPushButton("Save corrections…")
        self.save.setStyleSheet(_PRIMARY)
        self.save.setToolTip("Write the corrected label map into a folder")
        self.ct = ct
        self.empty = paragraph("")
        self.start = QPushButton("Start with empty labels")
        self.start.setToolTip("Add an empty layer of lesions over this CT, to draw everything")
        self.draft = DraftBanner()
        self.table = ResultsTable()
        self.table.setToolTip("Volumes now; they follow each stroke")
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setSelectionMode(ResultsTable.SelectionMode.NoSelection)
        self.review = Review()
        self.uncertainty = Uncertainty()
        self.palette_ = ClassChoice()
        self.tools = Tools()
        self.slice = SliceTools()
        self.threshold = Threshold()
        self.state = paragraph("")
        self._build()

    def _build(self) -> None:
        self.ct_row = QWidget()
        row = QHBoxLayout(self.ct_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(Words("CT"))
        row.addWidget(self.ct.native, 1)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        head = (self.ct_row, self.empty, self.start, self.draft)
        self._working = (
            self.table,
            self.review,
            self.uncertainty,
            self.palette_,
            self.tools,
            self.slice,
            self.threshold,
        )
        for part in (*head, *self._working):
            column.addWidget(part)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.save)
        outer.addWidget(scroll, 1)
        outer.addWidget(self.state)

    def show_nothing(self, has_ct: bool) -> None:
        """There is no CT, or none with labels: say what to do."""
        text = (
            "This CT has no labels yet. Segment it first (Segment), or draw everything yourself."
            if has_ct
            else "Open a CT and segment it first (Segment)."
        )
        self.empty.setText(text)
        self.empty.show()
        self.start.setVisible(has_ct)
        self.ct_row.setVisible(has_ct)
        for part in (*self._working, self.state, self.draft):
            part.hide()
        self.save.setEnabled(False)

    def show_working(self, has_lungs: bool, has_lesions: bool) -> None:
        """There are labels to correct."""
        self.empty.hide()
        self.start.hide()
        self.ct_row.show()
        for part in (*self._working, self.state):
            part.show()
        self.save.setEnabled(True)
        self.palette_.show_layers(has_lungs, has_lesions)
        self.tools.inside.setEnabled(has_lungs)


class DraftBanner(QFrame):
    """Offers corrections that were not saved when napari was closed, or died."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("draft")
        self.setStyleSheet(_BANNER)
        self.text = paragraph("")
        self.restore = QPushButton("Restore")
        self.restore.setToolTip("Put these corrections into the layers; undo takes them back")
        self.discard = QPushButton("Discard")
        self.discard.setToolTip("Delete these corrections")
        row = QHBoxLayout()
        row.addWidget(self.restore)
        row.addWidget(self.discard)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addLayout(row)
        self.hide()


class Review(QWidget):
    """Which slices were reviewed."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = ReviewBar()
        self.text = Words("")
        self.mark = button(REVIEWED, checkable=True)
        self.next = button(NEXT)
        row = QHBoxLayout()
        row.addWidget(self.mark, 1)
        row.addWidget(self.next, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.bar)
        layout.addWidget(self.text)
        layout.addLayout(row)

    def show_counts(self, here: int, is_reviewed: bool, reviewed: int, count: int) -> None:
        """The slice that is shown, whether it was reviewed, and how many were."""
        self.mark.setChecked(is_reviewed)
        state = "reviewed" if is_reviewed else "not reviewed"
        self.text.setText(f"Slice {here + 1}: {state}. {reviewed} of {count} reviewed.")


def paragraph(text: str) -> QLabel:
    """Words that wrap."""
    label = Words(text)
    label.setWordWrap(True)
    return label
