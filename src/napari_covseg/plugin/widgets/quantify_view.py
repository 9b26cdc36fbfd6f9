"""What the Quantify widget looks like: pages of figures, no decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QTabWidget, QVBoxLayout, QWidget

from napari_covseg.plugin import quantify_texts as texts
from napari_covseg.plugin.plain import Words
from napari_covseg.plugin.range_texts import RANGE_COLUMNS, range_rows, ranges_text
from napari_covseg.plugin.widgets.found_again import FoundAgain
from napari_covseg.plugin.widgets.opening import Opening
from napari_covseg.plugin.widgets.pieces import marked, paragraph, scrolled
from napari_covseg.plugin.widgets.quantify_reader import ReaderPage
from napari_covseg.plugin.widgets.quantify_tables import FiguresTable, Histogram, band_legend

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.quantify.case import Quantification
    from napari_covseg.quantify.volumes import Measurements

NOTICE = "Research use only. Not a medical device."
_PART_TIPS = (
    "Volume, lesions included",
    "Ground-glass opacity",
    "Ground-glass opacity, share of this part",
    "Consolidation",
    "Consolidation, share of this part",
    "All lesions",
    "All lesions, share of this part",
)
LIVE = ("both", "right", "left")
"""The rows that follow the painting at once."""


class QuantifyView(QWidget):
    """Top to bottom: the CT, what is wrong, the pages, copying and saving, the notice."""

    def __init__(self, viewer: Viewer, ct: Any) -> None:
        super().__init__()
        self.setMinimumWidth(360)
        self.ct = ct
        self.empty = Opening(viewer)
        self.nothing = paragraph(
            "This CT has no labels yet: segment it, or open its label map over it."
        )
        self.found = FoundAgain(viewer)
        self.state, self.warnings = paragraph(), paragraph()
        self.severity, self.lesions = SeverityPage(), LesionsPage()
        self.density, self.reader = DensityPage(), ReaderPage()
        self.pages = QTabWidget()
        for title, page in (
            ("Severity", self.severity),
            ("Lesions", self.lesions),
            ("Density", self.density),
            ("Reader", self.reader),
        ):
            self.pages.addTab(page, title)
        self.copy = QPushButton("Copy tables")
        self.copy.setToolTip("Copy all figures as text with tabs, for a report or a spreadsheet")
        self.save = QPushButton("Save figures…")
        self.save.setToolTip("Write all figures as CSV or as JSON")
        self._build()

    def _build(self) -> None:
        self.ct_row = QWidget()
        row = QHBoxLayout(self.ct_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(Words("CT"))
        row.addWidget(self.ct.native, 1)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        parts = (self.ct_row, self.empty, self.found, self.nothing, self.warnings, self.pages)
        for part in parts:
            column.addWidget(part)
        column.addStretch(1)
        self.buttons = QWidget()
        row = QHBoxLayout(self.buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.copy, 1)
        row.addWidget(self.save, 1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        self.scroll = scrolled(inner)
        for part in (self.scroll, self.state, self.buttons, marked(f"<small>{NOTICE}</small>")):
            outer.addWidget(part)
        outer.setStretchFactor(self.scroll, 1)
        self.pages.currentChanged.connect(self._fit_page)
        self._fit_page()

    def _fit_page(self) -> None:
        """Each page as tall as itself: a hidden long one gives no empty space to a short one."""
        from qtpy.QtWidgets import QSizePolicy

        policy = QSizePolicy.Policy
        for index in range(self.pages.count()):
            shown = index == self.pages.currentIndex()
            page = self.pages.widget(index)
            page.setSizePolicy(policy.Preferred, policy.Preferred if shown else policy.Ignored)
        self.pages.adjustSize()

    def show_nothing(self, has_ct: bool) -> None:
        """There is no CT, or one without labels."""
        self.empty.setVisible(not has_ct)
        self.ct_row.setVisible(has_ct)
        self.nothing.setVisible(has_ct)
        for part in (self.pages, self.buttons, self.state, self.warnings):
            part.hide()

    def show_measuring(self) -> None:
        """Labels are there and their figures on the way; those shown may be another CT's."""
        for part in (self.empty, self.nothing, self.pages, self.warnings, self.buttons):
            part.hide()
        self.ct_row.show()
        self.state.show()
        self.state.setText("Measuring…")

    def show_result(self, result: Quantification) -> None:
        """Fill all pages."""
        self.warnings.setText("\n".join(f"⚠ {text}" for text in result.warnings))
        self.warnings.setVisible(bool(result.warnings))
        for page in (self.severity, self.lesions, self.density):
            page.show_result(result)
        for part in (self.pages, self.buttons, self.state):
            part.show()
        self.buttons.setEnabled(True)
        self.show_stale(False, False)
        self._fit_page()

    def show_live(self, measurements: Measurements, ml_known: bool) -> None:
        """Volumes that follow the painting; without ml where a voxel's size was assumed."""
        self.severity.show_live(measurements, ml_known)

    def show_stale(self, stale: bool, live: bool) -> None:
        """Grey what is of before the last edit; ``live``: but not the volumes by side."""
        but = LIVE if live else ()
        self.severity.parts.show_stale(stale, but)
        page = self.severity
        for table in (page.scores, page.lobes, page.ranges, self.lesions.table):
            table.show_stale(stale)
        self.density.show_stale(stale)
        self.buttons.setEnabled(not stale)
        self.state.setVisible(stale)
        if stale:
            more = " Volumes by side follow at once." if live else ""
            self.state.setText(
                f"The labels were edited: grey figures are measured anew at a pause.{more}"
            )


class SeverityPage(QWidget):
    """Scores, and volumes by part of the lungs."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = FiguresTable(texts.SCORE_COLUMNS[1:], stretch=0)
        self.lobes_from = paragraph()
        self.load_lobes = QPushButton("Load lobes…")
        self.load_lobes.setToolTip("Read the five lobes from a NIfTI, NRRD or MetaImage file")
        self.parts = FiguresTable(texts.PART_COLUMNS, tips=_PART_TIPS, wide_first=True)
        self.lobes = FiguresTable(texts.PART_COLUMNS, tips=_PART_TIPS, wide_first=True)
        self.ranges_about = paragraph()
        self.ranges = FiguresTable(RANGE_COLUMNS)
        row = QHBoxLayout()
        row.addWidget(self.lobes_from, 1)
        row.addWidget(self.load_lobes)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 8, 4, 4)
        layout.setSpacing(6)
        layout.addWidget(self.scores)
        layout.addWidget(self.parts)
        layout.addLayout(row)
        layout.addWidget(self.lobes)
        layout.addWidget(self.ranges_about)
        layout.addWidget(self.ranges)
        layout.addStretch(1)

    def show_result(self, result: Quantification) -> None:
        """Fill the page."""
        rows = texts.score_rows(result)
        # Not bold here and below: in a narrow dock beside a scroll bar it would not fit.
        self.scores.show_rows(rows)
        self.scores.setColumnHidden(2, all(row.cells[2] == texts.NONE for row in rows))
        self.parts.show_rows(texts.part_rows(result))
        lobes = texts.lobe_rows(result)
        self.lobes.show_rows(lobes)
        self.lobes.setVisible(bool(lobes))
        self.lobes_from.setText(texts.lobes_text(result))
        ranges = range_rows(result)
        self.ranges.show_rows(ranges, bold=("both",))
        self.ranges_about.setText(ranges_text(result))
        for part in (self.ranges_about, self.ranges):
            part.setVisible(bool(ranges))

    def show_live(self, measurements: Measurements, ml_known: bool) -> None:
        """Volumes by side, as they are now."""
        sides = (measurements.both, measurements.right, measurements.left)
        for key, side in zip(LIVE, sides, strict=True):
            self.parts.show_cells(key, texts.live_cells(side, ml_known))


class LesionsPage(QWidget):
    """Every lesion; a click on one goes there."""

    def __init__(self) -> None:
        super().__init__()
        self.count = paragraph()
        self.table = FiguresTable(texts.LESION_COLUMNS, stretch=0, most_rows=24)
        self.hint = paragraph("Click a lesion to go to it.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 8, 4, 4)
        for part in (self.count, self.table, self.hint):
            layout.addWidget(part)
        layout.addStretch(1)

    def show_result(self, result: Quantification) -> None:
        """Fill the page."""
        rows = texts.lesion_rows(result)
        self.count.setText(texts.lesions_text(result))
        self.table.show_rows(rows)
        for part in (self.table, self.hint):
            part.setVisible(bool(rows))


class DensityPage(QWidget):
    """The histogram with its bands, density, and the second opinion."""

    def __init__(self) -> None:
        super().__init__()
        self.without = paragraph("Density needs a CT in Hounsfield units on the labels' grid.")
        self.histogram = Histogram()
        self.legend = marked(band_legend())
        tips = tuple(f"{title}, share of the lung" for title in texts.BAND_TITLES.values())
        self.bands = FiguresTable(texts.BAND_COLUMNS, tips=tips)
        self.table = FiguresTable(texts.DENSITY_COLUMNS)
        self.opinion = paragraph()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 8, 4, 4)
        layout.setSpacing(6)
        self._given = (self.histogram, self.legend, self.bands, self.table, self.opinion)
        for part in (self.without, *self._given):
            layout.addWidget(part)
        layout.addStretch(1)

    def show_result(self, result: Quantification) -> None:
        """Fill the page."""
        density, counts = result.density, result.histogram
        given = density is not None and counts is not None
        self.without.setVisible(not given)
        for part in self._given:
            part.setVisible(given)
        if density is None or counts is None:
            return
        self.histogram.show_counts(*counts, density["both"].perc15_hu)
        self.bands.show_rows(texts.band_rows(result))
        self.table.show_rows(texts.density_rows(result))
        self.opinion.setText(texts.opinion_text(result))

    def show_stale(self, stale: bool) -> None:
        """Grey the page."""
        for table in (self.bands, self.table):
            table.show_stale(stale)
        self.histogram.setEnabled(not stale)
