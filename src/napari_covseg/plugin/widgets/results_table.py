"""Volumes and percentages by side and class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_covseg.plugin.plain import plain

if TYPE_CHECKING:
    from napari_covseg.quantify.volumes import Measurements, SideMeasurements

COLUMNS = ("Lung\nml", "GGO\nml", "GGO\n%", "Consol.\nml", "Consol.\n%", "Total\n%")
_TIPS = (
    "Volume of the lung, lesions included",
    "Volume of ground-glass opacity",
    "Ground-glass opacity, share of the lung",
    "Volume of consolidation",
    "Consolidation, share of the lung",
    "All lesions, share of the lung",
)


class ResultsTable(QTableWidget):
    """Rows right, left and both; ``side_clicked`` tells ``Right``, ``Left`` or ``Both``."""

    side_clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(3, len(COLUMNS), parent)
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("Click a row to go to the slice with most lesion on that side")
        for column, tip in enumerate(_TIPS):
            self.horizontalHeaderItem(column).setToolTip(plain(tip))
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.horizontalHeader().setMinimumSectionSize(36)
        self.horizontalHeader().setHighlightSections(False)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(26)
        self.cellClicked.connect(self._on_click)
        self.verticalHeader().sectionClicked.connect(self._on_click)

    def show_measurements(self, measurements: Measurements) -> None:
        """Fill the table."""
        rows = measurements.rows
        self.setVerticalHeaderLabels([title for title, _ in rows])
        for row, (title, side) in enumerate(rows):
            for column, text in enumerate(cells(side)):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                font = item.font()
                font.setBold(title == "Both")
                item.setFont(font)
                self.setItem(row, column, item)
        self._fit_height()

    def _fit_height(self) -> None:
        header = self.horizontalHeader().sizeHint().height()
        rows = sum(self.rowHeight(row) for row in range(self.rowCount()))
        self.setFixedHeight(header + rows + 2 * self.frameWidth() + 2)

    def _on_click(self, row: int, _column: int = 0) -> None:
        item = self.verticalHeaderItem(row)
        if item is not None:
            self.side_clicked.emit(item.text())


def cells(side: SideMeasurements) -> tuple[str, ...]:
    """A row's texts in the order of `COLUMNS`."""
    return (
        format_ml(side.lung_ml),
        format_ml(side.ggo_ml),
        format_percent(side.ggo_percent),
        format_ml(side.consolidation_ml),
        format_percent(side.consolidation_percent),
        format_percent(side.lesions_percent),
    )


def format_ml(volume_ml: float) -> str:
    """No decimals above 10 ml, one below."""
    return f"{volume_ml:.0f}" if volume_ml >= 9.95 else f"{volume_ml:.1f}"


def format_percent(percent: float | None) -> str:
    """One decimal; a dash where there is no lung."""
    return "–" if percent is None else f"{percent:.1f}"
