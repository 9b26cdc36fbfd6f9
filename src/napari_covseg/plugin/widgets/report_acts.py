"""What is done with a report: measured, looked at, copied, signed, saved."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices, QGuiApplication
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_covseg.domain.errors import CovsegError, UsageError
from napari_covseg.domain.progress import Steps
from napari_covseg.plugin import preferences
from napari_covseg.plugin.layers import placement_of
from napari_covseg.plugin.quantifying import LabelWatch
from napari_covseg.plugin.reporting import (
    Measured,
    Preview,
    acted_steps,
    content_steps,
    kept_steps,
    page_steps,
    preview_steps,
    saved_steps,
)
from napari_covseg.plugin.telling import show_info, show_warning
from napari_covseg.plugin.widgets.asking import agreed
from napari_covseg.plugin.widgets.author import author_or_ask
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari_covseg.plugin.desk import Desk
    from napari_covseg.plugin.session import Session
    from napari_covseg.plugin.widgets.report_text import ReportText
    from napari_covseg.plugin.widgets.report_view import ReportView
    from napari_covseg.reports.findings_content import FindingsContent


class ReportActs:
    """Does what a button says, and measures the labels that it follows when that needs it.

    ``measured`` is what was measured of them last.
    """

    def __init__(
        self, parent: QWidget, view: ReportView, session: Session, desk: Desk, text: ReportText
    ) -> None:
        self._parent, self._view, self._text = parent, view, text
        self._session, self._desk = session, desk
        self._watch: LabelWatch | None = None
        self.measured: Measured | None = None
        self._runner = Runner()
        self._pages: tempfile.TemporaryDirectory[str] | None = None
        view.save.clicked.connect(self.save)
        view.running.cancel.clicked.connect(self.cancel)
        view.look.clicked.connect(self.preview)
        view.copy.clicked.connect(self.copy)
        view.browse.clicked.connect(self.browse)
        view.reader.sign.clicked.connect(self.sign_or_withdraw)

    @property
    def busy(self) -> bool:
        """Whether anything is being measured, drawn or written."""
        return self._runner.busy

    def follow(self, watch: LabelWatch | None) -> None:
        """Other labels (None: none); what was measured of those before is forgotten."""
        if self._watch is not None:
            self._watch.close()
        self._watch, self.measured = watch, None

    def abandon(self) -> None:
        """What runs is of another CT."""
        self._runner.abandon()
        self._view.show_running(False)
        self._view.preview.clear()

    def retire(self) -> None:
        """Stop everything, and delete the pages that were opened in a browser."""
        self._runner.abandon()
        if self._watch is not None:
            self._watch.close()
        if self._pages is not None:
            self._pages.cleanup()

    # The sign-off

    def sign_or_withdraw(self) -> None:
        """Sign what the report says now, or take the name away again."""
        if self._text.reading().signed:
            self._text.withdraw("The sign-off was withdrawn.")
            return
        try:
            name = author_or_ask(self._parent)
        except CovsegError as error:
            tell_error(error)
            return
        if name is not None and agreed(self._parent, f"Sign this report as {name}?"):
            self.sign(name)

    def sign(self, name: str) -> None:
        """Sign the labels as they are measured now, and the text beside them."""
        ct = self._text.ct
        if ct is not None:
            self._with_content(kept_steps, partial(self._text.sign, ct, name, self._text.told()))

    # What is done with the report

    def preview(self) -> None:
        """Measure, and show key pictures and findings."""

        def shown(found: Preview) -> None:
            self._view.preview.show_preview(found)

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
        chosen = QFileDialog.getExistingDirectory(self._parent, "Save the report in", start)
        if chosen:
            preferences.save_text("folders/report", chosen)
            self.save_to(Path(chosen))

    def save_to(self, folder: Path) -> None:
        """Write the report into ``folder``; asks before replacing files."""
        formats = self._view.formats.chosen
        placement = placement_of(self._text.ct) if self._text.ct is not None else None
        if not formats or placement is None:
            tell_error(UsageError("no format is chosen: tick one under Formats"))
            return
        preferences.save_text("report/formats", ",".join(formats))
        name = f"{placement.case or 'case'}_report"
        there = [kind for kind in formats if (folder / f"{name}.{kind}").exists()]
        if there and not agreed(self._parent, f"{name}.{there[0]} is there already. Replace it?"):
            return
        self._with_content(
            lambda content: saved_steps(content, folder, formats),
            lambda paths: show_info(f"Saved {', '.join(p.name for p in paths)} in {folder}."),
        )

    def cancel(self) -> None:
        """Stop what runs."""
        self._view.running.show_cancelling()
        self._runner.cancel()

    # Measuring, and what comes back

    def _with_content(
        self, act: Callable[[FindingsContent], Steps[Any]], then: Callable[[Any], None]
    ) -> None:
        """Measure if need be, then ``act`` in the thread and ``then`` here."""
        ct, watch = self._text.ct, self._watch
        if ct is None or watch is None or self._runner.busy:
            return
        self._text.show_scores()
        reading, signed = self._text.reading(), self._text.readings.signed_labels(ct)
        told = self._text.told()
        lobes, held = self._session.lobes.get(ct), self.measured
        held = held if held is not None and held.fits(watch, lobes) else None
        try:
            measuring = (
                kept_steps(held.content)
                if held is not None
                else content_steps(self._session, self._desk, ct, reading)
            )
        except CovsegError as error:
            tell_error(error)
            return
        self._view.show_running(True)
        self._runner.start(
            lambda: acted_steps(measuring, reading, signed, told, act),
            Callbacks(
                progress=lambda step: self._view.running.show_progress(step, time.monotonic()),
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
        self._view.show_running(False)
        content, result = found
        self.measured = measured(content)
        if was_signed and not content.reading.signed:
            self._text.withdraw("The labels are not those that were signed.")
            show_warning("The labels were changed since you signed: the report is not signed.")
        then(result)

    def _on_error(self, error: Exception) -> None:
        self._view.show_running(False)
        tell_error(error)

    def _on_cancelled(self) -> None:
        self._view.show_running(False)
