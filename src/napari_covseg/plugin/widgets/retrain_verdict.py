"""What the gate said: one sentence, the figures class by class, how sure it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
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
)

from napari_covseg.plugin.widgets.pieces import paragraph

if TYPE_CHECKING:
    from napari_covseg.cases.gate import GateDecision, GateRow
    from napari_covseg.plugin.model_list import Verdict

GOOD, BAD = "#2f9e5f", "#d9822b"  # with a sign and words: colour alone says nothing
COLUMNS = ("", "Old", "New", "Diff.", "95 %", "Must be", "n")
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


class RetrainVerdict(QFrame):
    """A framed verdict; ``promote`` stands where the model is not live."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("verdict")
        self.title, self.reason = paragraph(), paragraph()
        self.table = GateTable()
        self.certainty = paragraph()
        self.promote = QPushButton("Promote all the same…")
        self.promote.setToolTip("Make the new model live; your reason is kept with it")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 6, 6)
        layout.setSpacing(4)
        for part in (self.title, self.reason, self.table, self.certainty, self.promote):
            layout.addWidget(part)
        self.verdict: Verdict | None = None

    def show_verdict(self, verdict: Verdict | None) -> None:
        """Fill in a verdict; None hides it."""
        self.verdict = verdict
        self.setVisible(verdict is not None)
        if verdict is None:
            return
        decision = verdict.decision
        good = decision.promote or (verdict.new.live and not verdict.asked)
        colour, sign = (GOOD, "✓") if good else (BAD, "✕")
        self.setStyleSheet(f"QFrame#verdict {{ border-left: 4px solid {colour}; }}")
        self.title.setText(
            f'<span style="color: {colour}; font-size: large;">{sign}</span> <b>{verdict.title}</b>'
        )
        self.reason.setText(sentence(decision))
        self.table.show_decision(decision)
        self.certainty.setText(f"<small>{_capital(decision.certainty)}. {_left(decision)}</small>")
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
        self.setStyleSheet(
            "QTableView::item { padding: 0 2px; } QHeaderView::section { padding: 2px; }"
        )
        font = self.font()
        font.setPointSizeF(max(6.5, font.pointSizeF() - 1.5))
        self.setFont(font)
        header = self.horizontalHeader()
        header.setFont(font)
        header.setMinimumSectionSize(20)
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(4, QHeaderView.ResizeMode.Stretch)
        for column, tip in enumerate(_TIPS):
            self.horizontalHeaderItem(column).setToolTip(tip)
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
                item.setForeground(QColor(BAD))
            item.setToolTip(row.note or ("" if row.passed else "the interval reaches too far"))
            font = self.font()
            font.setBold(row.name == "overall")
            item.setFont(font)
            self.setItem(place, column, item)

    def _fit_height(self) -> None:
        header = self.horizontalHeader().sizeHint().height()
        rows = sum(self.rowHeight(row) for row in range(self.rowCount()))
        self.setFixedHeight(header + rows + 2 * self.frameWidth() + 2)


def cells(row: GateRow) -> tuple[str, ...]:
    """A row's texts in the order of `COLUMNS`."""
    dice = row.figure == "dice"
    digits = 3 if dice else 1
    mark = "" if row.passed else "✕ "
    title = mark + _TITLES[row.name]
    if not row.patients:
        return (title, "–", "–", "–", row.note, "", "0")
    limit = f"> −{row.margin:.3g}" if dice else f"< +{row.margin:.3g}"
    return (
        title,
        f"{row.old:.{digits}f}",
        f"{row.new:.{digits}f}",
        _signed(row.difference, digits),
        f"{_signed(row.low, digits)}…{_signed(row.high, digits)}"
        if math.isfinite(row.low)
        else "–",
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


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
