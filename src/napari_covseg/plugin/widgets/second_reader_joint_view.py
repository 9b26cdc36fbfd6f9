"""What the consensus of two readers looks like: figures, differences, a choice for each."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.editing.consensus import Rule
from napari_covseg.plugin.plain import Markup, Words, plain
from napari_covseg.plugin.widgets.pieces import paragraph
from napari_covseg.plugin.widgets.second_reader_tables import ChoiceTable, Column, RowsTable

_DIFFERENCES = (
    Column("Slice", "The axial slice with most of it; a click goes there", number=True),
    Column("First", grows=True),
    Column("Second", grows=True),
    Column("ml", "How much of it, in all slices", number=True),
    Column("Take", "What becomes of it"),
)
_FIGURES = (
    Column("", grows=True),
    Column("First", number=True),
    Column("Second", number=True),
    Column("Dice", "Overlap of both, 1 where they are the same", number=True),
)
_LEGEND = "QLabel { background: #14181d; color: #dfe4ea; border-radius: 3px; padding: 3px 6px; }"
_TIPS = {
    Rule.FIRST: "All lesions as the first reader drew them",
    Rule.SECOND: "All lesions as the second reader drew them",
    Rule.UNION: "A lesion wherever either reader drew one",
    Rule.INTERSECTION: "A lesion only where both readers drew one",
}


class JointPage(QWidget):
    """Two readers side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.stands, self.note = (paragraph() for _ in range(3))
        self.title.setStyleSheet("QLabel { font-weight: 600; font-size: 14px; }")
        self.legend = Markup("")
        self.legend.setStyleSheet(_LEGEND)
        self.legend.setWordWrap(True)
        self.outlines = QCheckBox("Outlines")
        self.outlines.setChecked(True)
        self.outlines.setToolTip("The readers' outlines over what is joined")
        self.figures = RowsTable(_FIGURES, (2, 4))
        self.all = {rule: QPushButton(str(rule).capitalize()) for rule in Rule}
        for rule, button in self.all.items():
            button.setCheckable(True)
            button.setToolTip(plain(_TIPS[rule]))
        self.table = ChoiceTable(_DIFFERENCES, (3, 9))
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("Comment")
        self.whole = QCheckBox("I checked every slice of this scan")
        self.whole.setToolTip("All slices count as reviewed, also those that neither reader marked")
        self.save = QPushButton("Save, accept later")
        self.save.setToolTip("Keep the consensus as a version that waits for review")
        self.leave = QPushButton("Back to the case")
        self.leave.setToolTip("Join nothing now")
        self._build()

    def _build(self) -> None:
        everything = QGridLayout()
        everything.setSpacing(4)
        for place, button in enumerate(self.all.values()):
            everything.addWidget(button, place // 2, place % 2)
        bottom = QHBoxLayout()
        bottom.addWidget(self.save, 1)
        bottom.addWidget(self.leave, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.title)
        column.addWidget(self.legend)
        column.addWidget(self.figures)
        row = QHBoxLayout()
        row.addWidget(Words("All lesions in which they differ:"), 1)
        row.addWidget(self.outlines)
        column.addLayout(row)
        column.addLayout(everything)
        for part in (self.table, self.stands, self.note, self.comment, self.whole):
            column.addWidget(part)
        column.addLayout(bottom)
        column.addStretch(1)

    def name_readers(self, first: str, second: str) -> None:
        """Put the readers' names into the heads of the tables and on the buttons."""
        for table, places in ((self.table, (1, 2)), (self.figures, (1, 2))):
            unit = " ml" if table is self.figures else ""
            for place, name in zip(places, (first, second), strict=True):
                table.horizontalHeaderItem(place).setText(f"{name}{unit}")
        self.all[Rule.FIRST].setText(first)
        self.all[Rule.SECOND].setText(second)
