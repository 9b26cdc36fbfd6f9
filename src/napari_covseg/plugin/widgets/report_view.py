"""What the Report widget looks like: controls and texts, no decisions."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin.plain import Words
from napari_covseg.plugin.widgets.opening import Opening
from napari_covseg.plugin.widgets.pieces import (
    Folded,
    Running,
    marked,
    paragraph,
    primary_button,
    scrolled,
)
from napari_covseg.workflows.report_request import FORMATS

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.plugin.reporting import Preview

NOTICE = "Research use only. Not a medical device."
NO_LABELS = "This CT has no labels yet. Segment it, or open a label map over it."
_CO_RADS = (
    "not given",
    "0: not interpretable",
    "1: very low (normal, non-infectious)",
    "2: low (other infection)",
    "3: equivocal",
    "4: high",
    "5: very high (typical)",
    "6: proven (RT-PCR)",
)
_BOX = "QPlainTextEdit { border: 1px solid #7a828e; border-radius: 3px; padding: 2px; }"
"""napari's themes draw no edge round a text."""
_TITLES = {"html": "HTML", "pdf": "PDF", "csv": "CSV", "json": "JSON", "txt": "Text"}


class ReportView(QWidget):
    """Top to bottom: the button, the CT, the reader's part, sign-off, preview, and the notice."""

    def __init__(self, viewer: Viewer, ct: Any) -> None:
        super().__init__()
        self.setMinimumWidth(360)
        self.save = primary_button("Save report…", "Write the report into a folder")
        self.running = Running()
        self.ct = ct
        self.empty = Opening(viewer)
        self.no_labels = paragraph(NO_LABELS)
        self.reader = ReaderPart()
        self.copy = QPushButton("Copy findings")
        self.copy.setToolTip("Put the findings on the clipboard as plain text")
        self.browse = QPushButton("In browser")
        self.browse.setToolTip("Look at the whole report; nothing is saved")
        self.look = QPushButton("Preview")
        self.look.setToolTip("Measure, and show key pictures and findings here")
        self.classifier = QCheckBox("With what the classifier says")
        self.classifier.setToolTip(
            "A section of its own: probability, doubt and heat map. Research, not a diagnosis"
        )
        self.formats = _Formats()
        self.preview = _Preview()
        self.notice = marked(f"<small>{NOTICE}</small>")
        self._build()

    def _build(self) -> None:
        self.ct_row = QWidget()
        row = QHBoxLayout(self.ct_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(Words("CT"))
        row.addWidget(self.ct.native, 1)
        self.body = QWidget()
        body = QVBoxLayout(self.body)
        body.setContentsMargins(0, 0, 0, 0)
        body.setSpacing(8)
        acts = QHBoxLayout()
        for button in (self.look, self.copy, self.browse):
            acts.addWidget(button, 1)
        body.addWidget(self.reader)
        body.addWidget(self.classifier)
        body.addLayout(acts)
        for part in (self.formats, self.preview):
            body.addWidget(part)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        for part in (self.ct_row, self.empty, self.no_labels, self.body):
            column.addWidget(part)
        column.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        self.scroll = scrolled(inner)
        for part in (self.save, self.running, self.scroll, self.notice):
            outer.addWidget(part)
        outer.setStretchFactor(self.scroll, 1)
        self._order_tabs()
        self.show_running(False)

    def _order_tabs(self) -> None:
        stops = [
            *(self.save, self.running.cancel, self.ct.native),
            *(self.empty.folder, self.empty.file, self.empty.sample),
            *(self.reader.findings, self.reader.impression, self.reader.co_rads),
            *(self.reader.sign, self.classifier, self.look, self.copy, self.browse),
            *self.formats.boxes.values(),
        ]
        for before, after in pairwise(stops):
            self.setTabOrder(before, after)

    def show_state(self, has_ct: bool, has_labels: bool) -> None:
        """What there is to report on; else what to do is said."""
        self.empty.setVisible(not has_ct)
        self.ct_row.setVisible(has_ct)
        self.no_labels.setVisible(has_ct and not has_labels)
        self.body.setVisible(has_labels)
        self.save.setEnabled(has_labels)

    def offer_classifier(self, said: bool, tick: bool) -> None:
        """Whether a classifier said something of this CT, and whether that is to be told."""
        self.classifier.setVisible(said)
        self.classifier.blockSignals(True)
        self.classifier.setChecked(said and tick)
        self.classifier.blockSignals(False)

    def show_running(self, running: bool) -> None:
        """Progress and Cancel stand in place of the button while it works."""
        self.save.setVisible(not running)
        self.running.setVisible(running)
        for part in (self.look, self.copy, self.browse, self.reader.sign, self.classifier):
            part.setEnabled(not running)
        if running:
            self.running.restart()


class ReaderPart(QWidget):
    """Free text, impression, CO-RADS and the sign-off."""

    def __init__(self) -> None:
        super().__init__()
        self.findings = _text("Findings in your own words (optional)", 74)
        self.impression = _text("Impression (optional)", 56)
        self.co_rads = QComboBox()
        self.co_rads.addItems(_CO_RADS)
        # Its longest line is wider than the dock where that has a scroll bar.
        self.co_rads.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.co_rads.setToolTip("Suspicion of COVID-19, after Prokop et al. 2020; never computed")
        self.scores = paragraph()
        self.signed = paragraph("Not signed")
        self.sign = QPushButton("Sign off…")
        self.sign.setToolTip("Put your name and the time under the report as it is now")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(1, 1)
        layout.addWidget(self.findings, 0, 0, 1, 2)
        layout.addWidget(self.impression, 1, 0, 1, 2)
        layout.addWidget(Words("CO-RADS"), 2, 0)
        layout.addWidget(self.co_rads, 2, 1)
        layout.addWidget(self.scores, 3, 0, 1, 2)
        layout.addWidget(self.sign, 4, 0)
        layout.addWidget(self.signed, 4, 1)

    def show_scores(self, count: int) -> None:
        """How many scores of the reader's own go into the report."""
        many = "score" if count == 1 else "scores"
        self.scores.setText(f"Your {count} {many} from Quantify will stand beside the measured.")
        self.scores.setVisible(count > 0)

    def show_signed(self, text: str) -> None:
        """Who signed, empty while nobody has."""
        self.signed.setText(text or "Not signed")
        self.sign.setText("Withdraw" if text else "Sign off…")


class _Formats(Folded):
    """Which files are written."""

    def __init__(self) -> None:
        super().__init__("Formats: HTML, PDF")
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        self.boxes = {name: QCheckBox(_TITLES[name]) for name in FORMATS}
        for box in self.boxes.values():
            layout.addWidget(box)
            box.toggled.connect(self._on_toggled)
        self.addWidget(row)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The formats that are ticked."""
        return tuple(name for name, box in self.boxes.items() if box.isChecked())

    def choose(self, names: tuple[str, ...]) -> None:
        """Tick these."""
        for name, box in self.boxes.items():
            box.setChecked(name in names)

    def _on_toggled(self) -> None:
        titles = ", ".join(_TITLES[name] for name in self.chosen)
        self.set_title(f"Formats: {titles or 'none'}")


class _Preview(QWidget):
    """Key pictures as wide as the dock, and the findings below."""

    def __init__(self) -> None:
        super().__init__()
        self.stale = marked("<i>The labels were changed since.</i>")
        self.picture = _Picture()
        self.text = Words()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.stale, self.picture, self.text):
            layout.addWidget(part)
        self.clear()

    def show_preview(self, preview: Preview) -> None:
        """Show what was measured."""
        self.picture.show_jpeg(preview.picture)
        # Its lines are broken for other systems; here they break at the dock's width.
        self.text.setText(_joined(preview.text))
        self.stale.hide()
        self.show()

    def clear(self) -> None:
        """Nothing to show."""
        self.stale.hide()
        self.hide()


class _Picture(Words):
    """A picture that is as wide as there is room, and as tall as that makes it."""

    def __init__(self) -> None:
        super().__init__()
        self._whole = QPixmap()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Key pictures")

    def show_jpeg(self, data: bytes) -> None:
        """Show a picture."""
        self._whole.loadFromData(data)
        self._fit()

    def sizeHint(self) -> QSize:
        """No wider than the dock."""
        return QSize(340, self.height())

    def resizeEvent(self, event: Any) -> None:
        """Scale it anew."""
        super().resizeEvent(event)
        if event.oldSize().width() != event.size().width():
            self._fit()

    def _fit(self) -> None:
        if self._whole.isNull() or self.width() < 10:
            return
        smooth = Qt.TransformationMode.SmoothTransformation
        scaled = self._whole.scaledToWidth(self.width(), smooth)
        self.setFixedHeight(scaled.height())
        self.setPixmap(scaled)


def _text(hint: str, height: int) -> QPlainTextEdit:
    box = QPlainTextEdit()
    box.setPlaceholderText(hint)
    box.setAccessibleName(hint)
    box.setFixedHeight(height)
    box.setTabChangesFocus(True)
    box.setStyleSheet(_BOX)
    return box


def _joined(text: str) -> str:
    """Paragraphs whose lines are not broken, but where a sentence begins a line."""
    lines: list[str] = []
    for line in text.splitlines():
        goes_on = lines and lines[-1] and not lines[-1].endswith((".", ":")) and line.strip()
        if goes_on and not line.startswith("- "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)
