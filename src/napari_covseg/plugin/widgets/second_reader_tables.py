"""Tables of the Review widget: cases, changes, figures, differences with a choice for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_covseg.plugin.plain import plain

_ROW = 24
_CHOICE = 122


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, what it means, whether it holds numbers, and whether it grows."""

    title: str
    tip: str = ""
    number: bool = False
    grows: bool = False


class RowsTable(QTableWidget):
    """Rows of text; ``chosen`` tells the row that was clicked or moved to, ``opened`` a double
    click or Enter.

    Parameters
    ----------
    columns
        From left to right.
    rows
        How many rows are seen without scrolling, at least and at most.
    """

    chosen = Signal(int)
    opened = Signal(int)

    def __init__(
        self, columns: Sequence[Column], rows: tuple[int, int], parent: QWidget | None = None
    ) -> None:
        super().__init__(0, len(columns), parent)
        self._columns, self._seen = columns, rows
        self.setHorizontalHeaderLabels([column.title for column in columns])
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(_ROW)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(30)
        modes = QHeaderView.ResizeMode
        for index, column in enumerate(columns):
            header.setSectionResizeMode(
                index, modes.Stretch if column.grows else modes.ResizeToContents
            )
            item = self.horizontalHeaderItem(index)
            item.setToolTip(plain(column.tip))
            side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
            item.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
        self.currentCellChanged.connect(self._on_current)
        self.cellClicked.connect(lambda row, _column: self.chosen.emit(row))
        self.cellActivated.connect(lambda row, _column: self.opened.emit(row))
        self._fit()

    def show_rows(self, rows: Sequence[Sequence[str]], tips: Sequence[str] = ()) -> None:
        """Fill the table anew; nothing is selected."""
        self.blockSignals(True)
        self.clearSelection()
        self.setCurrentCell(-1, -1)
        self.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for index, (column, text) in enumerate(zip(self._columns, texts, strict=False)):
                item = QTableWidgetItem(text)
                side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
                item.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
                item.setToolTip(plain(tips[row] if tips else ""))
                self.setItem(row, index, item)
        self.blockSignals(False)
        self._fit()

    def texts(self, row: int) -> list[str]:
        """What stands in a row."""
        items = [self.item(row, index) for index in range(self.columnCount())]
        return ["" if item is None else item.text() for item in items]

    def go_to(self, row: int) -> None:
        """Select a row without telling that it was chosen."""
        self.blockSignals(True)
        self.setCurrentCell(row, 0)
        self.blockSignals(False)
        self.scrollTo(self.model().index(row, 0))

    def _on_current(self, row: int, _column: int, before: int, _before: int) -> None:
        # A click tells by itself, also in the row that is current already.
        if row >= 0 and row != before and self.hasFocus():
            self.chosen.emit(row)

    def _fit(self) -> None:
        least, most = self._seen
        rows = min(max(self.rowCount(), least), most)
        header = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + rows * _ROW + 2 * self.frameWidth() + 2)


class ChoiceTable(RowsTable):
    """Rows with a box at their end; ``taken`` tells the row and which of its entries was chosen."""

    taken = Signal(int, int)

    def __init__(
        self, columns: Sequence[Column], rows: tuple[int, int], parent: QWidget | None = None
    ) -> None:
        super().__init__(columns, rows, parent)
        header, last = self.horizontalHeader(), len(columns) - 1
        header.setSectionResizeMode(last, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(last, _CHOICE)

    def show_choices(self, entries: Sequence[Sequence[str]], chosen: Sequence[int]) -> None:
        """Put a box with these entries into the last column of every row."""
        last = self.columnCount() - 1
        for row, (texts, index) in enumerate(zip(entries, chosen, strict=True)):
            box = _Box(self)
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.addItems(list(texts))
            box.setCurrentIndex(index)
            box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            box.activated.connect(partial(self.taken.emit, row))
            self.setCellWidget(row, last, box)

    def box(self, row: int) -> QComboBox:
        """The box of a row."""
        return self.cellWidget(row, self.columnCount() - 1)


class _Box(QComboBox):
    """A box that leaves the wheel to its table, which scrolls."""

    def wheelEvent(self, event: Any) -> None:
        """Change nothing."""
        event.ignore()
