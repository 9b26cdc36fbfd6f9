"""Segment: one button, then lungs, GGO and consolidation over the CT, with their volumes."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import notification_manager
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import Progress
from napari_covseg.plugin import preferences
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.expected_time import duration, expected_seconds, learn
from napari_covseg.plugin.layers import Placement, placement_of, volume_of
from napari_covseg.plugin.model_list import live_source_steps
from napari_covseg.plugin.session import (
    Case,
    Segmented,
    remeasured_steps,
    saved_steps,
    segmented_steps,
    session_of,
)
from napari_covseg.plugin.telling import show_error, show_info, show_warning
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.asking import agreed
from napari_covseg.plugin.widgets.ct_box import ct_box, follow
from napari_covseg.plugin.widgets.pieces import docked
from napari_covseg.plugin.widgets.segment_view import SegmentView
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.models.device import Device

REMEASURE_AFTER_MS = 800


class SegmentWidget(QWidget):
    """The dock widget: ties `SegmentView` to the session, the viewer and the workflows."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewing = viewing_of(napari_viewer)
        self.session = session_of(napari_viewer)
        self.desk = desk_of(napari_viewer)
        self.ct = ct_box(self.session, "The CT to segment")
        settings = preferences.load_settings()
        self.view = SegmentView(napari_viewer, self.ct, settings)
        self._runner, self._measurer = Runner(), Runner()
        self._saver, self._reader = Runner(), Runner()
        self._retired = False
        self._device: Device | None = None
        self._requested = ""
        self._started = 0.0
        self._remeasure = QTimer(self, singleShot=True, interval=REMEASURE_AFTER_MS)
        docked(self, self.view)
        self._connect(napari_viewer)
        self._refresh()
        self._on_store()

    @property
    def viewer(self) -> Viewer:
        """The viewer that this widget is docked in."""
        return self.session.viewer

    def _connect(self, viewer: Viewer) -> None:
        view = self.view
        view.run.clicked.connect(self.start)
        view.cancel.clicked.connect(self.cancel)
        view.go_to_most.clicked.connect(lambda: self.go_to_side("Both"))
        view.table.side_clicked.connect(self.go_to_side)
        view.save.clicked.connect(self.save)
        view.device.found.connect(self._on_device)
        view.form.changed.connect(self._on_settings)
        self._remeasure.timeout.connect(self._measure_again)
        self.ct.changed.connect(self._refresh)
        self.session.changed.connect(self._on_session)
        self.desk.store_changed.connect(self._on_store)
        self.desk.touched.connect(self._on_store)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        self.viewing.changed.connect(self._show_view_state)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(SegmentWidget.retire, self))

    def showEvent(self, event: Any) -> None:
        """Look for the device when the widget is first seen."""
        super().showEvent(event)
        if not self._requested:
            self.look(self.view.form.settings.device)

    def closeEvent(self, event: Any) -> None:
        """Stop what runs; its result would have nowhere to go."""
        self.retire()
        super().closeEvent(event)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        self._retired = True
        for runner in (self._runner, self._measurer, self._saver, self._reader):
            runner.abandon()
        self.view.device.stop()
        self.view.empty.stop()

    # What the user does

    def start(self) -> None:
        """Segment the chosen CT."""
        layer = self.ct.value
        if layer is None or self._runner.busy or not self._may_replace(layer):
            return
        settings = self.view.form.settings
        try:
            volume = volume_of(layer)
        except CovsegError as error:
            show_error(str(error))
            return
        preferences.save_settings(settings)
        self._started = time.monotonic()
        self.view.show_running(True)
        self._runner.start(
            lambda: segmented_steps(volume, settings),
            Callbacks(
                progress=self._on_progress,
                result=lambda segmented: self._on_result(layer, segmented),
                error=self._on_error,
                cancelled=self._on_cancelled,
            ),
        )

    def cancel(self) -> None:
        """Stop the segmentation."""
        self.view.show_cancelling()
        self._runner.cancel()

    def go_to_side(self, side: str) -> None:
        """Show the axial slice with most lesion (``Left``, ``Right`` or ``Both``)."""
        case = self.session.case_of(self.ct.value)
        z = case.shown.most_lesion.get(side) if case is not None else None
        if z is None:
            show_info("no lesion on this side" if side != "Both" else "no lesion was found")
            return
        self.viewing.go_to_slice(z)

    def save(self) -> None:
        """Ask for a folder and write label map and JSON there, as ``covseg segment`` does."""
        start = preferences.load_text("folders/save", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self, "Save label map and JSON in", start)
        if chosen:
            preferences.save_text("folders/save", chosen)
            self.save_to(Path(chosen))

    def save_to(self, folder: Path) -> None:
        """Write label map and JSON into ``folder``; asks before replacing files."""
        case = self.session.case_of(self.ct.value)
        if case is None or self._saver.busy:
            return
        name = case.shown.result.labels.case or "case"
        target = folder / f"{name}_labels.nii.gz"
        if target.exists() and not agreed(self, f"{target.name} is there already. Replace it?"):
            return
        steps, edits = saved_steps(case, folder, name), case.edits
        self._saver.start(
            lambda: steps,
            Callbacks(
                progress=lambda step: None,
                result=lambda path: self._on_saved(case, path, edits),
                error=self._tell,
                cancelled=lambda: None,
            ),
        )

    # What comes back

    def _on_progress(self, step: Progress) -> None:
        self.view.show_progress(step, time.monotonic())

    def _on_result(self, layer: Image, segmented: Segmented) -> None:
        self.view.show_running(False)
        if layer not in self.viewer.layers:
            return
        known = placement_of(layer)
        if known is not None and self._device is not None:
            flips = segmented.result.provenance.get("settings", {}).get("flips", "none")
            seconds = time.monotonic() - self._started
            learn(known.geometry, flips, self._device.title, seconds)
        self.desk.make_way(layer)
        self.session.show(layer, segmented)
        fresh = [w for w in segmented.result.warnings if known is None or w not in known.warnings]
        if fresh:
            show_warning("\n".join(fresh))
        if segmented.most_lesion["Both"] is not None:
            self.go_to_side("Both")

    def _on_error(self, error: Exception) -> None:
        self.view.show_running(False)
        self._refresh()
        self._tell(error)

    def _on_cancelled(self) -> None:
        self.view.show_running(False)
        self._refresh()
        show_info("Cancelled: nothing was changed.")

    def _on_saved(self, case: Case, path: Path, edits: int) -> None:
        self.session.mark_saved(case, path, edits)
        show_info(f"Saved {path.name} and its JSON in {path.parent}.")

    def _tell(self, error: Exception) -> None:
        if isinstance(error, CovsegError):
            show_error(str(error))
        else:
            notification_manager.receive_error(type(error), error, error.__traceback__)

    def _on_device(self, device: Device | None) -> None:
        self._device = device
        if device is not None:
            self.view.form.offer("device", ("auto", "cpu", device.name))
        self._refresh()

    def _on_settings(self) -> None:
        if self.view.form.wants_folder:
            start = preferences.load_text("folders/model", str(Path.home()))
            chosen = QFileDialog.getExistingDirectory(self, "Folder with a model", start)
            preferences.save_text("folders/model", chosen or start)
            self.view.form.take_folder(chosen)
            return
        requested = self.view.form.settings.device
        if requested != self._requested:
            self.look(requested)
        self._refresh()

    def look(self, requested: str) -> None:
        """Find out what ``requested`` (auto, cpu, ...) is here, in a thread."""
        self._requested, self._device = requested, None
        self.view.device.look(requested)
        self._refresh()

    def jobs_running(self) -> bool:
        """Whether anything is being computed, measured or saved."""
        runners = (self._runner, self._measurer, self._saver, self._reader)
        return any(runner.busy for runner in runners)

    # What the viewer and the session tell

    def _on_layers(self, event: Any) -> None:
        if self._retired:
            return
        follow(self.ct, event)
        self._refresh()

    def _on_session(self) -> None:
        if self._retired:
            return
        case = self.session.case_of(self.ct.value)
        if case is not None and case.stale:
            self._remeasure.start()
        self._refresh()

    def _on_store(self) -> None:
        """Offer the live model of the store in use."""
        store = self.desk.store
        if self._retired:
            return
        if store is None:
            self._reader.abandon()
            self.view.form.offer_live(None, "")
            return
        self._reader.start(
            partial(live_source_steps, store),
            Callbacks(
                progress=lambda step: None,
                result=lambda source: self.view.form.offer_live(source, store.name),
                error=lambda error: self.view.form.offer_live(None, ""),
                cancelled=lambda: None,
            ),
        )

    def _measure_again(self) -> None:
        case = self.session.case_of(self.ct.value)
        if case is None or not case.stale:
            return
        steps = remeasured_steps(case)
        self._measurer.start(
            lambda: steps,
            Callbacks(
                progress=lambda step: None,
                result=lambda segmented: self.session.update(case, segmented),
                error=self._tell,
                cancelled=lambda: None,
            ),
        )

    def _refresh(self) -> None:
        layer = self.ct.value
        placement = placement_of(layer) if layer is not None else None
        self.view.show_ct(placement, self._run_text(placement))
        case = self.session.case_of(layer)
        self.view.show_case(case)
        self._show_view_state()

    def _show_view_state(self) -> None:
        if self._retired:
            return
        self.view.view_bar.show_state(self.viewing.plane.name, self.viewing.overlay_shown())

    def _run_text(self, placement: Placement | None) -> str:
        if self._device is None:
            return "Segment"
        if self._device.kind != "cpu":
            return f"Segment on {self._device.title}"
        if placement is None:
            return "Segment on CPU"
        flips = self.view.form.settings.flips
        seconds = expected_seconds(placement.geometry, flips, self._device.title)
        return f"Segment on CPU, about {duration(seconds)}"

    def _may_replace(self, layer: Image) -> bool:
        served, work, case = self.desk.served, self.desk.work, self.session.case_of(layer)
        unsaved = case is not None and case.edited and case.saved is None
        if served is not None and served.ct is layer and work is not None and work.followed:
            unsaved = work.changed
        question = "Your corrections are not saved. Segment again and lose them?"
        return not unsaved or agreed(self, question)
