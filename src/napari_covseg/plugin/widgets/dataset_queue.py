"""The cases of a store as a list: which state they are in, who has them, which comes first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.cases.queue import Order
from napari_covseg.cases.records import State
from napari_covseg.plugin import preferences
from napari_covseg.plugin.plain import Words, plain

if TYPE_CHECKING:
    from napari_covseg.plugin.annotating import Line, Overview

STATE_COLOURS: Mapping[State, str] = {
    State.NEW: "#9aa4b0",
    State.PREDICTED: "#5aa9f5",
    State.IN_WORK: "#f2b134",
    State.CORRECTED: "#b98cf0",
    State.ACCEPTED: "#3fb37f",
    State.FLAGGED: "#f0586a",
}
_MEANING: Mapping[State, str] = {
    State.NEW: "no labels yet",
    State.PREDICTED: "labelled by a model, nobody has looked",
    State.IN_WORK: "someone has begun",
    State.CORRECTED: "waits for a second reader, or to be accepted",
    State.ACCEPTED: "its labels train the next model",
    State.FLAGGED: "needs someone else's eye; left out of the queue",
}
_ORDERS: Mapping[Order, str] = {
    Order.SCORE: "Most benefit first",
    Order.RANDOM: "At random",
    Order.FIRST_COME: "First come first",
}
COLUMNS = ("Case", "State", "Benefit", "Who", "Diff.")
_TIPS = (
    "Double click opens a case; ✎ marks a comment",
    "Where the case stands",
    "How much correcting it should help: the live model's uncertainty, added up (ml)",
    "Who has it in work",
    "How hard it was, as an annotator judged",
)
_WIDTHS = (96, 88, 56, 0, 54)
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class CaseModel(QAbstractTableModel):
    """Lines of an overview for Qt."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.lines: tuple[Line, ...] = ()
        self._icons = {state: dot(colour) for state, colour in STATE_COLOURS.items()}

    def show_lines(self, lines: tuple[Line, ...]) -> None:
        """Other cases."""
        self.beginResetModel()
        self.lines = lines
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """As many as there are cases."""
        return 0 if parent is not None and parent.isValid() else len(self.lines)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Those of `COLUMNS`."""
        return len(COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        """Titles, with tooltips."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.ToolTipRole:
            return _TIPS[section]
        return COLUMNS[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Text, icon, alignment and tooltip of a cell."""
        line, column = self.lines[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return cells(line)[column]
        if role == Qt.ItemDataRole.DecorationRole and column == 1:
            return self._icons[line.record.state]
        if role == Qt.ItemDataRole.TextAlignmentRole and column == 2:
            return _RIGHT
        return tooltip(line) if role == Qt.ItemDataRole.ToolTipRole else None


class CaseTable(QTableView):
    """The list; ``opened`` tells which case was double-clicked, ``chosen`` which is selected."""

    opened = Signal(str)
    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cases = CaseModel(self)
        self._filling = False
        self.setModel(self.cases)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setMinimumHeight(150)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(24)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(36)
        for column, width in enumerate(_WIDTHS):
            if width:
                header.resizeSection(column, width)
            else:
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.activated.connect(self._on_activated)
        self.selectionModel().currentRowChanged.connect(self._on_row)

    @property
    def case(self) -> str:
        """The selected case, empty if none is."""
        row = self.currentIndex().row()
        return self.cases.lines[row].record.name if row >= 0 else ""

    def show_lines(self, lines: tuple[Line, ...]) -> None:
        """Other cases; the selected one stays so, and so does the place."""
        case, place = self.case, self.verticalScrollBar().value()
        self._filling = True
        self.cases.show_lines(lines)
        self.select(case)
        self._filling = False
        self.verticalScrollBar().setValue(place)
        if self.case != case:
            self.chosen.emit(self.case)

    def select(self, case: str) -> None:
        """Select a case, if it is in the list."""
        for row, line in enumerate(self.cases.lines):
            if line.record.name == case:
                self.setCurrentIndex(self.cases.index(row, 0))

    def _on_activated(self, index: QModelIndex) -> None:
        self.opened.emit(self.cases.lines[index.row()].record.name)

    def _on_row(self, *_: Any) -> None:
        if not self._filling:
            self.chosen.emit(self.case)


class StateFilter(QWidget):
    """How many cases are in each state; those that are pressed are shown, all if none is."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        self.buttons: dict[State, QToolButton] = {}
        for place, state in enumerate(State):
            button = QToolButton()
            button.setCheckable(True)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.setIcon(dot(STATE_COLOURS[state]))
            button.setToolTip(plain(f"Show only these: {_MEANING[state]}"))
            button.setSizePolicy(
                button.sizePolicy().Policy.Expanding, button.sizePolicy().Policy.Fixed
            )
            button.toggled.connect(self.changed)
            self.buttons[state] = button
            layout.addWidget(button, place // 3, place % 3)
        self.show_counts({})

    @property
    def states(self) -> set[State]:
        """Which states are wanted."""
        return {state for state, button in self.buttons.items() if button.isChecked()} or set(State)

    def show_counts(self, counts: Mapping[State, int]) -> None:
        """How many there are of each."""
        for state, button in self.buttons.items():
            button.setText(f"{state} {counts.get(state, 0)}")


class Queue(QWidget):
    """Filter, order and list."""

    order_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.filter = StateFilter()
        self.table = CaseTable()
        self.order = ComboBox(
            label="Order",
            choices=[(text, order) for order, text in _ORDERS.items()],
            value=_kept_order(),
            tooltip="Which case comes next",
        )
        self.text = Words("")
        self._overview: Overview | None = None
        row = QHBoxLayout()
        row.addWidget(self.text, 1)
        row.addWidget(self.order.native)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.filter)
        layout.addLayout(row)
        layout.addWidget(self.table, 1)
        self.filter.changed.connect(self._show)
        self.order.changed.connect(self._on_order)

    @property
    def chosen_order(self) -> Order:
        """Which case comes next; Qt hands the choice back as plain text."""
        return Order(self.order.value)

    def show_overview(self, overview: Overview) -> None:
        """What the store holds now."""
        self._overview = overview
        self.filter.show_counts(overview.counts)
        self._show()

    def _show(self) -> None:
        overview = self._overview
        if overview is None:
            return
        wanted = self.filter.states
        lines = tuple(line for line in overview.lines if line.record.state in wanted)
        self.table.show_lines(lines)
        total = len(overview.lines)
        shown = f"{len(lines)} of {total}" if len(lines) != total else str(total)
        waiting = f"{overview.waiting} {'waits' if overview.waiting == 1 else 'wait'} for you"
        self.text.setText(f"{shown} case{'' if total == 1 else 's'}, {waiting}")

    def _on_order(self, *_: Any) -> None:
        preferences.save_text("stores/order", self.chosen_order.value)
        self.order_changed.emit()


def cells(line: Line) -> tuple[str, ...]:
    """A row's texts in the order of `COLUMNS`."""
    record, score = line.record, line.score
    return (
        f"{record.name} ✎" if record.comment else record.name,
        str(record.state),
        "" if score is None else _benefit(score.value),
        record.claimed_by,
        record.difficulty or "",
    )


def _benefit(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"


def tooltip(line: Line) -> str:
    """All that the row has no room for."""
    record, score = line.record, line.score
    parts = [f"{record.name} of {record.patient}: {record.state}, {_MEANING[record.state]}"]
    if record.comment:
        parts.append(f"Comment: {record.comment}")
    if record.claimed_by:
        until = record.claimed_until
        at = f", kept until {until.astimezone():%H:%M}" if until is not None else ""
        parts.append(f"In work by {record.claimed_by}{at}")
    if record.difficulty:
        parts.append(f"Difficulty: {record.difficulty}")
    if score is not None and score.slice is not None:
        parts.append(f"Begin with slice {score.slice + 1}")
    count = record.versions
    parts.append(f"{count or 'no'} version{'' if count == 1 else 's'} of its labels")
    return "\n".join(parts)


def dot(colour: str) -> QIcon:
    """A filled circle."""
    pixmap = QPixmap(20, 20)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(colour))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawEllipse(3, 3, 14, 14)
    painter.end()
    return QIcon(pixmap)


def _kept_order() -> Order:
    try:
        return Order(preferences.load_text("stores/order", Order.SCORE.value))
    except ValueError:
        return Order.SCORE
