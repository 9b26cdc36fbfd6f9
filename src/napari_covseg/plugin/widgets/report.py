"""Report: what the reader says of a CT and its labels, signed, saved, or pasted elsewhere."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices, QGuiApplication
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_covseg.domain.errors import CovsegError, UsageError
from napari_covseg.domain.progress import Steps
from napari_covseg.plugin import preferences
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.findings import Written
from napari_covseg.plugin.layers import placement_of
from napari_covseg.plugin.quantifying import LabelWatch
from napari_covseg.plugin.report_readings import Readings
from napari_covseg.plugin.reporting import (
    Measured,
    Preview,
    acted_steps,
    content_steps,
    kept_steps,
    page_steps,
    preview_steps,
    reader_scores,
    saved_steps,
)
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.study import study_of
from napari_covseg.plugin.widgets.author import author_or_ask
from napari_covseg.plugin.widgets.ct_box import ct_box, follow
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.pieces import docked
from napari_covseg.plugin.widgets.report_view import ReportView
from napari_covseg.plugin.worker import Callbacks, Runner
from napari_covseg.workflows.report_request import FORMATS

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from napari_covseg.plugin.classifying import Classified
    from napari_covseg.reports.findings_content import FindingsContent, Reading

_DEFAULT_FORMATS = "html,pdf"


class ReportWidget(QWidget):
    """The dock widget: ties `ReportView` to session, desk and the workflow."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.desk = session_of(napari_viewer), desk_of(napari_viewer)
        self.study = study_of(napari_viewer)
        self.ct = ct_box(self.session, "The CT to report on")
        self.view = ReportView(napari_viewer, self.ct)
        self.readings = Readings()
        self._shown: Image | None = None
        self._watch: LabelWatch | None = None
        self._layers: tuple[Labels, ...] = ()
        self._measured: Measured | None = None
        self._runner = Runner()
        self._pages: tempfile.TemporaryDirectory[str] | None = None
        self._retired = False
        self.view.formats.choose(_remembered_formats())
        docked(self, self.view)
        self._connect(napari_viewer)
        self._adopt()

    def _connect(self, viewer: Viewer) -> None:
        view = self.view
        view.save.clicked.connect(self.save)
        view.running.cancel.clicked.connect(self.cancel)
        view.look.clicked.connect(self.preview)
        view.copy.clicked.connect(self.copy)
        view.browse.clicked.connect(self.browse)
        view.classifier.toggled.connect(self._on_classifier)
        reader = view.reader
        reader.sign.clicked.connect(self.sign_or_withdraw)
        reader.findings.textChanged.connect(self._on_text)
        reader.impression.textChanged.connect(self._on_text)
        reader.co_rads.currentIndexChanged.connect(self._on_text)
        self.ct.changed.connect(self._adopt)
        self.session.changed.connect(self._adopt)
        self.session.lobes_changed.connect(self._on_lobes)
        self.session.classified.connect(self._on_classified)
        self.study.changed.connect(self._on_study)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(ReportWidget.retire, self))

    def showEvent(self, event: Any) -> None:
        """Points that were given in Quantify meanwhile are counted."""
        super().showEvent(event)
        if not self._retired:
            self._show_scores()

    def closeEvent(self, event: Any) -> None:
        """Stop what runs; its result would have nowhere to go."""
        self.retire()
        super().closeEvent(event)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        if self._retired:
            return
        self._retired = True
        self._runner.abandon()
        if self._watch is not None:
            self._watch.close()
        if self._pages is not None:
            self._pages.cleanup()

    def jobs_running(self) -> bool:
        """Whether anything is being measured, drawn or written."""
        return self._runner.busy

    # Which CT, and what the reader wrote about it

    def _on_layers(self, event: Any) -> None:
        if self._retired:
            return
        follow(self.ct, event)
        self._adopt()

    def _adopt(self) -> None:
        """Show the chosen CT's own text; another patient's must never stay in the fields."""
        if self._retired:
            return
        ct = self.ct.value
        found = self.session.labels_of(ct) if ct is not None else (None, None)
        layers = tuple(layer for layer in found if layer is not None)
        if ct is not self._shown:
            self._shown = ct
            self.view.offer_classifier(self.session.classified_of(ct) is not None, False)
            self._runner.abandon()
            self.view.show_running(False)
            self.view.preview.clear()
            # Two CTs on one grid may share labels, but not what is measured in them.
            self._follow(layers)
            self._show_reading()
            self._on_study()
        elif layers != self._layers:
            self._follow(layers)
            self._on_edited()
        self.view.show_state(ct is not None, bool(layers))

    def _follow(self, layers: tuple[Labels, ...]) -> None:
        if self._watch is not None:
            self._watch.close()
        self._layers, self._measured = layers, None
        self._watch = LabelWatch(layers) if layers else None
        if self._watch is not None:
            self._watch.edited.connect(self._on_edited)

    def _on_edited(self) -> None:
        if self._retired:
            return
        self._withdraw("The labels were changed: the sign-off was withdrawn.")
        self._mark_old()

    def _on_lobes(self, ct: Image) -> None:
        """The figures that were shown rest on other lobes."""
        if not self._retired and ct is self._shown:
            self._mark_old()

    def _on_classified(self, ct: Image) -> None:
        """A classifier said something new of a CT."""
        if self._retired or ct is not self._shown:
            return
        ticked = self.view.classifier.isChecked()
        self.view.offer_classifier(True, ticked)
        if ticked:
            self._on_classifier()

    def _on_classifier(self) -> None:
        """The report says more, less or something else than what was signed."""
        self._withdraw("The report was changed: the sign-off was withdrawn.")

    def _told(self) -> Classified | None:
        """What a classifier says, where the reader wants it in the report."""
        said = self.session.classified_of(self._shown)
        return said if self.view.classifier.isChecked() else None

    def _mark_old(self) -> None:
        self.view.preview.stale.setVisible(self.view.preview.isVisibleTo(self.view))

    def _on_study(self) -> None:
        """What the reader wrote about this CT before was found again."""
        if self._retired or self._shown is None:
            return
        written, reading = self.study.report(self._shown), self.readings.of(self._shown)
        if written.empty:
            return
        if written != Written(reading.findings, reading.impression, reading.co_rads):
            self._withdraw("The report was changed: the sign-off was withdrawn.")
            self.readings.write(self._shown, written.findings, written.impression, written.co_rads)
            self._show_reading()

    def _show_reading(self) -> None:
        reader, reading = self.view.reader, self.readings.of(self._shown)
        parts = (reader.findings, reader.impression, reader.co_rads)
        for part in parts:
            part.blockSignals(True)
        reader.findings.setPlainText(reading.findings)
        reader.impression.setPlainText(reading.impression)
        reader.co_rads.setCurrentIndex(0 if reading.co_rads is None else reading.co_rads + 1)
        for part in parts:
            part.blockSignals(False)
        self._show_signed()
        self._show_scores()

    def _on_text(self) -> None:
        """The reader wrote something: it is kept, and no longer what was signed."""
        if self._retired or self._shown is None:
            return
        self._withdraw("The report was changed: the sign-off was withdrawn.")
        reader = self.view.reader
        at = reader.co_rads.currentIndex()
        findings, impression = (
            part.toPlainText().strip() for part in (reader.findings, reader.impression)
        )
        written = Written(findings, impression, at - 1 if at > 0 else None)
        self.readings.write(self._shown, written.findings, written.impression, written.co_rads)
        self.study.set_report(self._shown, written)

    def reading(self) -> Reading:
        """What stands in the fields, the points given in Quantify, and who signed."""
        points = self.study.reader(self._shown) if self._shown is not None else {}
        return replace(self.readings.of(self._shown), scores=reader_scores(points))

    def _show_scores(self) -> None:
        kept = self.readings.of(self._shown)
        if kept.signed and kept.scores != self.reading().scores:
            self._withdraw("Your scores were changed: the sign-off was withdrawn.")
        self.view.reader.show_scores(len(self.reading().scores))

    # The sign-off

    def sign_or_withdraw(self) -> None:
        """Sign what the report says now, or take the name away again."""
        if self.readings.of(self._shown).signed:
            self._withdraw("The sign-off was withdrawn.")
            return
        try:
            name = author_or_ask(self)
        except CovsegError as error:
            tell_error(error)
            return
        if name is None:
            return
        question = f"Sign this report as {name}?"
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(self, "napari-covseg", question, buttons.Yes | buttons.No)
        if answer == buttons.Yes:
            self.sign(name)

    def sign(self, name: str) -> None:
        """Sign the labels as they are measured now, and the text beside them."""
        ct, told = self._shown, self._told()

        def signed(content: FindingsContent) -> None:
            if ct is None or ct is not self._shown:
                return
            if content.reading != self.reading() or told is not self._told():
                show_warning("The report was changed meanwhile: sign it again.")
                return
            sha256 = content.provenance.labels_sha256
            self.readings.sign(ct, name, sha256, content.reading.scores)
            self._show_signed()

        self._with_content(kept_steps, signed)

    def _withdraw(self, why: str) -> None:
        if self._shown is not None and self.readings.withdraw(self._shown):
            self._show_signed()
            show_info(why)

    def _show_signed(self) -> None:
        from napari_covseg.reports.findings_text import when

        reading = self.readings.of(self._shown)
        text = f"Signed by {reading.reader}, {when(reading.signed)}" if reading.signed else ""
        self.view.reader.show_signed(text)

    # What is done with the report

    def preview(self) -> None:
        """Measure, and show key pictures and findings."""

        def shown(found: Preview) -> None:
            self.view.preview.show_preview(found)

        self._with_content(preview_steps, shown)

    def copy(self) -> None:
        """Put the findings on the clipboard."""

        def copied(content: FindingsContent) -> None:
            from napari_covseg.reports.findings_text import findings_text

            clipboard = QGuiApplication.clipboard()
            if clipboard is not None:
                clipboard.setText(findings_text(content))
                show_info("Findings copied: paste them into your report.")

        self._with_content(kept_steps, copied)

    def browse(self) -> None:
        """Open the whole report in the browser; the page is deleted with this widget."""
        if self._pages is None:
            self._pages = tempfile.TemporaryDirectory(prefix="covseg-report-")
        path = Path(self._pages.name) / "report.html"
        self._with_content(
            lambda content: page_steps(content, path),
            lambda found: QDesktopServices.openUrl(QUrl.fromLocalFile(str(found))),
        )

    def save(self) -> None:
        """Ask for a folder and write the report there."""
        start = preferences.load_text("folders/report", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self, "Save the report in", start)
        if chosen:
            preferences.save_text("folders/report", chosen)
            self.save_to(Path(chosen))

    def save_to(self, folder: Path) -> None:
        """Write the report into ``folder``; asks before replacing files."""
        formats = self.view.formats.chosen
        placement = placement_of(self._shown) if self._shown is not None else None
        if not formats or placement is None:
            tell_error(UsageError("no format is chosen: tick one under Formats"))
            return
        preferences.save_text("report/formats", ",".join(formats))
        name = f"{placement.case or 'case'}_report"
        there = [kind for kind in formats if (folder / f"{name}.{kind}").exists()]
        if there and not self._agreed(f"{name}.{there[0]} is there already. Replace it?"):
            return
        self._with_content(
            lambda content: saved_steps(content, folder, formats),
            lambda paths: show_info(f"Saved {', '.join(p.name for p in paths)} in {folder}."),
        )

    def cancel(self) -> None:
        """Stop what runs."""
        self.view.running.show_cancelling()
        self._runner.cancel()

    # Measuring, and what comes back

    def _with_content(
        self, act: Callable[[FindingsContent], Steps[Any]], then: Callable[[Any], None]
    ) -> None:
        """Measure if need be, then ``act`` in the thread and ``then`` here."""
        ct, watch = self._shown, self._watch
        if ct is None or watch is None or self._runner.busy:
            return
        self._show_scores()
        reading, signed = self.reading(), self.readings.signed_labels(ct)
        told = self._told()
        lobes, held = self.session.lobes.get(ct), self._measured
        held = held if held is not None and held.fits(watch, lobes) else None
        try:
            measuring = (
                kept_steps(held.content)
                if held is not None
                else content_steps(self.session, self.desk, ct, reading)
            )
        except CovsegError as error:
            tell_error(error)
            return
        self.view.show_running(True)
        self._runner.start(
            lambda: acted_steps(measuring, reading, signed, told, act),
            Callbacks(
                progress=lambda step: self.view.running.show_progress(step, time.monotonic()),
                result=partial(
                    self._on_result, Measured.at(watch, lobes), bool(reading.signed), then
                ),
                error=self._on_error,
                cancelled=self._on_cancelled,
            ),
        )

    def _on_result(
        self,
        measured: Callable[[FindingsContent], Measured],
        was_signed: bool,
        then: Callable[[Any], None],
        found: tuple[FindingsContent, Any],
    ) -> None:
        self.view.show_running(False)
        content, result = found
        self._measured = measured(content)
        if was_signed and not content.reading.signed:
            self._withdraw("The labels are not those that were signed.")
            show_warning("The labels were changed since you signed: the report is not signed.")
        then(result)

    def _on_error(self, error: Exception) -> None:
        self.view.show_running(False)
        tell_error(error)

    def _on_cancelled(self) -> None:
        self.view.show_running(False)

    def _agreed(self, question: str) -> bool:
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(self, "napari-covseg", question, buttons.Yes | buttons.No)
        return bool(answer == buttons.Yes)


def _remembered_formats() -> tuple[str, ...]:
    kept = preferences.load_text("report/formats", _DEFAULT_FORMATS).split(",")
    return tuple(name for name in FORMATS if name in kept)
