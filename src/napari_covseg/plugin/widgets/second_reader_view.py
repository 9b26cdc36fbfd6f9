"""What the Review widget looks like: the list of cases, and one case to be judged."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.cases.records import Difficulty
from napari_covseg.plugin.plain import Markup, Words, plain
from napari_covseg.plugin.review_layers import legend_html
from napari_covseg.plugin.review_waiting import Shown
from napari_covseg.plugin.widgets.pieces import Folded, paragraph, primary_button, scrolled
from napari_covseg.plugin.widgets.review_bar import ReviewBar
from napari_covseg.plugin.widgets.second_reader_joint_view import JointPage
from napari_covseg.plugin.widgets.second_reader_keys import BEFORE_KEY, NEXT_KEY, PREVIOUS_KEY
from napari_covseg.plugin.widgets.second_reader_tables import Column, RowsTable

ON_BLACK = "QLabel { background: #14181d; color: #dfe4ea; border-radius: 3px; padding: 3px 6px; }"
_CASES = (
    Column("Case", "The case; a double click opens it", grows=True),
    Column("Readers", "Who drew it; two where two versions stand side by side"),
    Column("Voxels", "Changed since the version it was drawn from", number=True),
    Column("Min", "Minutes spent on it", number=True),
    Column("Saved", "When (UTC)"),
)
_CHANGES = (
    Column("Slice", "The axial slice with most of it; a click goes there", number=True),
    Column("Change", grows=True),
    Column("ml", "How much of it, in all slices", number=True),
)


class ReviewView(QWidget):
    """The primary button, one of three pages, and a line about what was done."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumWidth(360)
        self.primary = primary_button("Review next", "")
        self.queue, self.case, self.joint = QueuePage(), CasePage(), JointPage()
        self.pages = QStackedWidget()
        for page in (self.queue, self.case, self.joint):
            self.pages.addWidget(scrolled(page))
        self.state = paragraph()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.primary)
        layout.addWidget(self.pages, 1)
        layout.addWidget(self.state)

    def turn_to(self, page: QWidget) -> None:
        """Show one of the pages."""
        for index in range(self.pages.count()):
            if self.pages.widget(index).widget() is page:
                self.pages.setCurrentIndex(index)

    def is_at(self, page: QWidget) -> bool:
        """Whether a page is shown."""
        return self.pages.currentWidget().widget() is page


class QueuePage(QWidget):
    """Which cases wait."""

    def __init__(self) -> None:
        super().__init__()
        self.store = paragraph()
        self.shown = QComboBox()
        self.shown.addItems([str(one) for one in Shown])
        self.shown.setToolTip("Which cases are listed")
        self.reader = QPushButton("")
        self.reader.setFlat(True)
        self.reader.setToolTip("Who reads; click to change. Your own corrections are left out.")
        self.table = RowsTable(_CASES, (3, 16))
        self.empty = paragraph()
        self.open = QPushButton("Open the chosen case")
        self.open.setToolTip("Review the case that is chosen in the table")
        row = QHBoxLayout()
        row.addWidget(self.shown, 1)
        row.addWidget(self.reader)
        self.parts = (self.shown, self.reader, self.table, self.open)
        column = _column(self)
        column.addWidget(self.store)
        column.addLayout(row)
        for part in (self.table, self.empty, self.open):
            column.addWidget(part)
        column.addStretch(1)


class CasePage(QWidget):
    """What was corrected, by whom, and what the reader says to it."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.facts, self.said, self.note = (paragraph() for _ in range(4))
        self.title.setStyleSheet("QLabel { font-weight: 600; font-size: 14px; }")
        self.note.setStyleSheet("QLabel { color: #d9a520; }")
        self.bar = ReviewBar(marks="changed")
        self.bar_text = Words("")
        self.own = paragraph()
        self._build_changes()
        self._build_verdict()
        self.versions = Versions()
        column = _column(self)
        for part in (self.title, self.facts, self.said, self.note, self.bar, self.bar_text):
            column.addWidget(part)
        column.addWidget(self.changes)
        column.addWidget(self.own)
        column.addWidget(self.verdict)
        column.addWidget(self.versions)
        column.addStretch(1)

    def _build_changes(self) -> None:
        self.before = QPushButton(f"See prediction  ({BEFORE_KEY})")
        self.before.setCheckable(True)
        self.before.setToolTip(
            f"See what the correction started from, and back. Key: {BEFORE_KEY}."
        )
        self.outlines = QCheckBox("Outline changes")
        self.outlines.setToolTip("Outline what was added, removed and given another class")
        self.outlines.setChecked(True)
        self.legend = Markup(legend_html("removed", "added", "other class"))
        self.legend.setStyleSheet(ON_BLACK)
        self.table = RowsTable(_CHANGES, (2, 7))
        self.previous = QPushButton(f"Previous  ({PREVIOUS_KEY})")
        self.previous.setToolTip(plain(f"Go to the change before. Key: {PREVIOUS_KEY}."))
        self.next = QPushButton(f"Next change  ({NEXT_KEY})")
        self.next.setToolTip(plain(f"Go to the next change. Key: {NEXT_KEY}."))
        self.changes = QWidget()
        grid = QGridLayout(self.changes)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.before, 0, 0)
        grid.addWidget(self.outlines, 0, 1)
        grid.addWidget(self.legend, 1, 0, 1, 2)
        grid.addWidget(self.table, 2, 0, 1, 2)
        grid.addWidget(self.previous, 3, 0)
        grid.addWidget(self.next, 3, 1)

    def _build_verdict(self) -> None:
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("Comment (needed to send back or flag)")
        self.comment.setToolTip("Kept with the decision; the annotator reads it")
        self.difficulty = QComboBox()
        self.difficulty.addItem("Difficulty: –", None)
        for one in Difficulty:
            self.difficulty.addItem(f"Difficulty: {one}", one)
        self.difficulty.setToolTip("How hard the case is to annotate")
        self.whole = QPushButton("Accept whole scan")
        self.whole.setToolTip("You checked every slice, also those that nobody marked as reviewed")
        self.back = QPushButton("Send back")
        self.back.setToolTip("Return it to its annotator, with your comment")
        self.flag = QPushButton("Flag")
        self.flag.setToolTip("It needs someone else's eye; the queue leaves it out meanwhile")
        self.say = QPushButton("Comment only")
        self.say.setToolTip("Keep the comment and the difficulty, and decide nothing")
        self.accept = QPushButton("Accept")
        self.accept.setToolTip("Accept this version as it is and set the others aside")
        self.leave = QPushButton("Back to the list")
        self.leave.setToolTip("Decide nothing now and give the case back")
        self.verdict = QWidget()
        grid = QGridLayout(self.verdict)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.comment, 0, 0, 1, 2)
        grid.addWidget(self.difficulty, 1, 0)
        grid.addWidget(self.say, 1, 1)
        grid.addWidget(self.whole, 2, 0)
        grid.addWidget(self.back, 2, 1)
        grid.addWidget(self.flag, 3, 0)
        grid.addWidget(self.leave, 3, 1)
        grid.addWidget(self.accept, 4, 0, 1, 2)


class Versions(Folded):
    """Two versions to be compared, by hand."""

    def __init__(self) -> None:
        super().__init__("Compare two versions")
        self.first, self.second = QComboBox(), QComboBox()
        self.compare = QPushButton("Compare and join")
        self.compare.setToolTip("See where these two differ, and make one of them")
        inner = QWidget()
        grid = QGridLayout(inner)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.first, 0, 0)
        grid.addWidget(self.second, 0, 1)
        grid.addWidget(self.compare, 1, 0, 1, 2)
        for box in (self.first, self.second):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        self.addWidget(inner)


def _column(widget: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(6)
    return column
