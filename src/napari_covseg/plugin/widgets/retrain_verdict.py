"""What the gate said: one sentence, the figures class by class, how sure it is."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin.plain import plain
from napari_covseg.plugin.widgets.pieces import marked, paragraph

if TYPE_CHECKING:
    from napari_covseg.cases.gate import GateDecision, GateRow
    from napari_covseg.plugin.model_list import Verdict

# On dark, on light; with a sign and words, as colour alone says nothing.
GOOD, BAD = ("#3fb873", "#1b7a44"), ("#f09a3e", "#a8540a")
COLUMNS = ("", "Old", "New", "Diff.", "95 %", "Must be", "n")
_INTERVAL = COLUMNS.index("95 %")
_TIPS = (
    "",
    "The model that was live",
    "The new model",
    "New minus old",
    "Of the difference, by bootstrap over patients",
    "Where the whole interval must lie",
    "Patients who measure",
)
_TITLES = {"overall": "Overall", "lung": "Lung", "infection": "Infection"}
_TITLES |= {"ggo": "GGO", "consolidation": "Consol."}
_SECTIONS = {"dice": "Dice", "volume_error_ml": "Volume error, ml"}

_TIGHT = "QTableView::item { padding: 0 1px; } QHeaderView::section { padding: 2px; }"


class RetrainVerdict(QFrame):
    """A framed verdict; ``promote`` stands where the model is not live."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("verdict")
        self.title, self.reason = marked(), paragraph()
        self.table = GateTable()
        self.certainty = marked()
        self.promote = QPushButton("Promote all the same…")
        self.promote.setToolTip("Make the new model live; your reason is kept with it")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 0, 6)
        layout.setSpacing(4)
        for part in (self.title, self.reason, self.table, self.certainty, self.promote):
            layout.addWidget(part)
        self.verdict: Verdict | None = None
        self._shown_on = ""
        self._restyle = QTimer(self, singleShot=True, interval=0)
        self._restyle.timeout.connect(lambda: self.show_verdict(self.verdict))

    def changeEvent(self, event: Any) -> None:
        """Another theme has other colours; not within the event, which styling sends again."""
        super().changeEvent(event)
        if self.verdict is not None and tone(self, GOOD) != self._shown_on:
            self._restyle.start()

    def show_verdict(self, verdict: Verdict | None) -> None:
        """Fill in a verdict; None hides it."""
        self.verdict = verdict
        self.setVisible(verdict is not None)
        if verdict is None:
            return
        decision, self._shown_on = verdict.decision, tone(self, GOOD)
        good = decision.promote or (verdict.new.live and not verdict.asked)
        colours, sign = (GOOD, "✓") if good else (BAD, "✕")
        colour = tone(self, colours)
        self.setStyleSheet(f"QFrame#verdict {{ border-left: 4px solid {colour}; }}")
        self.title.setText(
            f'<span style="color: {colour}; font-size: large;">{sign}</span> '
            f"<b>{escape(verdict.title)}</b>"
        )
        self.reason.setText(sentence(decision))
        self.table.show_decision(decision)
        self.certainty.setText(
            f"<small>{escape(_capital(decision.certainty))}. {escape(_left(decision))}</small>"
        )
        offered = verdict.new.sha256 is not None and not verdict.new.live
        self.promote.setVisible(offered)
        self.promote.setText("Promote…" if decision.promote else "Promote all the same…")


class GateTable(QTableWidget):
    """A line for each figure of each class, those that did not pass marked."""

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setShowGrid(False)
        self.setTextElideMode(Qt.TextElideMode.ElideNone)
        self.setStyleSheet(
            "QTableView::item { padding: 0 1px; } QHeaderView::section { padding: 2px; }"
        )
        font = self.font()
        font.setPointSizeF(max(6.5, font.pointSizeF() - 2))
        self.setFont(font)
        header = self.horizontalHeader()
        header.setFont(font)
        header.setMinimumSectionSize(20)
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_INTERVAL, QHeaderView.ResizeMode.Stretch)
        for column, tip in enumerate(_TIPS):
            self.horizontalHeaderItem(column).setToolTip(plain(tip))
        self.verticalHeader().hide()
        self.verticalHeader().setMinimumSectionSize(14)
        self.verticalHeader().setDefaultSectionSize(18)

    def show_decision(self, decision: GateDecision) -> None:
        """Fill the table; without figures it is hidden."""
        self.setVisible(bool(decision.rows))
        self.clearSpans()
        self.setRowCount(0)
        for figure, title in _SECTIONS.items():
            rows = [row for row in decision.rows if row.figure == figure]
            if rows:
                self._add_section(title)
            for row in rows:
                self._add_row(row)
        self._fit_height()

    def _add_section(self, title: str) -> None:
        place = self.rowCount()
        self.insertRow(place)
        item = QTableWidgetItem(title)
        font = self.font()
        font.setBold(True)
        item.setFont(font)
        self.setItem(place, 0, item)
        self.setSpan(place, 0, 1, len(COLUMNS))

    def _add_row(self, row: GateRow) -> None:
        place = self.rowCount()
        self.insertRow(place)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for column, text in enumerate(cells(row)):
            item = QTableWidgetItem(text)
            if column:
                item.setTextAlignment(right)
            if not row.passed:
                item.setForeground(QColor(tone(self, BAD)))
            item.setToolTip(
                plain(row.note or ("" if row.passed else "the interval reaches too far"))
            )
            font = self.font()
            font.setBold(row.name == "overall" and column != _INTERVAL)
            item.setFont(font)
            self.setItem(place, column, item)

    def _fit_height(self) -> None:
        header = self.horizontalHeader().sizeHint().height()
        rows = sum(self.rowHeight(row) for row in range(self.rowCount()))
        self.setFixedHeight(header + rows + 2 * self.frameWidth() + 2)


def tone(widget: QWidget, colours: tuple[str, str]) -> str:
    """The colour of the two that can be read on the widget's ground."""
    on_dark = widget.palette().windowText().color().lightness() > 127
    return colours[0] if on_dark else colours[1]


def cells(row: GateRow) -> tuple[str, ...]:
    """A row's texts in the order of `COLUMNS`."""
    shown = _dice if row.figure == "dice" else _ml
    title = ("" if row.passed else "✕ ") + _TITLES[row.name]
    if not row.patients:
        return (title, "–", "–", "–", row.note, "", "0")
    limit = f"> −{row.margin:.3g}" if row.figure == "dice" else f"< +{row.margin:.3g}"
    interval = f"{shown(row.low, '+')}…{shown(row.high, '+')}" if math.isfinite(row.low) else "–"
    return (
        title,
        shown(row.old),
        shown(row.new),
        shown(row.difference, "+"),
        interval,
        "> 0" if row.name == "overall" else limit,
        str(row.patients),
    )


def sentence(decision: GateDecision) -> str:
    """Why, as a sentence."""
    return f"{_capital(decision.reason)}."


def _left(decision: GateDecision) -> str:
    cases = f"{decision.cases} case{'' if decision.cases == 1 else 's'} measured"
    if decision.old_trained_on:
        cases += f"; {decision.old_trained_on} left out, as the old model trained on their patients"
    return f"{cases}."


def _dice(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}".replace("-", "−")


def _ml(value: float, sign: str = "") -> str:
    """No decimals from 10 ml on, one below."""
    return f"{value:{sign}.{0 if abs(value) >= 9.95 else 1}f}".replace("-", "−")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
