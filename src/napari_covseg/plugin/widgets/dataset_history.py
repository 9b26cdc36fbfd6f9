"""The versions of a case: who made which, and a way back to each."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin.plain import plain
from napari_covseg.plugin.widgets.pieces import paragraph

if TYPE_CHECKING:
    from napari_covseg.cases.records import LabelVersion
    from napari_covseg.plugin.annotating import History

COLUMNS = ("", "When", "What", "Who", "Slices", "Min.")
_TIPS = ("Number; ✓ accepted", "", "How it came to be", "", "Reviewed slices", "Minutes spent")
_RIGHT = (0, 4, 5)


class VersionTable(QWidget):
    """Newest first; ``restore_asked`` tells which version (its id) shall be taken up again."""

    restore_asked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.text = paragraph("Choose a case in the list to see its versions.")
        self.table = QTableWidget(0, len(COLUMNS))
        self.restore = QPushButton("Take up this version again")
        self.restore.setToolTip("Adds a version with its labels; nothing is lost")
        self._versions: tuple[LabelVersion, ...] = ()
        self._build()

    def _build(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels(COLUMNS)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setShowGrid(False)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(24)
        table.setMinimumHeight(130)
        header = table.horizontalHeader()
        header.setMinimumSectionSize(30)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(3, QHeaderView.ResizeMode.Stretch)
        for column, tip in enumerate(_TIPS):
            table.horizontalHeaderItem(column).setToolTip(plain(tip))
        table.itemSelectionChanged.connect(self._on_selection)
        self.restore.clicked.connect(self._on_restore)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.text, table, self.restore):
            layout.addWidget(part)
        self._on_selection()

    def show_history(self, history: History | None) -> None:
        """The versions of a case; None: no case is chosen."""
        self._versions = history.versions if history is not None else ()
        accepted = history.record.accepted if history is not None else None
        self.text.setText(_heading(history))
        self.table.setRowCount(len(self._versions))
        for row, version in enumerate(self._versions):
            for column, text in enumerate(cells(version, accepted)):
                item = QTableWidgetItem(text)
                item.setToolTip(plain(tooltip(version)))
                if column in _RIGHT:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(row, column, item)
        self.table.clearSelection()
        self._on_selection()

    @property
    def version(self) -> LabelVersion | None:
        """The chosen version."""
        rows = self.table.selectionModel().selectedRows()
        return self._versions[rows[0].row()] if rows else None

    def _on_selection(self) -> None:
        chosen = self.version
        self.restore.setEnabled(chosen is not None and chosen is not self._versions[0])

    def _on_restore(self, *_: Any) -> None:
        if self.version is not None:
            self.restore_asked.emit(self.version.id)


def cells(version: LabelVersion, accepted: str | None) -> tuple[str, ...]:
    """A row's texts in the order of `COLUMNS`."""
    return (
        f"{'✓ ' if version.id == accepted else ''}{version.number}",
        f"{_local(version):%d %b %H:%M}",
        str(version.kind),
        version.author,
        str(len(version.reviewed)),
        f"{version.minutes:.0f}",
    )


def tooltip(version: LabelVersion) -> str:
    """All that the row has no room for."""
    parts = [
        f"Version {version.number}: {version.kind} of {version.author}, {_local(version):%c}",
        f"{version.edited_voxels} voxels differ from the version it was drawn from",
    ]
    if version.comment:
        parts.append(f"Comment: {version.comment}")
    if version.model:
        parts.append(f"Model {version.model[:12]}")
    if version.set_aside:
        parts.append("Another version was accepted in its stead")
    return "\n".join(parts)


def _heading(history: History | None) -> str:
    if history is None:
        return "Choose a case in the list to see its versions."
    if not history.versions:
        return f"{history.record.name} has no labels yet."
    return f"{history.record.name}, newest first. Nothing is ever overwritten."


def _local(version: LabelVersion) -> datetime:
    return version.created.astimezone()
