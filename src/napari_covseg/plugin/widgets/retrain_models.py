"""The models of a store: which is live, where each came from, how good it was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QHeaderView,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin.plain import Markup, plain
from napari_covseg.plugin.widgets.pieces import Running

if TYPE_CHECKING:
    from napari_covseg.plugin.model_list import ModelLine

COLUMNS = ("", "Model", "From", "Made", "Dice", "Gate", "By")
_TIPS = (
    "● is the live one: it segments new cases and is trained further",
    "Its name",
    "The model whose training went on",
    "When it was made",
    "Mean Dice on patients it had not trained on, when the gate last measured it",
    "What the gate said of it",
    "Who made it live",
)
LIVE = "●"
_MOST_ROWS = 7


class ModelsView(QWidget):
    """The list and what can be done with the selected one."""

    selected = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.lines: tuple[ModelLine, ...] = ()
        self.table = _Table()
        self.details = QPushButton("Details…")
        self.compare = QPushButton("Compare")
        self.promote = QPushButton("Promote…")
        self.rollback = QPushButton("Roll back")
        self.details.setToolTip("Label versions, settings, seeds, code version, who promoted it")
        self.compare.setToolTip(
            "Measure two models on the held-out patients: the selected one against the live one, "
            "or the two selected"
        )
        self.promote.setToolTip("Make the selected model live; your reason is kept with it")
        self.rollback.setToolTip("Bring back the model that was live before; nothing is lost")
        self.running = Running()
        self.running.hide()
        title = Markup("<b>Models</b>")
        grid = QGridLayout()
        grid.setSpacing(4)
        for place, part in enumerate((self.details, self.compare, self.promote, self.rollback)):
            grid.addWidget(part, place // 2, place % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(title)
        layout.addWidget(self.table)
        layout.addLayout(grid)
        layout.addWidget(self.running)
        self.table.itemSelectionChanged.connect(self._on_selection)

    def show_models(self, lines: Sequence[ModelLine]) -> None:
        """Fill the list; what was selected stays so."""
        before = {one.sha256 for one in self.chosen()}
        self.lines = tuple(lines)
        self.table.fill(self.lines)
        for place, line in enumerate(self.lines):
            if line.sha256 in before:
                self.table.selectRow(place)
        self._on_selection()

    def chosen(self) -> tuple[ModelLine, ...]:
        """The selected models, the newest first."""
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        return tuple(self.lines[row] for row in rows if row < len(self.lines))

    def pair(self) -> tuple[ModelLine, ModelLine] | None:
        """Which two to compare, the old one first; None if that is not clear."""
        chosen = self.chosen()
        if len(chosen) == 2:
            return chosen[1], chosen[0]
        if len(chosen) != 1:
            return None
        live = next((one for one in self.lines if one.live), None)
        return None if live is None or chosen[0].live else (live, chosen[0])

    def choose(self, *keys: str | None) -> None:
        """Select models by their hashes."""
        self.table.clearSelection()
        mode = self.table.selectionMode()
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.MultiSelection)
        for place, line in enumerate(self.lines):
            if line.sha256 in keys:
                self.table.selectRow(place)
        self.table.setSelectionMode(mode)

    def show_busy(self, busy: bool) -> None:
        """Progress and Cancel while two are compared."""
        self.running.setVisible(busy)
        if busy:
            self.running.restart()
        self._on_selection()

    def _on_selection(self) -> None:
        chosen, busy = self.chosen(), self.running.isVisibleTo(self)
        one = chosen[0] if len(chosen) == 1 else None
        self.details.setEnabled(one is not None)
        self.compare.setEnabled(self.pair() is not None and not busy)
        self.compare.setText("Compare the two" if len(chosen) == 2 else "Compare with live")
        self.promote.setEnabled(one is not None and not one.live and one.sha256 is not None)
        live = next((line for line in self.lines if line.live), None)
        self.rollback.setEnabled(live is not None and live.sha256 is not None)
        self.selected.emit()


class _Table(QTableWidget):
    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setShowGrid(False)
        self.setAccessibleName("Models of the case store")
        font = self.font()
        font.setPointSizeF(max(6.5, font.pointSizeF() - 1))
        self.setFont(font)
        header = self.horizontalHeader()
        header.setFont(font)
        header.setMinimumSectionSize(18)
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        for column, tip in enumerate(_TIPS):
            self.horizontalHeaderItem(column).setToolTip(plain(tip))
        self.verticalHeader().hide()
        self.verticalHeader().setMinimumSectionSize(16)
        self.verticalHeader().setDefaultSectionSize(22)

    def fill(self, lines: Sequence[ModelLine]) -> None:
        self.clearSelection()
        self.setRowCount(len(lines))
        for place, line in enumerate(lines):
            for column, text in enumerate(cells(line)):
                item = QTableWidgetItem(text)
                font = self.font()
                font.setBold(line.live)
                item.setFont(font)
                item.setToolTip(plain(_tip(line)))
                if column == 4:
                    right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    item.setTextAlignment(right)
                self.setItem(place, column, item)
        shown = min(max(1, len(lines)), _MOST_ROWS)
        height = self.horizontalHeader().sizeHint().height() + shown * self.rowHeight(0)
        self.setFixedHeight(height + 2 * self.frameWidth() + 2)


class DetailsDialog(QDialog):
    """All that is known of a model, as text that can be copied."""

    def __init__(self, title: str, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.resize(560, 520)
        self.text = QPlainTextEdit(text)
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addWidget(buttons)


def cells(line: ModelLine) -> tuple[str, ...]:
    """A row's texts in the order of `COLUMNS`."""
    made = "" if line.made is None else f"{line.made.astimezone():%d %b}"
    dice = "–" if math.isnan(line.dice) else f"{line.dice:.3f}"
    by = line.promoted.by if line.promoted else "–"
    name = "shipped" if line.sha256 is None else line.name
    gate = "" if line.sha256 is None else line.gate_text
    return (LIVE if line.live else "", name, line.parent, made, dice, gate, by)


def _tip(line: ModelLine) -> str:
    if line.sha256 is None:
        return "The model that comes with the package: shipped"
    parts = [f"{line.title}{', live' if line.live else ''}"]
    if line.made is not None:
        parts.append(f"made {line.made.astimezone():%d %B %Y, %H:%M}")
    parts.append(f"from {line.parent or 'no other model'}, on {line.cases} cases of this store")
    if line.promoted is not None:
        when = f"{line.promoted.when.astimezone():%d %B %Y, %H:%M}"
        how = "brought back" if line.promoted.rollback else "promoted"
        parts.append(f"{how} by {line.promoted.by}, {when}: {line.promoted.why}")
    return "\n".join(parts)
