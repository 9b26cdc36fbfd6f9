"""Bars of probability, one for each class, with the spread over the classifiers."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_covseg.reports.wording import chance_percent

_ROW_PX, _FONT_PX, _GAP_PX = 22, 12, 8
_BAR, _TOP_BAR, _EMPTY = QColor("#7d8fd6"), QColor("#2f78e6"), QColor(128, 135, 144, 60)
_MOST_NAME = 0.45
"""The share of the width that names may take."""


class Bars(QWidget):
    """As tall as there are classes, the most probable first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("Probability of each class; the line is ± one standard deviation")
        self.rows: list[tuple[str, float, float]] = []

    def show_chances(
        self, classes: Sequence[str], chances: Sequence[float], spread: Sequence[float]
    ) -> None:
        """Names, probabilities and their standard deviations."""
        rows = zip(classes, chances, spread, strict=True)
        self.rows = sorted(rows, key=lambda row: -row[1])
        self.setFixedHeight(_ROW_PX * len(self.rows))
        spoken = [f"{name} {chance_percent(chance)}" for name, chance, _ in self.rows]
        self.setAccessibleDescription(", ".join(spoken))
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Name, bar, percent."""
        painter = QPainter(self)
        font = painter.font()
        font.setPixelSize(_FONT_PX)
        painter.setFont(font)
        metrics, words = painter.fontMetrics(), self.palette().text().color()
        widest = max((metrics.horizontalAdvance(name) for name, *_ in self.rows), default=0)
        # A little more than the letters are wide: rounding must not cut a name that fits.
        names = min(widest + 4, round(_MOST_NAME * self.width()))
        figures = metrics.horizontalAdvance(">99 %")
        left = names + _GAP_PX
        whole = max(1, self.width() - left - _GAP_PX - figures)
        aside = Qt.AlignmentFlag.AlignVCenter
        for place, (name, chance, spread) in enumerate(self.rows):
            top = place * _ROW_PX
            painter.setPen(words)
            short = metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, names)
            painter.drawText(
                QRect(0, top, names, _ROW_PX), aside | Qt.AlignmentFlag.AlignLeft, short
            )
            bar = QRect(left, top + 4, whole, _ROW_PX - 8)
            painter.fillRect(bar, _EMPTY)
            bar.setWidth(round(whole * chance))
            painter.fillRect(bar, _TOP_BAR if place == 0 else _BAR)
            low, high = max(0.0, chance - spread), min(1.0, chance + spread)
            painter.setPen(QPen(words, 1))
            middle = bar.center().y()
            painter.drawLine(left + round(whole * low), middle, left + round(whole * high), middle)
            figure = QRect(self.width() - figures, top, figures, _ROW_PX)
            painter.drawText(figure, aside | Qt.AlignmentFlag.AlignRight, chance_percent(chance))
        painter.end()
