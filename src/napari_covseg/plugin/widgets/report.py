"""Report: what the reader says of a CT and its labels, signed, saved, or pasted elsewhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_covseg.plugin import preferences
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.quantifying import LabelWatch
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.study import study_of
from napari_covseg.plugin.widgets.ct_box import ct_box, follow
from napari_covseg.plugin.widgets.pieces import docked
from napari_covseg.plugin.widgets.report_acts import ReportActs
from napari_covseg.plugin.widgets.report_text import ReportText
from napari_covseg.plugin.widgets.report_view import ReportView
from napari_covseg.workflows.report_request import FORMATS

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

_DEFAULT_FORMATS = "html,pdf"


class ReportWidget(QWidget):
    """The dock widget: says which CT and which labels `ReportText` and `ReportActs` are about."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.desk = session_of(napari_viewer), desk_of(napari_viewer)
        self.study = study_of(napari_viewer)
        self.ct = ct_box(self.session, "The CT to report on")
        self.view = ReportView(napari_viewer, self.ct)
        self.text = ReportText(self.view, self.session, self.study)
        self.acts = ReportActs(self, self.view, self.session, self.desk, self.text)
        self._layers: tuple[Labels, ...] = ()
        self._retired = False
        self.view.formats.choose(_remembered_formats())
        docked(self, self.view)
        self._connect(napari_viewer)
        self._adopt()

    def _connect(self, viewer: Viewer) -> None:
        reader = self.view.reader
        self.view.classifier.toggled.connect(self._on_classifier)
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
            self.text.show_scores()

    def closeEvent(self, event: Any) -> None:
        """Stop what runs; its result would have nowhere to go."""
        self.retire()
        super().closeEvent(event)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        if not self._retired:
            self._retired = True
            self.acts.retire()

    def jobs_running(self) -> bool:
        """Whether anything is being measured, drawn or written."""
        return self.acts.busy

    # Which CT, and which labels

    def _on_layers(self, event: Any) -> None:
        if self._retired:
            return
        follow(self.ct, event)
        self._adopt()

    def _adopt(self) -> None:
        """Follow the chosen CT and the labels over it."""
        if self._retired:
            return
        ct = self.ct.value
        found = self.session.labels_of(ct) if ct is not None else (None, None)
        layers = tuple(layer for layer in found if layer is not None)
        if ct is not self.text.ct:
            self.acts.abandon()
            # Two CTs on one grid may share labels, but not what is measured in them.
            self._follow(layers)
            self.text.show(ct)
        elif layers != self._layers:
            self._follow(layers)
            self._on_edited()
        self.view.show_state(ct is not None, bool(layers))

    def _follow(self, layers: tuple[Labels, ...]) -> None:
        self._layers = layers
        watch = LabelWatch(layers) if layers else None
        if watch is not None:
            watch.edited.connect(self._on_edited)
        self.acts.follow(watch)

    # What makes the report another one

    def _on_edited(self) -> None:
        if not self._retired:
            self.text.withdraw("The labels were changed: the sign-off was withdrawn.")
            self._mark_old()

    def _on_lobes(self, ct: Image) -> None:
        """The figures that were shown rest on other lobes."""
        if not self._retired and ct is self.text.ct:
            self._mark_old()

    def _mark_old(self) -> None:
        self.view.preview.stale.setVisible(self.view.preview.isVisibleTo(self.view))

    def _on_classified(self, ct: Image) -> None:
        if not self._retired and ct is self.text.ct:
            self.text.take_classified()

    def _on_classifier(self) -> None:
        self.text.take_ticked()

    def _on_study(self) -> None:
        if not self._retired:
            self.text.take_found()

    def _on_text(self) -> None:
        if not self._retired:
            self.text.take_typed()


def _remembered_formats() -> tuple[str, ...]:
    kept = preferences.load_text("report/formats", _DEFAULT_FORMATS).split(",")
    return tuple(name for name in FORMATS if name in kept)
