"""Quantify: scores, volumes by region, lesions and density of the labels over a CT."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.doubting import doubt_of
from napari_covseg.plugin.live_volumes import measurements_of
from napari_covseg.plugin.quantify_texts import score_parts
from napari_covseg.plugin.quantifying import LabelWatch, Source, lesion_voxel, quantify_steps
from napari_covseg.plugin.range_texts import range_rows
from napari_covseg.plugin.reader_scores import KINDS, ReaderScores, agreement_text
from napari_covseg.plugin.reading import reading_of
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.study import study_of
from napari_covseg.plugin.widgets.ct_box import ct_box, follow
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.pieces import docked
from napari_covseg.plugin.widgets.quantify_files import QuantifyFiles
from napari_covseg.plugin.widgets.quantify_view import QuantifyView
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.plugin.correction import Correction
    from napari_covseg.plugin.session import Case
    from napari_covseg.quantify.case import Quantification

QUIET_MS = 1200
"""Figures are measured anew this long after the last edit."""
_LIVE_MS = 100
_OLD = -1
"""A version of the labels that is always out of date."""


class QuantifyWidget(QWidget):
    """The dock widget: measures the labels over the chosen CT while it is seen."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.desk = session_of(napari_viewer), desk_of(napari_viewer)
        self.reading, self.study = reading_of(napari_viewer), study_of(napari_viewer)
        self.ct = ct_box(self.session, "The CT to measure")
        self.view = QuantifyView(napari_viewer, self.ct)
        self.source: Source | None = None
        self.result: Quantification | None = None
        self._case: Case | None = None
        self._watch: LabelWatch | None = None
        self._measured_version = _OLD
        self._live: Correction | None = None
        self._measurer = Runner()
        self.files = QuantifyFiles(self, self.view, self._on_lobes)
        self._retired = False
        self._quiet = QTimer(self, singleShot=True, interval=QUIET_MS)
        self._live_soon = QTimer(self, singleShot=True, interval=_LIVE_MS)
        docked(self, self.view)
        self._connect(napari_viewer)
        self._adopt()

    def _connect(self, viewer: Viewer) -> None:
        view = self.view
        view.lesions.table.row_clicked.connect(self.go_to_lesion)
        view.reader.changed.connect(self._on_reader)
        self._quiet.timeout.connect(self.measure)
        self._live_soon.timeout.connect(self._show_live)
        self.ct.changed.connect(self._adopt)
        self.session.changed.connect(self._adopt)
        self.study.changed.connect(self._show_reader)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(QuantifyWidget.retire, self))

    def showEvent(self, event: Any) -> None:
        """What was not measured while nobody looked is measured now."""
        super().showEvent(event)
        if not self._retired and self.source is not None and self._outdated():
            self.measure()

    def closeEvent(self, event: Any) -> None:
        """Stop what runs; its result would have nowhere to go."""
        self.retire()
        super().closeEvent(event)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        if self._retired:
            return
        self._retired = True
        self._measurer.abandon()
        self.files.close()
        self._drop()

    def jobs_running(self) -> bool:
        """Whether anything is being measured, read or written, or is about to."""
        return self._measurer.busy or self.files.busy or self._quiet_running()

    def _quiet_running(self) -> bool:
        return not self._retired and self._quiet.isActive()

    # What is measured

    def _on_layers(self, event: Any) -> None:
        if self._retired:
            return
        follow(self.ct, event)
        self._adopt()

    def _adopt(self) -> None:
        """Measure the labels over the chosen CT, if there are any and they are others."""
        if self._retired:
            return
        ct = self.ct.value
        lungs, lesions = self.session.labels_of(ct) if ct is not None else (None, None)
        held, case = self.source, self.session.case_of(ct)
        same = held is not None and (held.ct, held.lungs, held.lesions) == (ct, lungs, lesions)
        # A result's layers are seen before the result: only it knows what the model doubted.
        if same and case is self._case:
            return
        self._drop()
        self._case = case
        self._show_reader()
        if ct is None or (lungs is None and lesions is None):
            self.view.show_nothing(ct is not None)
            return
        self.source = Source(ct, lungs, lesions, self.session.lobes.get(ct))
        self.files.take(ct, None)
        self._watch = LabelWatch(self.source.layers)
        self._watch.edited.connect(self._on_edited)
        self.view.show_measuring()
        self._measure_soon()

    def _drop(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        self._follow(None)
        self.source = self.result = self._case = None
        self.files.take(None, None)
        self._measurer.abandon()
        if not self._retired:
            self._quiet.stop()

    # Following the painting

    def _on_edited(self) -> None:
        if self._retired:
            return
        self._follow(self._own_correction())
        if self.result is not None:
            self.view.show_stale(True, self._is_live())
        self._show_live_soon()
        self._measure_soon()

    def _follow(self, correction: Correction | None) -> None:
        """Take the volumes that the Correct widget counts along with every touch of the brush."""
        if correction is self._live:
            return
        if self._live is not None:
            self._live.counted.disconnect(self._show_live_soon)
            self._live.slices.changed.disconnect(self._on_reviewed)
        self._live = correction
        if correction is not None:
            correction.counted.connect(self._show_live_soon)
            correction.slices.changed.connect(self._on_reviewed)

    def _own_correction(self) -> Correction | None:
        """What the Correct widget works on, if that is what is measured here."""
        correction, source = self.desk.correction, self.source
        own = correction is not None and source is not None and correction.ct is source.ct
        return correction if own else None

    def _on_reviewed(self) -> None:
        """Slices that were reviewed are in doubt no more."""
        if not self._retired and self.result is not None and range_rows(self.result):
            self._measured_version = _OLD
            self._quiet.start()

    def _is_live(self) -> bool:
        return self._live is not None and self._live.tally is not None

    def _show_live_soon(self) -> None:
        if not self._retired and not self._live_soon.isActive():
            self._live_soon.start()

    def _show_live(self) -> None:
        if self._retired or self._live is None or self._live.tally is None or self.result is None:
            return
        if not self._outdated():
            return
        voxel_ml = self._live.placement.geometry.voxel_ml
        ml_known = self.result.parts["both"].lung_ml is not None
        self.view.show_live(measurements_of(self._live.tally, voxel_ml), ml_known)
        self.view.show_stale(True, True)

    def _outdated(self) -> bool:
        return self.result is None or self._measured_version != self._version

    @property
    def _version(self) -> int:
        return _OLD if self._watch is None else self._watch.version

    # Measuring

    def _measure_soon(self) -> None:
        """At once for labels that were not measured yet, else at a pause."""
        if self.result is None:
            if self.isVisible():
                self.measure()
        else:
            self._quiet.start()

    def measure(self) -> None:
        """Measure what the layers hold now, in a thread."""
        source = self.source
        if self._retired or source is None or not self.isVisible():
            return
        version = self._version
        self._follow(self._own_correction())
        try:
            steps = quantify_steps(source, doubt_of(self.session, self.desk, source.ct))
        except CovsegError as error:
            tell_error(error)
            return
        self._measurer.start(
            lambda: steps,
            Callbacks(
                progress=lambda step: None,
                result=partial(self._on_result, source, version),
                error=self._on_error,
                cancelled=lambda: None,
            ),
        )

    def _on_result(self, source: Source, version: int, result: Quantification) -> None:
        if source is not self.source:
            return
        if version != self._version:
            # Edited while it was measured: what was read may be half old and half new.
            self._quiet.start()
            return
        self.result, self._measured_version = result, version
        self.files.take(source.ct, result)
        self.view.show_result(result)
        self._show_agreement()

    def _on_error(self, error: Exception) -> None:
        self.view.state.setText("These labels could not be measured.")
        tell_error(error)

    def go_to_lesion(self, number: str) -> None:
        """Show a lesion: its slice, the crosshair on it, a ring round it for a moment."""
        if self.source is None or self.result is None:
            return
        lesion = self.result.lesions.listed[int(number) - 1]
        viewer = self.session.viewer
        if self.reading.viewing.ct is not self.source.ct:
            viewer.layers.selection.active = self.source.ct
        self.reading.go_to(lesion_voxel(self.source, lesion), flash=True)

    def _on_lobes(self, ct: Image, lobes: LobeMap | None) -> None:
        self.session.take_lobes(ct, lobes)
        if self.source is not None and self.source.ct is ct:
            self.source = Source(ct, self.source.lungs, self.source.lesions, lobes)
            # Also if nobody looks now: what was measured with other lobes must not be shown.
            self._measured_version = _OLD
            self.measure()

    # The reader's own scores

    def _on_reader(self) -> None:
        """The reader chose a point, or another score."""
        if self._retired:
            return
        ct = self.ct.value
        if ct is not None:
            self.study.set_reader(ct, self.view.reader.scores)
        self._show_agreement()

    def _show_reader(self) -> None:
        """The points that are kept of this CT."""
        if self._retired:
            return
        ct, page = self.ct.value, self.view.reader
        kept = {} if ct is None else self.study.reader(ct)
        page.blockSignals(True)
        chosen = page.scores.kind
        for kind in (*(kind for kind in KINDS if kind != chosen), chosen):
            page.show_scores(ReaderScores(kind, kept.get(kind, {})))
        page.blockSignals(False)
        self._show_agreement()

    def _show_agreement(self) -> None:
        page, result = self.view.reader, self.result
        scores = page.scores
        page.show_measured({} if result is None else score_parts(result.scores[scores.kind]))
        page.agreement.setText(agreement_text(scores, result))
