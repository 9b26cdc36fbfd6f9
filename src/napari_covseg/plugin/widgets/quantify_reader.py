"""The reader's own scores: points for each lobe or region, and how far they agree with ours."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_covseg.plugin.plain import Words
from napari_covseg.plugin.quantify_texts import NONE
from napari_covseg.plugin.reader_scores import KINDS, ReaderScores, part_names
from napari_covseg.plugin.widgets.pieces import paragraph


class ReaderPage(QWidget):
    """Points by part beside the measured ones; ``changed`` tells that a point was chosen."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.kind = QComboBox()
        for key, (title, _, _) in KINDS.items():
            self.kind.addItem(title, key)
        self.kind.setToolTip("The score that you read")
        # As wide as there is room, not as its longest entry.
        self.kind.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.kind.setMinimumContentsLength(12)
        self.clear = QPushButton("Clear")
        self.clear.setToolTip("Take your points away")
        self.agreement = paragraph()
        self.boxes: dict[str, QComboBox] = {}
        self._ours: dict[str, QLabel] = {}
        self._points: dict[str, dict[str, int]] = {key: {} for key in KINDS}
        self._rows = QWidget()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 8, 4, 4)
        layout.setSpacing(6)
        for part in (self.kind, self.agreement, self._rows, self.clear):
            layout.addWidget(part)
        layout.addStretch(1)
        self._grid = QGridLayout(self._rows)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(0, 1)
        self.kind.currentIndexChanged.connect(self._on_kind)
        self.clear.clicked.connect(lambda: self.show_scores(ReaderScores(self._key(), {})))
        self._build()

    @property
    def scores(self) -> ReaderScores:
        """What was chosen."""
        return ReaderScores(self._key(), dict(self._points[self._key()]))

    def show_scores(self, scores: ReaderScores) -> None:
        """Choose a score and its points."""
        self._points[scores.kind] = dict(scores.points)
        self.kind.blockSignals(True)
        self.kind.setCurrentIndex(self.kind.findData(scores.kind))
        self.kind.blockSignals(False)
        self._build()
        self.changed.emit()

    def show_measured(self, points: Mapping[str, int]) -> None:
        """The measured points of each part."""
        for name, label in self._ours.items():
            label.setText(str(points.get(name, NONE)))

    def _key(self) -> str:
        return str(self.kind.currentData())

    def _on_kind(self) -> None:
        self._build()
        self.changed.emit()

    def _build(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        self.boxes, self._ours = {}, {}
        key = self._key()
        for column, text in enumerate(("", "Yours", "Measured")):
            self._grid.addWidget(Words(text), 0, column)
        for row, name in enumerate(part_names(key), start=1):
            title = name.replace("_", " ")
            title = title[:1].upper() + title[1:]
            box = QComboBox()
            box.addItems([NONE, *map(str, range(KINDS[key][1] + 1))])
            box.setCurrentIndex(self._points[key].get(name, -1) + 1)
            box.setAccessibleName(title)
            box.currentIndexChanged.connect(lambda at, name=name: self._choose(name, at - 1))
            ours = Words(NONE)
            for column, part in enumerate((Words(title), box, ours)):
                self._grid.addWidget(part, row, column)
            self.boxes[name], self._ours[name] = box, ours

    def _choose(self, name: str, points: int) -> None:
        held = self._points[self._key()]
        if points < 0:
            held.pop(name, None)
        else:
            held[name] = points
        self.changed.emit()
