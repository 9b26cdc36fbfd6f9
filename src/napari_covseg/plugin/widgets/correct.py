"""Correct: paint, change, grow and delete lesions, slice by slice or in 3D, and see the volumes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_covseg.plugin.correction import Correction
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.layers import lesions_layer, lungs_layer, placement_of
from napari_covseg.plugin.live_volumes import measurements_of
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.correct_files import CorrectFiles
from napari_covseg.plugin.widgets.correct_threshold import CorrectThreshold
from napari_covseg.plugin.widgets.correct_tools import CorrectTools
from napari_covseg.plugin.widgets.correct_uncertainty import CorrectUncertainty
from napari_covseg.plugin.widgets.correct_view import CorrectView
from napari_covseg.plugin.widgets.ct_box import ct_box, follow
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.pieces import docked
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.editing.tally import Tally

TABLE_MS = 100


class CorrectWidget(QWidget):
    """The dock widget: finds what can be corrected, and ties `CorrectView` to it."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewing = viewing_of(napari_viewer)
        self.session = session_of(napari_viewer)
        self.desk = desk_of(napari_viewer)
        self.ct = ct_box(self.session, "The CT to correct")
        self.view = CorrectView(self.ct)
        self.correction: Correction | None = None
        self._counter = Runner()
        self._active = self._retired = False
        self._told = ""
        self.uncertainty = CorrectUncertainty(
            self.view.uncertainty, self.viewing, self.desk, self.tell
        )
        others = {
            "reviewed": self.toggle_reviewed,
            "next": self.go_to_next,
            "threshold": self.view.threshold.toggle.toggle,
            "uncertainty": self.uncertainty.toggle,
            "next uncertain": self.uncertainty.go_to_next,
        }
        self.tools = CorrectTools(self.viewing, self.view, self.tell, others)
        self.threshold = CorrectThreshold(self.view.threshold, self.tools.acts.run)
        self.files = CorrectFiles(
            self, self.view, self.session, self.tell, self._show_soon, self.start_empty
        )
        self._refresh = QTimer(self, singleShot=True, interval=TABLE_MS)
        docked(self, self.view)
        self._connect(napari_viewer)
        self._adopt()

    def _connect(self, viewer: Viewer) -> None:
        view = self.view
        view.start.clicked.connect(self.start_empty)
        view.review.mark.clicked.connect(self.toggle_reviewed)
        view.review.next.clicked.connect(self.go_to_next)
        view.review.bar.slice_chosen.connect(self.viewing.go_to_slice)
        self._refresh.timeout.connect(self._show_now)
        self.ct.changed.connect(self._adopt)
        self.session.changed.connect(self._on_session)
        self.desk.saved.connect(self._on_saved_in_store)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        viewer.dims.events.point.connect(self._on_slice)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(CorrectWidget.retire, self))

    def showEvent(self, event: Any) -> None:
        """Keys and limits hold while the widget is seen."""
        super().showEvent(event)
        self.activate()

    def hideEvent(self, event: Any) -> None:
        """Behind another tab the keys and the brush are napari's again."""
        super().hideEvent(event)
        self.rest()

    def closeEvent(self, event: Any) -> None:
        """Leave nothing behind but the draft."""
        self.retire()
        super().closeEvent(event)

    def activate(self) -> None:
        """Bind the keys, keep painting within the limits."""
        if self._active or self._retired:
            return
        self._active = True
        self.tools.bind_keys()
        if self.correction is not None:
            self.correction.guard()
            # napari's keys for brush and eraser are those of the selected layer.
            self.session.viewer.layers.selection.active = self.correction.target
        self._show_now()

    def rest(self) -> None:
        """The opposite of `activate`."""
        if not self._active or self._retired:
            return
        self._active = False
        self.tools.unbind_keys()
        self.tools.stand_down()
        self.view.threshold.toggle.setChecked(False)
        if self.correction is not None:
            self.correction.unguard()

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        if self._retired:
            return
        self._retired = True
        self._counter.abandon()
        self.threshold.close()
        self.uncertainty.close()
        self.tools.close()
        self.files.close()
        self._drop()

    def jobs_running(self) -> bool:
        """Whether anything is being counted or written."""
        parts = (self._counter, self.threshold, self.uncertainty, self.files)
        return any(part.busy for part in parts)

    # What is corrected

    def _adopt(self) -> None:
        """Correct the labels over the chosen CT, if there are any."""
        ct = self.ct.value
        lungs, lesions = self.session.labels_of(ct) if ct is not None else (None, None)
        held = self.correction
        if held is not None and (held.ct, held.lungs, held.lesions) == (ct, lungs, lesions):
            return
        self._drop()
        if ct is None or (lungs is None and lesions is None):
            self.uncertainty.take(ct, None)
            self.view.show_nothing(ct is not None)
            if ct is not None:
                self.files.offer(ct)
            return
        correction = Correction(self.viewing, ct, lungs, lesions)
        self.correction = self.desk.correction = correction
        correction.edited.connect(self._on_edited)
        correction.counted.connect(self._show_soon)
        correction.uncounted.connect(self._count)
        correction.slices.changed.connect(self._on_edited)
        self.tools.take(correction)
        self.threshold.take(correction)
        self.uncertainty.take(ct, correction)
        if self._active:
            correction.guard()
        self.view.show_working(lungs is not None, lesions is not None)
        self._told = ""
        self.files.take(correction)
        self._count()
        self._show_now()

    def _drop(self) -> None:
        correction, self.correction = self.correction, None
        if self.desk.correction is correction:
            self.desk.correction = None
        self._counter.abandon()
        if not self._retired:
            self.threshold.take(None)
            self.tools.leave()
        self.files.leave()
        if correction is not None:
            correction.close()

    def start_empty(self) -> None:
        """Add empty layers over the CT."""
        ct = self.ct.value
        placement = placement_of(ct) if ct is not None else None
        if ct is None or placement is None:
            return
        viewer = self.session.viewer
        for make in (lungs_layer, lesions_layer):
            data, arguments, _ = make(np.zeros(ct.data.shape, np.uint8), placement)
            viewer.add_labels(data, **arguments)

    # What the viewer and the correction tell

    def _on_layers(self, event: Any) -> None:
        if self._retired:
            return
        follow(self.ct, event)
        self._adopt()

    def _on_session(self) -> None:
        if self._retired:
            return
        self._adopt()
        case = self.session.case_of(self.ct.value)
        if case is not None and case.saved is not None:
            self.files.forget_draft()
        self._show_soon()

    def _on_saved_in_store(self) -> None:
        served, correction = self.desk.served, self.correction
        if self._retired or served is None or served.version is None or correction is None:
            return
        if correction.ct is served.ct:
            name, number = served.record.name, served.version.number
            self.files.take_saved(f"Saved as version {number} of {name}.")
            self._show_soon()

    def _on_edited(self) -> None:
        self.files.touch()
        self._show_soon()

    def _on_slice(self) -> None:
        # At rest, behind another tab, it is shown when the widget is seen again.
        if self._active and not self._retired and self.correction is not None:
            self._show_review(self.correction)

    def _show_soon(self) -> None:
        if not self._retired and not self._refresh.isActive():
            self._refresh.start()

    def _show_now(self) -> None:
        correction = self.correction
        if self._retired or correction is None:
            return
        if correction.tally is not None:
            voxel_ml = correction.placement.geometry.voxel_ml
            self.view.table.show_measurements(measurements_of(correction.tally, voxel_ml))
        self._show_review(correction)
        painted = len(correction.slices.painted.get(correction.value, {}))
        self.view.slice.show_painted(painted)
        self._show_state()

    def _show_review(self, correction: Correction) -> None:
        slices, here = correction.slices, correction.slice
        review = self.view.review
        review.bar.show_slices(slices.reviewed, slices.lesions)
        review.bar.show_here(here)
        reviewed = slices.reviewed
        review.show_counts(here, bool(reviewed[here]), int(reviewed.sum()), len(reviewed))

    def tell(self, text: str) -> None:
        """Say what was just done."""
        self._told = text
        self._show_state()

    def _show_state(self) -> None:
        if self.correction is not None and not self._retired:
            self.view.state.setText(f"{self._told} {self.files.state()}".strip())

    # Counting

    def _count(self) -> None:
        correction = self.correction
        if correction is None or self._retired:
            return
        steps = correction.count_steps()
        self._counter.start(
            lambda: steps,
            Callbacks(
                progress=lambda step: None,
                result=partial(self._on_counted, correction),
                error=tell_error,
                cancelled=lambda: None,
            ),
        )

    def _on_counted(self, correction: Correction, result: tuple[int, Tally]) -> None:
        if correction is self.correction and not correction.take_count(result):
            self._count()

    # Slices

    def toggle_reviewed(self, *_: Any) -> None:
        """Mark the shown axial slice as reviewed, or take the mark away."""
        if self.correction is not None:
            here = self.correction.slice
            self.correction.slices.mark(here, not self.correction.slices.reviewed[here])
            self._show_now()

    def go_to_next(self, *_: Any) -> None:
        """Go to the next slice that was not reviewed."""
        if self.correction is None:
            return
        z = self.correction.slices.next_unreviewed(self.correction.slice)
        if z is None:
            self.tell("Every slice was reviewed.")
        else:
            self.viewing.go_to_slice(z)
