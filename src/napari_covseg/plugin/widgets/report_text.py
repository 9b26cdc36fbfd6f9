"""What a report says beside what is measured: the reader's words and points, and who signed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_covseg.plugin.findings import Written
from napari_covseg.plugin.report_readings import Readings
from napari_covseg.plugin.reporting import reader_scores
from napari_covseg.plugin.telling import show_info, show_warning

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_covseg.plugin.classifying import Classified
    from napari_covseg.plugin.session import Session
    from napari_covseg.plugin.study import Study
    from napari_covseg.plugin.widgets.report_view import ReportView
    from napari_covseg.reports.findings_content import FindingsContent, Reading


class ReportText:
    """Ties the reader's fields to what was written about each CT.

    ``ct`` is the CT whose text stands in the fields. A sign-off holds for what it was given for:
    whatever changes that withdraws it.
    """

    def __init__(self, view: ReportView, session: Session, study: Study) -> None:
        self._view, self._session, self._study = view, session, study
        self.readings = Readings()
        self.ct: Image | None = None

    # What was written

    def show(self, ct: Image | None) -> None:
        """Show a CT's own text; another patient's must never stay in the fields."""
        self.ct = ct
        self._view.offer_classifier(self._session.classified_of(ct) is not None, False)
        self._show_reading()
        self.take_found()

    def take_found(self) -> None:
        """What the reader wrote about this CT before was found again."""
        if self.ct is None:
            return
        written, reading = self._study.report(self.ct), self.readings.of(self.ct)
        if written.empty:
            return
        if written != Written(reading.findings, reading.impression, reading.co_rads):
            self.withdraw("The report was changed: the sign-off was withdrawn.")
            self._write(written)
            self._show_reading()

    def take_typed(self) -> None:
        """The reader wrote something: it is kept, and no longer what was signed."""
        if self.ct is None:
            return
        self.withdraw("The report was changed: the sign-off was withdrawn.")
        reader = self._view.reader
        at = reader.co_rads.currentIndex()
        findings, impression = (
            part.toPlainText().strip() for part in (reader.findings, reader.impression)
        )
        written = Written(findings, impression, at - 1 if at > 0 else None)
        self._write(written)
        self._study.set_report(self.ct, written)

    def _write(self, written: Written) -> None:
        if self.ct is not None:
            self.readings.write(self.ct, written.findings, written.impression, written.co_rads)

    def _show_reading(self) -> None:
        reader, reading = self._view.reader, self.readings.of(self.ct)
        parts = (reader.findings, reader.impression, reader.co_rads)
        for part in parts:
            part.blockSignals(True)
        reader.findings.setPlainText(reading.findings)
        reader.impression.setPlainText(reading.impression)
        reader.co_rads.setCurrentIndex(0 if reading.co_rads is None else reading.co_rads + 1)
        for part in parts:
            part.blockSignals(False)
        self._show_signed()
        self.show_scores()

    def reading(self) -> Reading:
        """What stands in the fields, the points given in Quantify, and who signed."""
        points = self._study.reader(self.ct) if self.ct is not None else {}
        return replace(self.readings.of(self.ct), scores=reader_scores(points))

    def show_scores(self) -> None:
        """How many scores the reader gave; those that were signed must be the same still."""
        kept = self.readings.of(self.ct)
        if kept.signed and kept.scores != self.reading().scores:
            self.withdraw("Your scores were changed: the sign-off was withdrawn.")
        self._view.reader.show_scores(len(self.reading().scores))

    # What a classifier says

    def told(self) -> Classified | None:
        """What a classifier says, where the reader wants it in the report."""
        said = self._session.classified_of(self.ct)
        return said if self._view.classifier.isChecked() else None

    def take_classified(self) -> None:
        """A classifier said something new of the CT."""
        ticked = self._view.classifier.isChecked()
        self._view.offer_classifier(True, ticked)
        if ticked:
            self.take_ticked()

    def take_ticked(self) -> None:
        """The report says more, less or something else than what was signed."""
        self.withdraw("The report was changed: the sign-off was withdrawn.")

    # The sign-off

    def sign(self, ct: Image, name: str, told: Classified | None, content: FindingsContent) -> None:
        """Sign what was measured of ``ct`` while a classifier had ``told`` that."""
        if ct is not self.ct:
            return
        if content.reading != self.reading() or told is not self.told():
            show_warning("The report was changed meanwhile: sign it again.")
            return
        self.readings.sign(ct, name, content.provenance.labels_sha256, content.reading.scores)
        self._show_signed()

    def withdraw(self, why: str) -> None:
        """Take the sign-off away, if there is one."""
        if self.ct is not None and self.readings.withdraw(self.ct):
            self._show_signed()
            show_info(why)

    def _show_signed(self) -> None:
        from napari_covseg.reports.findings_text import when

        reading = self.readings.of(self.ct)
        text = f"Signed by {reading.reader}, {when(reading.signed)}" if reading.signed else ""
        self._view.reader.show_signed(text)
