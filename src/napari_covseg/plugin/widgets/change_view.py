"""What the Compare widget looks like: choices, figures and lists, no decisions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.domain.change import CHANGE_COLOURS
from napari_covseg.plugin import comparing as texts
from napari_covseg.plugin.plain import Words, plain
from napari_covseg.plugin.widgets.opening import Opening
from napari_covseg.plugin.widgets.pieces import (
    Folded,
    Running,
    marked,
    paragraph,
    primary_button,
    scrolled,
)

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.quantify.change import Change

NOTICE = "Research use only. Not a medical device."
_COLOURS = {"good": "#4caf50", "fair": "#ffb000", "poor": "#ff5252"}
_REGION_TIPS = (
    "Lesions of the prior, carried into the current lungs, ml",
    "Lesions now, ml",
    "Now minus before, ml",
    "Change, in percent of before",
    "Lesion where there was none, ml",
    "Healthy lung where there was lesion, ml",
)
_POOR = "Poor fit: do not rely on the colours, nor on any figure of change."
_ROW_PX, _MOST_ROWS = 22, 14


class ChangeView(QWidget):
    """Top to bottom: the button, the two CTs, what came of it, options, the notice."""

    def __init__(self, viewer: Viewer, current: Any, prior: Any) -> None:
        super().__init__()
        self.setMinimumWidth(360)
        self.run = primary_button(
            "Compare with the prior", "Lay the prior's lungs over these and find what changed"
        )
        self.running = Running()
        self.cancel = self.running.cancel
        self.current, self.prior = current, prior
        self.swap = QPushButton("⇅")
        self.swap.setToolTip("Exchange current and prior")
        self.swap.setFixedWidth(30)
        self.empty = Opening(viewer)
        self.state = paragraph()
        self.result = ChangeResult()
        self.deformable = QCheckBox("Bend the lungs too (takes longer)")
        self.deformable.setToolTip(
            "For lungs that moving and scaling do not bring together; kept only if they fit better"
        )
        self._build()

    def _build(self) -> None:
        self.choice = QWidget()
        grid = QGridLayout(self.choice)
        grid.setContentsMargins(0, 0, 0, 0)
        for row, (title, box) in enumerate((("Current", self.current), ("Prior", self.prior))):
            grid.addWidget(Words(title), row, 0)
            grid.addWidget(box.native, row, 1)
        grid.addWidget(self.swap, 0, 2, 2, 1)
        grid.setColumnStretch(1, 1)
        options = Folded("Options")
        options.addWidget(self.deformable)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        for part in (self.choice, self.state, self.empty, self.result, options):
            column.addWidget(part)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        scroll = scrolled(inner)
        for part in (self.run, self.running, scroll, marked(f"<small>{NOTICE}</small>")):
            outer.addWidget(part)
        outer.setStretchFactor(scroll, 1)
        self.show_running(False)

    def show_choice(self, cts: int, state: str, ready: bool) -> None:
        """How many CTs there are, and what is missing."""
        self.empty.setVisible(cts < 2)
        self.choice.setVisible(cts > 0)
        self.run.setEnabled(ready)
        self.show_state(state)

    def show_state(self, text: str) -> None:
        """What to do, or what is out of date."""
        self.state.setText(text)
        self.state.setVisible(bool(text))

    def show_running(self, running: bool) -> None:
        """Progress and Cancel stand in place of the button while it works."""
        self.run.setVisible(not running)
        self.running.setVisible(running)
        self.choice.setEnabled(not running)
        self.deformable.setEnabled(not running)
        if running:
            self.running.restart()


class ChangeResult(QWidget):
    """How well the lungs fit, the legend, regions, lesions, and what can be done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.fit, self.summary, self.warnings = marked(), paragraph(), paragraph()
        self.poor = marked(f"<b>{_POOR}</b>")
        self.poor.setStyleSheet("QLabel { background: #b00020; color: white; padding: 6px; }")
        self.legend = marked(legend_text())
        self.regions = ChangeTable(texts.REGION_COLUMNS, _REGION_TIPS)
        self.lesions = ChangeTable(texts.LESION_COLUMNS, titled=False)
        self.lobes, self.counts = marked(), paragraph()
        self.beside = QPushButton("Side by side")
        self.beside.setCheckable(True)
        self.beside.setToolTip("The prior beside the picture: same slice, place, zoom and window")
        self.flip = QPushButton("Show prior")
        self.flip.setCheckable(True)
        self.flip.setToolTip("The prior in place of the current scan, to switch to and fro")
        self.save = QPushButton("Save…")
        self.save.setToolTip("Write page, JSON, CSV and the map of change into a folder")
        row = QHBoxLayout()
        for button in (self.beside, self.flip, self.save):
            row.addWidget(button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for part in (self.poor, self.fit, self.warnings, self.summary):
            layout.addWidget(part)
        layout.addLayout(row)
        for part in (self.legend, self.regions, self.lobes, self.counts, self.lesions):
            layout.addWidget(part)
        self.hide()

    def show_change(self, change: Change) -> None:
        """Fill everything in."""
        colour = _COLOURS[change.registration.verdict]
        self.fit.setText(f'<span style="color:{colour};">●</span> {escape(texts.fit_text(change))}')
        self.poor.setVisible(change.registration.verdict == "poor")
        self.warnings.setText("\n".join(f"⚠ {text}" for text in change.warnings))
        self.warnings.setVisible(bool(change.warnings))
        self.summary.setText(texts.summary_text(change))
        self.regions.show_rows(list(texts.region_rows(change)))
        self.lobes.setText(f"<small>{escape(texts.lobes_text(change))}</small>")
        self.lobes.setVisible(bool(change.lobes))
        self.counts.setText(texts.counts_text(change))
        rows = [
            (str(i + 1), texts.lesion_cells(one)) for i, one in enumerate(change.lesions.listed)
        ]
        self.lesions.show_rows(rows)
        self.lesions.setVisible(bool(rows))
        self.show()


class ChangeTable(QTableWidget):
    """Rows of texts, numbers on the right; ``row_clicked`` tells the index of a row."""

    row_clicked = Signal(int)

    def __init__(
        self, columns: Sequence[str], tips: Sequence[str] = (), *, titled: bool = True
    ) -> None:
        super().__init__(0, len(columns))
        self.setHorizontalHeaderLabels(list(columns))
        for column, tip in enumerate(tips):
            self.horizontalHeaderItem(column).setToolTip(plain(tip))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        font = self.font()
        font.setPixelSize(12)
        self.setFont(font)
        header, side = self.horizontalHeader(), self.verticalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(30)
        header.setHighlightSections(False)
        if not titled:
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        side.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        side.setDefaultSectionSize(_ROW_PX)
        side.setMinimumSectionSize(_ROW_PX)
        self.cellClicked.connect(self._on_click)
        side.sectionClicked.connect(self._on_click)

    def show_rows(self, rows: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        """Fill the table with titles and cells."""
        self.setRowCount(len(rows))
        self.setVerticalHeaderLabels([title for title, _ in rows])
        for index, (_, cells) in enumerate(rows):
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                words = text[:1].isalpha()
                side = Qt.AlignmentFlag.AlignLeft if words else Qt.AlignmentFlag.AlignRight
                item.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(index, column, item)
        shown = min(len(rows), _MOST_ROWS)
        header = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + shown * _ROW_PX + 2 * self.frameWidth() + 2)
        policy = Qt.ScrollBarPolicy
        whole = len(rows) <= _MOST_ROWS
        self.setVerticalScrollBarPolicy(
            policy.ScrollBarAlwaysOff if whole else policy.ScrollBarAlwaysOn
        )

    def _on_click(self, row: int, _column: int = 0) -> None:
        self.row_clicked.emit(row)


def legend_text() -> str:
    """The states of change in their colours."""
    return " &nbsp; ".join(
        f'<span style="color:{colour};">■</span>&nbsp;{label.title.replace(" ", "&nbsp;")}'
        for label, colour in CHANGE_COLOURS.items()
    )
