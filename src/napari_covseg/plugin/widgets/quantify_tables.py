"""Tables of figures: as tall as their rows, right-aligned, never scrolling sideways."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QRect, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_covseg.plugin.plain import plain
from napari_covseg.plugin.quantify_texts import BAND_TITLES, Row

_ROW_PX, _FONT_PX, _BIN_HU = 22, 11, 10
_STYLE = "QTableWidget::item { padding: 0; } QHeaderView::section { padding: 1px 2px; }"
_SHOWN_HU = (-1030, 200)
BAND_COLOURS = ("#7d8fd6", "#4f9fd8", "#ffb000", "#e0263c")
"""Of the bands of density, in the order of `quantify.density.BANDS`."""
_STALE = QColor("#808790")


class FiguresTable(QTableWidget):
    """Rows with a title and cells; ``row_clicked`` tells the key of a row."""

    row_clicked = Signal(str)

    def __init__(
        self,
        columns: Sequence[str],
        stretch: int | None = None,
        most_rows: int | None = None,
        tips: Sequence[str] = (),
        wide_first: bool = False,
    ) -> None:
        super().__init__(0, len(columns))
        self._wide_first = wide_first
        self._most = most_rows
        self._keys: list[str] = []
        self.setHorizontalHeaderLabels(list(columns))
        for column, tip in enumerate(tips):
            self.horizontalHeaderItem(column).setToolTip(plain(tip))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        header, side = self.horizontalHeader(), self.verticalHeader()
        header.setMinimumSectionSize(28)
        header.setHighlightSections(False)
        mode = QHeaderView.ResizeMode
        header.setSectionResizeMode(mode.Stretch if stretch is None else mode.ResizeToContents)
        if stretch is not None:
            header.setSectionResizeMode(stretch, mode.Stretch)
        self.setStyleSheet(_STYLE)
        font = self.font()
        font.setPixelSize(_FONT_PX)
        self.setFont(font)
        side.setSectionResizeMode(mode.Fixed)
        side.setDefaultSectionSize(_ROW_PX)
        side.setMinimumSectionSize(_ROW_PX)
        self.cellClicked.connect(self._on_cell)
        side.sectionClicked.connect(self._on_cell)

    def show_rows(self, rows: Sequence[Row], bold: Sequence[str] = ()) -> None:
        """Fill the table."""
        self._keys = [row.key for row in rows]
        self.setRowCount(len(rows))
        self.setVerticalHeaderLabels([row.title for row in rows])
        for index, row in enumerate(rows):
            self.show_cells(row.key, row.cells, row.key in bold)
            self.verticalHeaderItem(index).setToolTip(plain(row.tip))
            for column in range(self.columnCount()):
                self.item(index, column).setToolTip(plain(row.tip))
        self._fit_height()
        widest = max((len(row.cells[0]) for row in rows), default=0)
        if self._wide_first and widest:
            self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
            self.setColumnWidth(0, self.fontMetrics().horizontalAdvance("0" * (widest + 1)) + 8)

    def show_cells(self, key: str, cells: Sequence[str], bold: bool = False) -> None:
        """Fill one row anew, if it is there."""
        if key not in self._keys:
            return
        index = self._keys.index(key)
        for column, text in enumerate(cells):
            item = self.item(index, column)
            if item is None:
                item = QTableWidgetItem()
                words = column == 0 and not any(c.isdigit() or c == "–" for c in text)
                side = Qt.AlignmentFlag.AlignLeft if words else Qt.AlignmentFlag.AlignRight
                item.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(index, column, item)
                font = item.font()
                font.setBold(bold)
                item.setFont(font)
            item.setText(text)

    def show_stale(self, stale: bool, but: Sequence[str] = ()) -> None:
        """Grey what is of before the last edit, all rows ``but`` these."""
        usual = self.palette().text().color()
        for index, key in enumerate(self._keys):
            for column in range(self.columnCount()):
                item = self.item(index, column)
                if item is not None:
                    item.setForeground(_STALE if stale and key not in but else usual)

    def cell(self, key: str, column: int) -> str:
        """The text of a cell."""
        item = self.item(self._keys.index(key), column)
        return "" if item is None else str(item.text())

    def is_stale(self, key: str) -> bool:
        """Whether a row is greyed."""
        item = self.item(self._keys.index(key), 0)
        return bool(item is not None and item.foreground().color() == _STALE)

    def _fit_height(self) -> None:
        header = self.horizontalHeader().sizeHint().height()
        rows = self.rowCount() if self._most is None else min(self.rowCount(), self._most)
        self.setFixedHeight(header + rows * _ROW_PX + 2 * self.frameWidth() + 2)
        whole = self._most is None or self.rowCount() <= self._most
        policy = Qt.ScrollBarPolicy
        self.setVerticalScrollBarPolicy(
            policy.ScrollBarAlwaysOff if whole else policy.ScrollBarAlwaysOn
        )

    def _on_cell(self, row: int, _column: int = 0) -> None:
        if row < len(self._keys):
            self.row_clicked.emit(self._keys[row])


class Histogram(QWidget):
    """The lungs' histogram of density in the colours of its bands, with the 15th percentile."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumHeight(150)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._edges: list[int] = []
        self._counts: list[int] = []
        self._perc15: int | None = None
        self.setToolTip(
            "Lung voxels by density (height: their root). Below -950 HU emphysema, up to -700 "
            "inflated lung, up to -200 ground glass, above consolidation (and vessels)."
        )

    def show_counts(self, edges: list[int], counts: list[int], perc15: int | None) -> None:
        """Lower edges in HU and voxels of each bin."""
        self._edges, self._counts, self._perc15 = edges, counts, perc15
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Bars, an axis with the limits of the bands, a line at Perc15."""
        from napari_covseg.quantify.density import BANDS

        if not self._counts:
            return
        painter = QPainter(self)
        area = QRect(6, 22, self.width() - 12, self.height() - 42)
        low, high = _SHOWN_HU
        scale = area.width() / (high - low)

        def across(hu: float) -> int:
            at: int = round(area.left() + (hu - low) * scale)
            return at

        shown = [
            (edge, count)
            for edge, count in zip(self._edges, self._counts, strict=True)
            if low <= edge < high
        ]
        most = max(1, *(count for _, count in shown))
        for edge, count in shown:
            band = sum(edge >= start for _, start, _ in BANDS[1:])
            # The root: as it is, consolidation would be lost beside healthy lung.
            tall = round(area.height() * (count / most) ** 0.5)
            left, right = across(edge), across(edge + _BIN_HU)
            colour = QColor(BAND_COLOURS[band])
            painter.fillRect(left, area.bottom() - tall + 1, right - left, tall, colour)
        words = self.palette().text().color()
        painter.setPen(QPen(words, 1))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        for hu in (-950, -700, -200, 0):
            at = across(hu)
            painter.drawLine(at, area.bottom(), at, area.bottom() + 4)
            place = QRect(at - 30, area.bottom() + 4, 60, 14)
            painter.drawText(place, Qt.AlignmentFlag.AlignCenter, f"{hu}".replace("-", "−"))
        if self._perc15 is not None:
            at = across(self._perc15)
            painter.setPen(QPen(words, 1, Qt.PenStyle.DashLine))
            painter.drawLine(at, area.top() - 10, at, area.bottom())
            painter.drawText(at + 4, area.top() - 6, f"Perc15 {self._perc15} HU".replace("-", "−"))
        painter.end()


def band_legend() -> str:
    """Names of the bands in their colours."""
    return " &nbsp; ".join(
        f'<span style="color:{colour};">■</span>&nbsp;{title.replace(" ", "&nbsp;")}'
        for colour, title in zip(BAND_COLOURS, BAND_TITLES.values(), strict=True)
    )
