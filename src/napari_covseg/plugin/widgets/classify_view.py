"""What the Classify widget looks like: controls and texts, no decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin import classify_texts as texts
from napari_covseg.plugin.classifying_folder import FileRow, Order
from napari_covseg.plugin.plain import Words
from napari_covseg.plugin.widgets.classify_bars import Bars
from napari_covseg.plugin.widgets.model_panel import ModelView
from napari_covseg.plugin.widgets.pieces import Folded, filled, marked, paragraph, side_by_side
from napari_covseg.plugin.widgets.quantify_tables import FiguresTable
from napari_covseg.reports.classification import UNSURE

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.plugin.classifying import Classified

_UNSURE = "QLabel { background: #8a5a00; color: white; font-weight: 600; padding: 6px; }"
_MOST_ROWS = 12


class ResultView(QWidget):
    """An answer: unsure or not, class and bars, where from, similar cases, about the model."""

    def __init__(self) -> None:
        super().__init__()
        self.unsure = paragraph(UNSURE)
        self.unsure.setStyleSheet(_UNSURE)
        self.headline = marked("")
        self.headline.setStyleSheet("font-size: 16px;")
        self.bars = Bars()
        self.words = paragraph("")
        self.go = QPushButton("")
        self.go.setToolTip("Show the slice that speaks most for the answer")
        self.similar = Folded("Similar training pictures")
        self.similar_words = paragraph("")
        self.similar_table = FiguresTable(texts.SIMILAR_COLUMNS)
        for part in (self.similar_words, self.similar_table):
            self.similar.addWidget(part)
        self.about = Folded("About this model")
        self.about_words = paragraph("")
        self.about.addWidget(self.about_words)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(6)
        parts = (self.unsure, self.headline, self.bars, self.words, self.go, self.similar)
        for part in (*parts, self.about):
            column.addWidget(part)
        self.similar.expand()

    def show_answer(self, classified: Classified) -> None:
        """Fill it."""
        result = classified.result
        self.unsure.setVisible(result.unsure)
        self.headline.setText(texts.headline(result))
        self.bars.show_chances(result.classes, result.probabilities, result.spread)
        words = [texts.doubt_text(result), texts.source_words(result)]
        words += [f"⚠ {text}" for text in result.warnings]
        self.words.setText("\n".join(text for text in words if text))
        self.go.setVisible(result.shown is not None)
        if result.shown is not None:
            self.go.setText(f"Go to slice {result.shown + 1}")
        self.similar_words.setText(texts.SIMILAR if result.similar else texts.NO_SIMILAR)
        self.similar_table.setVisible(bool(result.similar))
        self.similar_table.show_rows(texts.similar_rows(result.similar))
        device = result.provenance["device"]["title"]
        self.about_words.setText(f"{texts.about_model(classified.card)}\nThis run: {device}.")


class FolderView(QWidget):
    """A folder's answers: how many, a table that leads to each, and its CSV."""

    def __init__(self) -> None:
        super().__init__()
        self.words = paragraph("")
        self.table = FiguresTable(
            texts.FILE_COLUMNS, stretch=0, most_rows=_MOST_ROWS, tips=texts.FILE_TIPS
        )
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.setWordWrap(False)
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSortIndicatorShown(True)
        self._rows: Sequence[FileRow] = ()
        self._coming = False
        self.save = QPushButton("Save as CSV…")
        self.save.setToolTip("Every file with its probabilities, in the order of the table")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        for part in (self.words, self.table, self.save):
            column.addWidget(part)

    def show_rows(self, rows: Sequence[FileRow], order: Order, coming: bool) -> None:
        """Fill it; ``rows`` come in the order of the table, more of them while ``coming``."""
        if rows is self._rows and coming == self._coming:
            return
        self._rows, self._coming = rows, coming
        self.words.setText(texts.folder_words(rows, order == Order(), coming))
        self.save.setEnabled(not coming)
        self.table.show_rows(texts.file_rows(rows[: texts.MOST_LISTED]))
        way = Qt.SortOrder.DescendingOrder if order.turned else Qt.SortOrder.AscendingOrder
        self.table.horizontalHeader().setSortIndicator(order.column, way)
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        for index in range(self.table.rowCount()):
            for column in (0, 1):
                self.table.item(index, column).setTextAlignment(left)


class ClassifyView(ModelView):
    """Top to bottom: the button, what to classify, the model, the answer, options, the notice."""

    def __init__(self, viewer: Viewer, source: Any) -> None:
        super().__init__(viewer, "Classify", "Say how probable each class of the model is")
        self.source = source
        self.picture = QPushButton("Open picture…")
        self.picture.setToolTip("A chest X-ray or a slice of CT: PNG, JPEG or DICOM")
        self.folder = QPushButton("Choose folder…")
        self.folder.setToolTip("Classify every picture, or every CT, of a folder")
        self.model = QComboBox()
        self.model.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.model.setToolTip("The classifier: the shipped one, or one of your own")
        self.choose = QPushButton("Own model…")
        self.choose.setToolTip("The folder of a classifier that covseg classify-train made")
        self.choose.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.shipped = marked(f"<small>{texts.SHIPPED}</small>")
        self.result = ResultView()
        self.rows = FolderView()
        self.heat = QCheckBox("Heat map of where the network looked")
        self.heat.setToolTip("Grad-CAM, as a layer over the CT or the picture")
        self.heat.setChecked(True)
        self.weights = QPushButton("")
        self.no_weights = QPushButton("None")
        self._build()

    def _build(self) -> None:
        self.source_row = side_by_side(Words("Classify"), self.source.native)
        options = Folded("Options")
        options.addWidget(self.heat)
        options.addWidget(side_by_side(Words("ImageNet weights"), self.weights, self.no_weights))
        self.weights.setToolTip("Only for a classifier that was trained on ImageNet features")
        self.no_weights.setToolTip("Without a file of weights")
        self.model_row = side_by_side(Words("Model"), self.model, self.choose)
        files = side_by_side(self.picture, self.folder)
        # The table first: it must not move while one row after the other is opened.
        asked = (self.source_row, self.empty, files, self.model_row, self.shipped)
        said = (self.rows, self.result, options, self.device)
        notice = marked(f"<small>{texts.NOTICE}</small>")
        filled(self, (self.run, self.running), (*asked, *said), (notice,))
        self.show_running(False)
        self.show_answer(None)
        self.show_rows(())

    def show_models(self, models: Sequence[tuple[str, str]], chosen: str) -> None:
        """Title and value of each model; tells nobody."""
        self.model.blockSignals(True)
        self.model.clear()
        for title, value in models:
            self.model.addItem(title, value)
        self.model.setCurrentIndex(max(0, self.model.findData(chosen)))
        self.model.blockSignals(False)

    def show_choice(self, has_source: bool, run_text: str, is_shipped: bool, weights: str) -> None:
        """There is something to classify or not (then what to do is said instead)."""
        self.run.setText(run_text)
        self.run.setEnabled(has_source)
        self.empty.setVisible(not has_source)
        self.source_row.setVisible(has_source)
        self.shipped.setVisible(is_shipped)
        self.weights.setText(weights or "Choose file…")
        self.no_weights.setVisible(bool(weights))

    def show_answer(self, classified: Classified | None) -> None:
        """The answer for the chosen layer, if it was classified."""
        self.result.setVisible(classified is not None)
        if classified is not None:
            self.result.show_answer(classified)

    def show_rows(
        self, rows: Sequence[FileRow], order: Order | None = None, coming: bool = False
    ) -> None:
        """The answers for a folder, if there are any."""
        self.rows.setVisible(bool(rows))
        if rows:
            self.rows.show_rows(rows, order or Order(), coming)

    def held(self) -> tuple[QWidget, ...]:
        """What cannot be changed while it works."""
        return (self.source_row, self.picture, self.folder, self.model_row)
