"""Dataset: a case store, the queue of its cases, and the case in work."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin.annotating import Overview, history_steps, overview_steps
from napari_covseg.plugin.claim_keeper import ClaimKeeper
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.telling import show_error
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.author import author_or_ask
from napari_covseg.plugin.widgets.dataset_acts import CaseActs
from napari_covseg.plugin.widgets.dataset_predicting import Predicting
from napari_covseg.plugin.widgets.dataset_store_acts import StoreActs, known
from napari_covseg.plugin.widgets.dataset_view import DatasetView
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.pieces import docked
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.plugin.annotating import Line

LOOK_AGAIN_MS = 20_000
"""What others did to the store is seen after this long at most."""
CASE_MS = 500
DRAFT_AFTER_S = 600.0
"""Unsaved work goes into the store after this long; the Correct widget keeps it more often."""


class DatasetWidget(QWidget):
    """The dock widget: ties `DatasetView` to the desk, the viewer and the case store."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk, self.session = desk_of(napari_viewer), session_of(napari_viewer)
        self.viewing = viewing_of(napari_viewer)
        self.view = DatasetView()
        self.overview: Overview | None = None
        self._reader, self._historian = Runner(), Runner()
        self._stale = self._retired = False
        self.acts = CaseActs(
            self, napari_viewer, self.desk, self.view, self.author, self.view.state.setText
        )
        self.stores = StoreActs(
            self, napari_viewer, self.desk, self.view, self.acts, self.author, self._show
        )
        self.predicting = Predicting(self.desk, self.view, self.author, self.view.state.setText)
        self.keeper = ClaimKeeper(self.desk, known, self.view.case.show_note)
        self._look, self._clock = QTimer(self), QTimer(self)
        self._look.setInterval(LOOK_AGAIN_MS)
        self._clock.setInterval(CASE_MS)
        self.setAcceptDrops(True)
        docked(self, self.view)
        self._connect()
        self._on_store()

    def _connect(self) -> None:
        view, acts = self.view, self.acts
        view.run.clicked.connect(self.go_on)
        view.running.cancel.clicked.connect(self.cancel)
        view.bar.author_asked.connect(self.ask_author)
        view.predict.clicked.connect(lambda: self.predicting.start(()))
        view.case.draft.clicked.connect(acts.save_draft)
        view.case.second.clicked.connect(acts.save_corrected)
        view.case.flag.clicked.connect(acts.flag)
        view.case.release.clicked.connect(acts.give_back)
        view.queue.order_changed.connect(self.refresh)
        view.queue.table.opened.connect(acts.open)
        view.queue.table.chosen.connect(self.show_history)
        view.history_fold.toggled.connect(self.show_history)
        view.versions.restore_asked.connect(acts.restore)
        view.effort_fold.toggled.connect(self._show_effort)
        self._look.timeout.connect(self._look_again)
        self._clock.timeout.connect(self._tick)
        self.desk.store_changed.connect(self._on_store)
        self.desk.served_changed.connect(self._on_served)
        self.desk.touched.connect(self.refresh)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(DatasetWidget.retire, self))

    def showEvent(self, event: Any) -> None:
        """Look at the store while the widget is seen."""
        super().showEvent(event)
        self._look.start()
        self._clock.start()
        self.refresh()

    def hideEvent(self, event: Any) -> None:
        """Behind another tab only the case in work is watched, to save it now and then."""
        super().hideEvent(event)
        if not self._retired:
            self._look.stop()

    def closeEvent(self, event: Any) -> None:
        """Stop what runs."""
        self.retire()
        super().closeEvent(event)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        self._retired = True
        runners = (self._reader, self._historian, self.acts.runner, self.predicting.runner)
        for runner in (*runners, self.keeper.runner):
            runner.abandon()

    def jobs_running(self) -> bool:
        """Whether anything is being read, written or predicted."""
        runners = (self._reader, self._historian, self.acts.runner, self.predicting.runner)
        return any(runner.busy for runner in runners)

    def dragEnterEvent(self, event: Any) -> None:
        """Files and folders may be dropped."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Open a store, or add scans."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        event.acceptProposedAction()
        if paths:
            self.stores.take_paths(paths)

    def cancel(self, *_: Any) -> None:
        """Stop what is done before its next step."""
        self.view.running.show_cancelling()
        self.acts.runner.cancel()

    # Who works here

    def author(self) -> str | None:
        """Who works here; asked once."""
        try:
            return author_or_ask(self)
        except CovsegError as error:
            show_error(str(error))
            return None

    def ask_author(self) -> None:
        """Another person works here from now on; what was drawn until now is of the one before."""
        self.acts.leave(self._ask_author)

    def _ask_author(self) -> None:
        try:
            author_or_ask(self, again=True)
        except CovsegError as error:
            show_error(str(error))
        self._show_bar()
        self.refresh()

    # The case in work

    def go_on(self) -> None:
        """What the button says: open a store, accept the case in work, open the next one."""
        if self.desk.store is None:
            self.stores.ask()
        elif self.desk.served is None:
            self.acts.open_next(self.view.queue.chosen_order)
        else:
            self.acts.accept(lambda: self.acts.open_next(self.view.queue.chosen_order))

    def show_history(self, *_: Any) -> None:
        """The versions of the chosen case, if that section is unfolded."""
        folder, case = self.desk.store, self.view.queue.table.case
        if self._retired or not self.view.history_fold.isExpanded():
            return
        if folder is None or not case:
            self.view.versions.show_history(None)
            return
        callbacks = _quiet(self.view.versions.show_history)
        self._historian.start(partial(history_steps, folder, case), callbacks)

    def _show_effort(self, unfolded: bool) -> None:
        if unfolded:
            self.view.effort.show_store(self.desk.store)

    # What the store, the desk and time tell

    def refresh(self, *_: Any) -> None:
        """Look at the store again."""
        folder = self.desk.store
        if self._retired or folder is None:
            return
        if self._reader.busy:
            self._stale = True
            return
        self._stale = False
        steps = partial(overview_steps, folder, known(), self.view.queue.chosen_order)
        callbacks = Callbacks(
            progress=lambda step: None,
            result=self._on_overview,
            error=self._on_trouble,
            cancelled=lambda: None,
        )
        self._reader.start(steps, callbacks)

    def _look_again(self) -> None:
        if not self._reader.busy:
            self.refresh()

    def _on_overview(self, overview: Overview) -> None:
        if overview.folder == self.desk.store:
            self._show(overview)
        if self._stale:
            self.refresh()

    def _on_trouble(self, error: Exception) -> None:
        if isinstance(error, CovsegError):
            self.view.show_trouble(f"⚠ {error}")
        else:
            tell_error(error)

    def _show(self, overview: Overview) -> None:
        self.overview = overview
        read_only = "⚠ This case store may only be read: nothing you draw can be saved in it."
        self.view.show_trouble("" if overview.writable else read_only)
        self.view.show_overview(overview)
        self._show_bar()
        self._show_run()
        self.show_history()
        self._take_prediction(overview)

    def _take_prediction(self, overview: Overview) -> None:
        """A case that was opened without labels shows those that it has got since."""
        served = self.desk.served
        if served is None or served.version is not None or served.store != overview.folder:
            return
        drawn = any(layer is not None for layer in self.session.labels_of(served.ct))
        records = {line.record.name: line.record for line in overview.lines}
        record = records.get(served.record.name)
        if not drawn and record is not None and record.newest and not self.acts.runner.busy:
            self.desk.clear()
            self.acts.open(record.name)

    def _on_store(self) -> None:
        if self._retired:
            return
        self.overview = None
        self.view.show_overview(None)
        self.view.show_trouble("")
        self._show_bar()
        self._show_run()
        self._show_effort(self.view.effort_fold.isExpanded())
        self.refresh()

    def _on_served(self) -> None:
        if self._retired:
            return
        served = self.desk.served
        self.view.case.setVisible(served is not None)
        if served is not None:
            # Also when another widget serves it: nothing said of the case before may stick to it.
            self.view.case.take(served.record, "")
            self.acts.minutes, self.acts.saved_at = 0.0, time.monotonic()
        self._tick()
        self._show_run()

    def _tick(self) -> None:
        served, work = self.desk.served, self.desk.work
        if not self._retired:
            self.keeper.look()
        if self._retired or served is None or work is None:
            return
        reviewed, slices = int(work.reviewed.sum()), len(work.reviewed)
        minutes = self.acts.minutes + work.seconds / 60
        saved = "not saved" if work.changed else "saved"
        if served.version is None and not work.changed:
            saved = "nothing drawn yet"
        self.view.case.show_version(served.record, served.version)
        self.view.case.show_state(reviewed, slices, minutes, saved)
        long_ago = time.monotonic() - self.acts.saved_at > DRAFT_AFTER_S
        if work.changed and long_ago and not self.acts.runner.busy:
            self.acts.saved_at = time.monotonic()
            self.acts.save_draft(quiet=True)

    def _show_bar(self) -> None:
        model = self.overview.model if self.overview is not None else ""
        self.view.bar.show_store(self.desk.store, model, known())

    def _show_run(self) -> None:
        served, overview = self.desk.served, self.overview
        text, enabled = "Open a case store…", True
        if self.desk.store is not None and served is not None:
            text = f"Accept {served.record.name} and open next"
        elif self.desk.store is not None:
            line = overview.next if overview is not None else None
            text, enabled = _next_text(overview, line), line is not None
        self.view.run.setText(text)
        self.view.run.setEnabled(enabled)


def _quiet(result: Any) -> Callbacks:
    return Callbacks(
        progress=lambda step: None, result=result, error=tell_error, cancelled=lambda: None
    )


def _next_text(overview: Overview | None, line: Line | None) -> str:
    if overview is None:
        return "Reading the case store…"
    if line is None:
        return "No case waits for you" if overview.lines else "Add scans to begin"
    where = ""
    if line.score is not None and line.score.slice is not None:
        where = f", slice {line.score.slice + 1}"
    return f"Open next: {line.record.name}{where}"
