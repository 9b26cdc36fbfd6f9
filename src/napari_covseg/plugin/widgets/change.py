"""Compare: two CTs of one patient, and what became of the lesions."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import Progress
from napari_covseg.plugin import preferences
from napari_covseg.plugin.comparing import (
    Compared,
    Scan,
    change_layer,
    compare_steps,
    lesion_voxel,
    prior_layer,
    saved_steps,
    scan_of,
)
from napari_covseg.plugin.layers import is_ct, placement_of
from napari_covseg.plugin.quantifying import LabelWatch
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.telling import show_error, show_info
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.change_beside import Beside
from napari_covseg.plugin.widgets.change_view import ChangeView
from napari_covseg.plugin.widgets.pieces import docked
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

_TWO = "Open a second CT of the same patient to compare with: File > Open Folder."
_SEGMENT = "{} has no labels yet. Segment it first (Segment), then compare."
_SHARED = "Both CTs lie on one grid and share one label map: segment each (Segment), then compare."
_STALE = "The labels were edited since: compare again to follow."


class ChangeWidget(QWidget):
    """The dock widget: ties `ChangeView` to the session, the viewer and the workflow."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.viewing = session_of(napari_viewer), viewing_of(napari_viewer)
        tip = "The later scan: everything is shown on it"
        self.current = ComboBox(name="current", choices=self._cts, tooltip=tip)
        self.prior = ComboBox(name="prior", choices=self._cts, tooltip="The earlier scan")
        self.view = ChangeView(napari_viewer, self.current, self.prior)
        self.compared: Compared | None = None
        self._scans: tuple[Scan, Scan] | None = None
        self._watch: LabelWatch | None = None
        self._shown: tuple[Image, Labels] | None = None
        self._beside = Beside(napari_viewer, partial(ChangeWidget._on_beside_closed, self))
        self._runner, self._saver = Runner(), Runner()
        self._retired = self._removing = False
        docked(self, self.view)
        self._connect(napari_viewer)
        self._choose_apart()
        self._refresh()

    @property
    def viewer(self) -> Viewer:
        """The viewer that this widget is docked in."""
        return self.session.viewer

    def _connect(self, viewer: Viewer) -> None:
        view, result = self.view, self.view.result
        view.run.clicked.connect(self.start)
        view.cancel.clicked.connect(self.cancel)
        view.swap.clicked.connect(self.swap)
        result.beside.toggled.connect(self.show_beside)
        result.flip.toggled.connect(self.show_prior)
        result.save.clicked.connect(self.save)
        result.lesions.row_clicked.connect(self.go_to_lesion)
        self.current.changed.connect(self._refresh)
        self.prior.changed.connect(self._refresh)
        self.session.changed.connect(self._refresh)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(ChangeWidget.retire, self))

    def closeEvent(self, event: Any) -> None:
        """Stop what runs; its result would have nowhere to go."""
        self.retire()
        super().closeEvent(event)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        self._retired = True
        self._runner.abandon()
        self._saver.abandon()
        self._unwatch()
        self._beside.retire()
        self.view.empty.stop()

    def jobs_running(self) -> bool:
        """Whether anything is being compared or saved."""
        return self._runner.busy or self._saver.busy

    # What the user does

    def start(self) -> None:
        """Compare the chosen scans."""
        if self.current.value is None or self.prior.value is None or self._runner.busy:
            return
        scans = tuple(scan_of(self.session, box.value) for box in (self.current, self.prior))
        try:
            steps = compare_steps(
                *scans,
                deformable=self.view.deformable.isChecked(),
                lobes=self.session.lobes.get(scans[0].ct),
            )
        except CovsegError as error:
            show_error(str(error))
            return
        # From now on: what is edited while it is compared is not in the result.
        watch = LabelWatch((*scans[0].layers, *scans[1].layers))
        self.view.show_running(True)
        self._runner.start(
            lambda: steps,
            Callbacks(
                progress=self._on_progress,
                result=lambda compared: self._on_result((scans[0], scans[1]), watch, compared),
                error=self._on_error,
                cancelled=self._on_cancelled,
            ),
        )

    def cancel(self) -> None:
        """Stop comparing."""
        self.view.running.show_cancelling()
        self._runner.cancel()

    def swap(self) -> None:
        """Exchange current and prior."""
        current, prior = self.current.value, self.prior.value
        self.current.value, self.prior.value = prior, current

    def show_beside(self, shown: bool) -> None:
        """Show the prior beside the picture, or no more."""
        if self._retired:
            return
        if shown and self.compared is not None and self._scans is not None:
            self._beside.show(self._scans[0].ct, self.compared)
        else:
            self._beside.close()

    def show_prior(self, shown: bool) -> None:
        """Show the prior in place of the current scan, or the other way round."""
        if self._shown is None or self._scans is None:
            return
        image, change = self._shown
        image.visible, change.visible = shown, not shown
        self.view.result.flip.setText("Show current" if shown else "Show prior")

    def go_to_lesion(self, row: int) -> None:
        """Show a lesion of the list."""
        if self.compared is None or self._scans is None:
            return
        ct = self._scans[0].ct
        placement = placement_of(ct)
        if ct not in self.viewer.layers or placement is None:
            return
        voxel = lesion_voxel(self.compared.change.lesions.listed[row], placement)
        self.viewer.layers.selection.active = ct
        world = tuple(float(value) for value in ct.data_to_world(voxel))
        self.viewer.dims.ndisplay = 2
        self.viewer.dims.point = world

    def save(self) -> None:
        """Ask for a folder and write page, JSON, CSV and the map of change there."""
        start = preferences.load_text("folders/save", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self, "Save what changed in", start)
        if chosen:
            preferences.save_text("folders/save", chosen)
            self.save_to(Path(chosen))

    def save_to(self, folder: Path) -> None:
        """Write the files of ``covseg change`` into ``folder``."""
        compared = self.compared
        if compared is None or self._saver.busy:
            return
        self._saver.start(
            lambda: saved_steps(compared, folder),
            Callbacks(
                progress=lambda step: None,
                result=lambda paths: show_info(f"Saved {paths[0].name} and 3 more files."),
                error=self._tell,
                cancelled=lambda: None,
            ),
        )

    # What comes back

    def _on_progress(self, step: Progress) -> None:
        self.view.running.show_progress(step, time.monotonic())

    def _on_result(self, scans: tuple[Scan, Scan], watch: LabelWatch, compared: Compared) -> None:
        self.view.show_running(False)
        if any(scan.ct not in self.viewer.layers for scan in scans):
            return
        self._forget()
        self._scans, self.compared, self._watch = scans, compared, watch
        watch.edited.connect(self._refresh)
        self._show_layers(scans, compared)
        self.view.result.show_change(compared.change)
        self._refresh()
        if compared.change.lesions.listed:
            self.go_to_lesion(0)

    def _on_error(self, error: Exception) -> None:
        self.view.show_running(False)
        self._tell(error)

    def _on_cancelled(self) -> None:
        self.view.show_running(False)
        show_info("Cancelled: nothing was changed.")

    def _tell(self, error: Exception) -> None:
        if isinstance(error, CovsegError):
            show_error(str(error))
        else:
            notification_manager.receive_error(type(error), error, error.__traceback__)

    def _show_layers(self, scans: tuple[Scan, Scan], compared: Compared) -> None:
        """The map of change over the current CT, and nothing of the prior where it was."""
        current, prior = scans
        placement = placement_of(current.ct)
        assert placement is not None
        for layer in (prior.ct, *prior.layers, *current.layers[1:]):
            layer.visible = False
        current.ct.visible = True
        limits = (float(current.ct.contrast_limits[0]), float(current.ct.contrast_limits[1]))
        data, arguments, _ = prior_layer(compared, placement, limits)
        image = self.viewer.add_image(data, **arguments)
        data, arguments, _ = change_layer(compared, placement)
        change = self.viewer.add_labels(data, **arguments)
        change.editable = False
        self._shown = (image, change)
        self.viewer.layers.selection.active = current.ct

    # What the viewer and the session tell

    def _cts(self, _box: Any = None) -> list[tuple[str, Image]]:
        return [(layer.name, layer) for layer in self.viewer.layers if is_ct(layer)]

    def _on_layers(self, event: Any) -> None:
        if self._retired:
            return
        if event.type == "removed" and not self._removing:
            gone, shown = event.value, self._shown or ()
            if self._scans is not None and any(gone is scan.ct for scan in self._scans):
                self._forget()
            elif any(gone is layer for layer in shown):
                self._shown = None
                self.view.result.flip.setEnabled(False)
        for box in (self.current, self.prior):
            box.reset_choices()
        if event.type == "inserted" and is_ct(event.value):
            self._choose_apart()
        self._refresh()

    def _choose_apart(self) -> None:
        """Two different CTs, if there are two: the first opened one is taken for the current."""
        cts = [layer for _, layer in self._cts()]
        if len(cts) > 1 and self.current.value is self.prior.value:
            self.prior.value = next(ct for ct in cts if ct is not self.current.value)

    def _refresh(self) -> None:
        if self._retired:
            return
        cts = len(self._cts())
        state, ready = "", False
        current, prior = self.current.value, self.prior.value
        if cts < 2:
            state = _TWO if cts else ""
        elif current is prior:
            state = "Choose two different CTs."
        else:
            missing = [
                ct.name for ct in (current, prior) if scan_of(self.session, ct).lungs is None
            ]
            ready = not missing
            state = _SEGMENT.format(missing[0]) if missing else ""
            one, two = (scan_of(self.session, ct).layers for ct in (current, prior))
            if ready and set(one) & set(two):
                state, ready = _SHARED, False
        if not state and self._outdated():
            state = _STALE
        self.view.show_choice(cts, state, ready)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._watch = None

    def _outdated(self) -> bool:
        """Whether what is shown was compared of other labels than there are now."""
        edited = self._watch is not None and self._watch.version > 0
        return edited or any(
            scan_of(self.session, scan.ct).layers != scan.layers for scan in self._scans or ()
        )

    def _on_beside_closed(self) -> None:
        if not self._retired:
            self.view.result.beside.setChecked(False)

    def _forget(self) -> None:
        """Take away what was shown of an older comparison."""
        self._unwatch()
        self.view.result.beside.setChecked(False)
        self.view.result.flip.setChecked(False)
        self.view.result.flip.setEnabled(True)
        self._removing = True
        for layer in self._shown or ():
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self._removing = False
        self._shown = self._scans = self.compared = None
        self.view.result.hide()
