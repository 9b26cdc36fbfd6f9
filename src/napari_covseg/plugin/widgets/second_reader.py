"""Review: a second reader accepts, sends back or joins what others corrected. Needs no model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin import preferences
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.author import author_or_ask
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.pieces import docked
from napari_covseg.plugin.widgets.second_reader_acts import ReviewActs
from napari_covseg.plugin.widgets.second_reader_keys import (
    BEFORE_KEY,
    NEXT_KEY,
    PREVIOUS_KEY,
    Keys,
)
from napari_covseg.plugin.widgets.second_reader_list import CaseList, reader_known
from napari_covseg.plugin.widgets.second_reader_texts import OPEN_STORE, primary_text
from napari_covseg.plugin.widgets.second_reader_view import ReviewView

if TYPE_CHECKING:
    from napari.viewer import Viewer

REFRESH_MS = 400


class ReviewWidget(QWidget):
    """The dock widget: the list of cases, one case, or two readers of it."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk = desk_of(napari_viewer)
        self.viewing = viewing_of(napari_viewer)
        self.view = view = ReviewView()
        self.cases = CaseList(self.desk, view.queue, self._show_primary)
        self.keys = Keys()
        self.acts = ReviewActs(
            napari_viewer, self, view, self.cases, self._show_primary, self.refresh
        )
        self._active = self._retired = False
        self._watch = QTimer(self, interval=REFRESH_MS)
        docked(self, view)
        self._connect(napari_viewer)
        self.cases.show()

    def _connect(self, viewer: Viewer) -> None:
        view, desk = self.view, self.desk
        view.primary.clicked.connect(self.do_next)
        view.queue.shown.currentIndexChanged.connect(self.refresh)
        view.queue.reader.clicked.connect(self.change_reader)
        desk.touched.connect(self.refresh)
        viewer.dims.events.point.connect(self._on_slice)
        self._watch.timeout.connect(self._show_primary)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(ReviewWidget.retire, self))

    def showEvent(self, event: Any) -> None:
        """Keys hold while the widget is seen."""
        super().showEvent(event)
        self.activate()

    def hideEvent(self, event: Any) -> None:
        """Behind another tab the keys are napari's again, and the version itself is seen."""
        super().hideEvent(event)
        self.rest()

    def closeEvent(self, event: Any) -> None:
        """Leave nothing behind."""
        self.retire()
        super().closeEvent(event)

    def activate(self) -> None:
        """Bind the keys and look what waits."""
        if self._active or self._retired:
            return
        self._active = True
        acts = {BEFORE_KEY: self._turn, PREVIOUS_KEY: self._previous, NEXT_KEY: self._next}
        self.keys.bind(self.viewing.viewer, acts)
        self.acts.joint.show(True)
        self._watch.start()
        self.refresh()

    def rest(self) -> None:
        """The opposite of `activate`."""
        if not self._active or self._retired:
            return
        self._active = False
        self._watch.stop()
        self.keys.unbind()
        self.acts.case.show_before(False)
        self.acts.joint.show(False)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        if self._retired:
            return
        self._retired = True
        self.cases.stop()
        self.keys.unbind()
        self.acts.retire()

    def jobs_running(self) -> bool:
        """Whether anything is being read or written."""
        return self.cases.busy or self.acts.busy

    # Keys

    def _turn(self) -> None:
        page = self.view.joint.outlines if self._at_joint else self.view.case.before
        if self._at_joint or self.acts.case.turns is not None:
            page.toggle()

    def _previous(self) -> None:
        (self.acts.joint if self._at_joint else self.acts.case).step(-1)

    def _next(self) -> None:
        (self.acts.joint if self._at_joint else self.acts.case).step(1)

    @property
    def _at_joint(self) -> bool:
        return self.view.is_at(self.view.joint)

    # The list

    def refresh(self, *_: Any) -> None:
        """Read the list of cases anew, if it is seen."""
        if self._active and not self._retired:
            self.cases.refresh()

    def change_reader(self, *_: Any) -> None:
        """Ask who reads."""
        try:
            author_or_ask(self, again=True)
        except CovsegError as error:
            tell_error(error)
        self.refresh()

    # The primary button

    def do_next(self, *_: Any) -> None:
        """What the primary button says."""
        if self.desk.store is None:
            self.choose_store()
        else:
            self.acts.do_next()

    def _show_primary(self) -> None:
        if self._retired:
            return
        view, opened = self.view, self.acts.case.opened
        waiting = self.cases.waiting
        own = opened is not None and self.acts.case.has_own()
        if view.is_at(view.joint):
            text = primary_text(self.acts.busy, joint=self.acts.joint.both)
        elif view.is_at(view.case):
            text = primary_text(self.acts.busy, opened=opened, own=own)
        else:
            text = primary_text(self.acts.busy, queue=waiting)
        if self.desk.store is None:
            text = OPEN_STORE
        view.primary.setText(text)
        nothing = waiting == [] and self._at_queue
        view.primary.setEnabled(not self.acts.busy and not nothing)
        view.case.own.setVisible(own)
        reader = reader_known()
        view.case.own.setText(
            f"You corrected this case: it is saved as a version of {reader or 'yours'} with "
            "whatever you decide. The changes listed above do not have it yet."
        )

    @property
    def _at_queue(self) -> bool:
        return self.desk.store is not None and self.view.is_at(self.view.queue)

    def _on_slice(self) -> None:
        if not self._retired:
            self.acts.case.show_here()

    def choose_store(self) -> None:
        """Ask for the folder of a case store."""
        start = preferences.load_text("folders/store", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self, "Open a dataset (case store)", start)
        if chosen:
            self.open_store(Path(chosen))

    def open_store(self, folder: Path) -> None:
        """Use a case store; a folder that is none is refused in words."""
        from napari_covseg.cases.store import CaseStore

        try:
            CaseStore.open(folder)
        except CovsegError as error:
            tell_error(error)
            return
        preferences.save_text("folders/store", str(folder))
        self.desk.store = folder
