"""Which series of a folder to open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin.plain import Words, plain

if TYPE_CHECKING:
    from napari_covseg.io import SeriesInfo

_COLUMNS = ("No.", "Description", "Plane", "Slices", "Spacing (mm)", "")


class SeriesDialog(QDialog):
    """A table of series, the best one chosen; those that cannot be opened say why."""

    def __init__(
        self, series: Sequence[SeriesInfo], folder: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._series = list(series)
        self.setWindowTitle("Choose a series")
        self.resize(760, 360)
        self.table = self._table()
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.table.itemDoubleClicked.connect(lambda _: self.accept())
        layout = QVBoxLayout(self)
        layout.addWidget(Words(f"'{folder}' holds {len(series)} series. Which one to open?"))
        layout.addWidget(self.table)
        layout.addWidget(self.buttons)
        self._select_best()

    def uid(self) -> str | None:
        """The chosen series, None if none is chosen."""
        row = self.table.currentRow()
        return self._series[row].uid if row >= 0 and self._series[row].loadable else None

    def _table(self) -> QTableWidget:
        table = QTableWidget(len(self._series), len(_COLUMNS), self)
        table.setHorizontalHeaderLabels(_COLUMNS)
        table.verticalHeader().hide()
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        for row, series in enumerate(self._series):
            for column, text in enumerate(_cells(series)):
                item = QTableWidgetItem(text)
                item.setToolTip(plain(series.reason or text))
                if column in (0, 3, 4):
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                if not series.loadable:
                    item.setFlags(Qt.ItemFlag.NoItemFlags)
                table.setItem(row, column, item)
        header = table.horizontalHeader()
        for column in range(len(_COLUMNS)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        return table

    def _select_best(self) -> None:
        best = next((row for row, series in enumerate(self._series) if series.loadable), -1)
        if best >= 0:
            self.table.selectRow(best)
            self.table.setCurrentCell(best, 0)


def ask_series(series: Sequence[SeriesInfo], folder: str) -> str | None:
    """Let the user choose a series; its UID, or None if the dialog was closed."""
    dialog = SeriesDialog(series, folder, QApplication.activeWindow())
    accepted = dialog.exec() == QDialog.DialogCode.Accepted
    uid = dialog.uid()
    dialog.deleteLater()
    return uid if accepted else None


def _cells(series: SeriesInfo) -> tuple[str, ...]:
    spacing = series.spacing_mm
    sizes = " × ".join(f"{mm:.2f}" for mm in spacing) if spacing else "–"
    number = "" if series.number is None else str(series.number)
    note = "" if series.loadable else series.reason
    return (number, series.description, series.plane, str(series.slices), sizes, note)
