"""What the Detect widget looks like: controls and texts, no decisions."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QPushButton,
    QWidget,
)

from napari_covseg.plugin.detecting import COLUMNS, TIPS, rows_of
from napari_covseg.plugin.plain import Words
from napari_covseg.plugin.widgets.model_panel import ModelView
from napari_covseg.plugin.widgets.pieces import Folded, filled, marked, paragraph, side_by_side
from napari_covseg.plugin.widgets.quantify_tables import FiguresTable
from napari_covseg.workflows.detect_settings import LEAST_SCORE, DetectSettings

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.workflows.detect import DetectResult

NOTICE = "Research use only. Not a medical device."
NO_DETECTOR = (
    "Each body that the shipped segmentation model sees is a lesion. Or train a detector with "
    "<code>covseg detect-train</code> and choose its folder here."
)
MOST_ROWS = 12


class DetectView(ModelView):
    """Top to bottom: the button, the CT, the detector, what was found, options, the notice."""

    def __init__(self, viewer: Viewer, ct: Any, settings: DetectSettings) -> None:
        super().__init__(viewer, "Find lesions", "Look for GGO and consolidation in every slice")
        self.ct = ct
        self.detector = marked("")
        self.choose = QPushButton("Choose a detector…")
        self.choose.setToolTip("The folder of a detector that covseg detect-train made")
        self.summary = paragraph("")
        self.table = FiguresTable(COLUMNS, stretch=0, most_rows=MOST_ROWS, tips=TIPS)
        self.save = QPushButton("Save…")
        self.save.setToolTip("Write the masks (NIfTI) and the lesions (JSON) into a folder")
        self.score = QDoubleSpinBox()
        self.score.setRange(LEAST_SCORE, 1.0)
        self.score.setSingleStep(0.05)
        self.score.setValue(settings.score)
        self.score.setToolTip("What scores less is left out; lower finds more, and more wrongly")
        self._build()

    def _build(self) -> None:
        self.ct_row = side_by_side(Words("CT"), self.ct.native)
        options = Folded("Options")
        form = QWidget()
        rows = QFormLayout(form)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Least score", self.score)
        options.addWidget(form)
        parts = (self.ct_row, self.empty, self.detector, self.choose, self.summary, self.table)
        notice = marked(f"<small>{NOTICE}</small>")
        below = (self.save, options, self.device)
        filled(self, (self.run, self.running), (*parts, *below), (notice,))
        self.show_running(False)
        self.show_result(None)

    def show_choice(self, has_ct: bool, detector: str, run_text: str) -> None:
        """A CT and a detector are chosen, or not (then what is done is said instead)."""
        self.run.setText(run_text)
        self.run.setEnabled(has_ct)
        self.empty.setVisible(not has_ct)
        self.ct_row.setVisible(has_ct)
        self.detector.setText(f"Detector <b>{escape(detector)}</b>" if detector else NO_DETECTOR)
        self.choose.setText("Another detector…" if detector else "Choose a detector…")

    def show_result(self, result: DetectResult | None) -> None:
        """What was found in the chosen CT, if it was looked through."""
        found = result is not None
        lesions = result.detection.lesions if result is not None else ()
        self.table.setVisible(bool(lesions))
        self.save.setVisible(found)
        self.summary.setVisible(found)
        if result is None:
            return
        self.table.show_rows(rows_of(lesions))
        count = f"{len(lesions)} lesion{'' if len(lesions) == 1 else 's'}"
        model = result.provenance["model"]
        told = count if lesions else "No lesion scores enough"
        device = result.detection.device.title
        words = [f"{told} · {model['name']} {model['version']} on {device}"]
        words += [f"⚠ {text}" for text in result.warnings]
        self.summary.setText("\n".join(words))

    def held(self) -> tuple[QWidget, ...]:
        """What cannot be changed while it works."""
        return (self.ct_row, self.choose, self.score)
