"""Quantify: scores, volumes by region, lesions and density of the labels over a CT."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog, QInputDialog, QSizePolicy, QVBoxLayout, QWidget

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin import preferences
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.layers import is_ct
from napari_covseg.plugin.live_volumes import measurements_of
from napari_covseg.plugin.quantify_texts import copied_text, score_parts
from napari_covseg.plugin.quantifying import LabelWatch, Source, lesion_voxel, quantify_steps
from napari_covseg.plugin.reader_scores import KINDS, ReaderScores, agreement_text
from napari_covseg.plugin.reading import reading_of
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.study import study_of
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.quantify_view import QuantifyView
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.plugin.correction import Correction
    from napari_covseg.quantify.case import Quantification

QUIET_MS = 1200
"""Figures are measured anew this long after the last edit."""
_LIVE_MS = 100
_LOBES_LIKE = "left upper lobe=1, left lower lobe=2, right upper lobe=3, right middle lobe=4, "
_LOBES_LIKE += "right lower lobe=5"


class QuantifyWidget(QWidget):
    """The dock widget: measures the labels over the chosen CT while it is seen."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.desk = session_of(napari_viewer), desk_of(napari_viewer)
        self.reading, self.study = reading_of(napari_viewer), study_of(napari_viewer)
        self.ct = ComboBox(name="ct", label="CT", choices=self._cts, tooltip="The CT to measure")
        self.view = QuantifyView(napari_viewer, self.ct)
        self.source: Source | None = None
        self.result: Quantification | None = None
        self._watch: LabelWatch | None = None
        self._live: Correction | None = None
        self._measurer, self._filer = Runner(), Runner()
        self._retired = False
        self._quiet = QTimer(self, singleShot=True, interval=QUIET_MS)
        self._live_soon = QTimer(self, singleShot=True, interval=_LIVE_MS)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 4)
        layout.addWidget(self.view)
        self._connect(napari_viewer)
        self._adopt()

    def _connect(self, viewer: Viewer) -> None:
        view = self.view
        view.lesions.table.row_clicked.connect(self.go_to_lesion)
        view.severity.load_lobes.clicked.connect(self.load_lobes)
        view.reader.changed.connect(self._on_reader)
        view.copy.clicked.connect(self.copy)
        view.save.clicked.connect(self.save)
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
        self._filer.abandon()
        self._drop()

    def jobs_running(self) -> bool:
        """Whether anything is being measured, read or written, or is about to."""
        return self._measurer.busy or self._filer.busy or self._quiet_running()

    def _quiet_running(self) -> bool:
        return not self._retired and self._quiet.isActive()

    # What is measured

    def _cts(self, _box: Any = None) -> list[tuple[str, Image]]:
        layers = self.session.viewer.layers
        return [(layer.name, layer) for layer in layers if is_ct(layer)]

    def _on_layers(self, event: Any) -> None:
        if self._retired:
            return
        self.ct.reset_choices()
        if event.type == "inserted" and is_ct(event.value):
            self.ct.value = event.value
        self._adopt()

    def _adopt(self) -> None:
        """Measure the labels over the chosen CT, if there are any and they are others."""
        if self._retired:
            return
        ct = self.ct.value
        lungs, lesions = self.session.labels_of(ct) if ct is not None else (None, None)
        held = self.source
        if held is not None and (held.ct, held.lungs, held.lesions) == (ct, lungs, lesions):
            return
        self._drop()
        self._show_reader()
        if ct is None or (lungs is None and lesions is None):
            self.view.show_nothing(ct is not None)
            return
        self.source = Source(ct, lungs, lesions, self.session.lobes.get(ct))
        self._watch = LabelWatch(self.source.layers)
        self._watch.edited.connect(self._on_edited)
        self.view.show_measuring()
        self._measure_soon()

    def _drop(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        self._follow(None)
        self.source = self.result = None
        self._measurer.abandon()
        if not self._retired:
            self._quiet.stop()

    # Following the painting

    def _on_edited(self) -> None:
        if self._retired:
            return
        correction = self.desk.correction
        mine = correction is not None and self.source is not None and (
            correction.ct is self.source.ct
        )  # fmt: skip
        self._follow(correction if mine else None)
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
        self._live = correction
        if correction is not None:
            correction.counted.connect(self._show_live_soon)

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
        self.view.show_live(measurements_of(self._live.tally, voxel_ml))
        self.view.show_stale(True, True)

    def _outdated(self) -> bool:
        return self.result is None or self._measured_version != self._version

    @property
    def _version(self) -> int:
        return -1 if self._watch is None else self._watch.version

    _measured_version = -2

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
        try:
            steps = quantify_steps(source)
        except CovsegError as error:
            tell_error(error)
            return
        self._run(self._measurer, lambda: steps, partial(self._on_result, source, version))

    def _on_result(self, source: Source, version: int, result: Quantification) -> None:
        if source is not self.source:
            return
        if version != self._version:
            # Edited while it was measured: what was read may be half old and half new.
            self._quiet.start()
            return
        self.result, self._measured_version = result, version
        self.view.show_result(result)
        self._show_agreement()

    def _run(
        self, runner: Runner, steps: Callable[[], Steps[Any]], result: Callable[[Any], None]
    ) -> None:
        runner.start(
            steps,
            Callbacks(
                progress=lambda step: None,
                result=result,
                error=self._on_error,
                cancelled=lambda: None,
            ),
        )

    def _on_error(self, error: Exception) -> None:
        self.view.state.setText("These labels could not be measured.")
        tell_error(error)

    # What the user does

    def go_to_lesion(self, number: str) -> None:
        """Show a lesion: its slice, the crosshair on it, a ring round it for a moment."""
        if self.source is None or self.result is None:
            return
        lesion = self.result.lesions.listed[int(number) - 1]
        viewer = self.session.viewer
        if self.reading.viewing.ct is not self.source.ct:
            viewer.layers.selection.active = self.source.ct
        self.reading.go_to(lesion_voxel(self.source, lesion), flash=True)

    def copy(self) -> None:
        """Copy all figures as text."""
        clipboard = QGuiApplication.clipboard()
        if self.result is not None and clipboard is not None:
            clipboard.setText(copied_text(self.result))
            show_info("Copied: paste it into a report or a spreadsheet.")

    def save(self) -> None:
        """Ask for a file and write all figures there."""
        start = Path(preferences.load_text("folders/save", str(Path.home())))
        name = f"{self.result.case if self.result is not None else ''}_figures.csv".lstrip("_")
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save figures", str(start / name), "CSV (*.csv);;JSON (*.json)"
        )
        if chosen:
            preferences.save_text("folders/save", str(Path(chosen).parent))
            self.save_to(Path(chosen))

    def save_to(self, path: Path) -> None:
        """Write all figures as CSV, or as JSON if the name ends so."""
        result = self.result
        if result is None:
            return
        path = path if path.suffix.lower() in (".csv", ".json") else Path(f"{path}.csv")

        def steps() -> Steps[Path]:
            from napari_covseg.workflows.quantify import write_quantification

            yield Progress(0, 1, "saving")
            return write_quantification(result, path)

        self._run(self._filer, steps, lambda found: show_info(f"Saved {found.name}."))

    # Lobes

    def load_lobes(self) -> None:
        """Ask for a lobe map, and what its numbers mean where it does not say."""
        start = preferences.load_text("folders/open", str(Path.home()))
        kinds = "Lobe maps (*.nii *.nii.gz *.nrrd *.mha *.mhd);;All files (*)"
        chosen, _ = QFileDialog.getOpenFileName(self, "Open a lobe map", start, kinds)
        if chosen:
            preferences.save_text("folders/open", str(Path(chosen).parent))
            named = chosen.endswith(".seg.nrrd")
            like = preferences.load_text("lobes/numbers", _LOBES_LIKE)
            question = "Which number is which lobe in this file?"
            names, agreed = (
                ("", True)
                if named
                else QInputDialog.getText(self, "napari-covseg", question, text=like)
            )
            if agreed:
                self.read_lobes(Path(chosen), names)

    def read_lobes(self, path: Path, names: str = "") -> None:
        """Read a lobe map; ``names`` says what its numbers mean (`parse_lobe_map`)."""
        source = self.source
        if source is None:
            return

        def steps() -> Steps[LobeMap]:
            from napari_covseg.io.lobes import parse_lobe_map, read_lobes
            from napari_covseg.plugin.layers import volume_of

            yield Progress(0, 1, f"reading {path.name}")
            found = read_lobes(path, parse_lobe_map(names) if names.strip() else None)
            if not found.geometry.same_as(volume_of(source.ct).geometry):
                raise InputError(f"{path.name}: these lobes are on another grid than the CT")
            return found

        self._run(self._filer, steps, partial(self._on_lobes, source.ct, names))

    def _on_lobes(self, ct: Image, names: str, lobes: LobeMap) -> None:
        if names.strip():
            preferences.save_text("lobes/numbers", names)
        self.session.lobes[ct] = lobes
        if self.source is not None and self.source.ct is ct:
            self.source = Source(ct, self.source.lungs, self.source.lesions, lobes)
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
