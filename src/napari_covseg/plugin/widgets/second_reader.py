"""Review: a second reader accepts, sends back or joins what others corrected. Needs no model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QMessageBox, QSizePolicy, QVBoxLayout, QWidget

from napari_covseg.cases.author import known_author
from napari_covseg.cases.records import Decision, LabelVersion, State
from napari_covseg.domain.errors import CovsegError, InputError, UsageError
from napari_covseg.plugin import preferences
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.reviewing import (
    Decided,
    Listed,
    Opened,
    Shown,
    decide_steps,
    listing_steps,
    next_steps,
    open_steps,
    release_steps,
)
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.author import author_or_ask
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.second_reader_case import CaseReview
from napari_covseg.plugin.widgets.second_reader_joint import Both, JointReview, both_steps
from napari_covseg.plugin.widgets.second_reader_texts import (
    OPEN_STORE,
    deed,
    empty_text,
    primary_text,
    row_of,
)
from napari_covseg.plugin.widgets.second_reader_view import ReviewView
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.plugin.case_work import Held
    from napari_covseg.plugin.desk import Served
    from napari_covseg.workflows.consensus import Joined

REFRESH_MS = 400


class ReviewWidget(QWidget):
    """The dock widget: the list of cases, one case, or two readers of it."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk = desk_of(napari_viewer)
        self.viewing = viewing_of(napari_viewer)
        self.view = view = ReviewView()
        self.case = CaseReview(napari_viewer, view.case)
        self.joint = JointReview(napari_viewer, view.joint)
        self.listed: list[Listed] = []
        self._lister, self._worker = Runner(), Runner()
        self._served: Served | None = None
        self._active = self._retired = self._serving = False
        self._error = ""
        self._watch = QTimer(self, interval=REFRESH_MS)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 4)
        layout.addWidget(view)
        self._connect(napari_viewer)
        self._turn_to_queue()

    def _connect(self, viewer: Viewer) -> None:
        view, desk = self.view, self.desk
        view.primary.clicked.connect(self.do_next)
        view.queue.shown.currentIndexChanged.connect(self.refresh)
        view.queue.reader.clicked.connect(self.change_reader)
        view.queue.open.clicked.connect(self.open_chosen)
        view.queue.table.opened.connect(self.open_row)
        view.queue.table.chosen.connect(lambda _row: self._show_primary())
        case = view.case
        case.accept.clicked.connect(self.accept_only)
        case.whole.clicked.connect(lambda: self.decide(Decision.ACCEPT, whole=True))
        case.back.clicked.connect(lambda: self.decide(Decision.SEND_BACK))
        case.flag.clicked.connect(self.flag)
        case.say.clicked.connect(lambda: self.decide(Decision.COMMENT))
        case.leave.clicked.connect(self.leave_case)
        case.versions.compare.clicked.connect(self.compare_chosen)
        view.joint.save.clicked.connect(lambda: self.join(accept=False))
        view.joint.leave.clicked.connect(self.leave_joint)
        desk.store_changed.connect(self._on_store)
        desk.served_changed.connect(self._on_served)
        desk.saved.connect(self._on_saved)
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
        self.case.bind_keys()
        self._watch.start()
        self.refresh()

    def rest(self) -> None:
        """The opposite of `activate`."""
        if not self._active or self._retired:
            return
        self._active = False
        self._watch.stop()
        self.case.unbind_keys()
        self.case.show_before(False)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        if self._retired:
            return
        self._retired = True
        self._lister.abandon()
        self._worker.abandon()
        self.case.unbind_keys()
        self.case.leave()
        self.joint.leave()

    def jobs_running(self) -> bool:
        """Whether anything is being read or written."""
        return self._lister.busy or self._worker.busy

    # The list

    def refresh(self, *_: Any) -> None:
        """Read the list of cases anew."""
        if self._retired:
            return
        store = self.desk.store
        if store is None or not self._active:
            self.listed = [] if store is None else self.listed
            self._show_list()
            return
        shown = Shown(self.view.queue.shown.currentText())
        steps = partial(listing_steps, store, _known(), shown)
        self._lister.start(steps, _callbacks(self._on_listed, self._on_not_listed))

    def _on_listed(self, listed: list[Listed]) -> None:
        self.listed, self._error = listed, ""
        self._show_list()

    def _on_not_listed(self, error: Exception) -> None:
        self.listed, self._error = [], str(error) if isinstance(error, CovsegError) else ""
        self._show_list()
        if not self._error:
            tell_error(error)

    def _show_list(self) -> None:
        queue, store = self.view.queue, self.desk.store
        queue.store.setText(f"Dataset: {store.name}" if store else "")
        for part in queue.parts:
            part.setVisible(store is not None)
        queue.store.setVisible(store is not None)
        reader = _known()
        queue.reader.setText(f"Reader: {reader}" if reader else "Reader: …")
        queue.table.show_rows([row_of(one) for one in self.listed])
        queue.table.setVisible(bool(self.listed))
        queue.open.setVisible(bool(self.listed))
        shown = Shown(queue.shown.currentText())
        text = self._error or empty_text(store is not None, shown, bool(self.listed))
        queue.empty.setText(text)
        queue.empty.setVisible(bool(text))
        self._show_primary()

    def change_reader(self, *_: Any) -> None:
        """Ask who reads."""
        try:
            author_or_ask(self, again=True)
        except CovsegError as error:
            tell_error(error)
        self.refresh()

    def _reader(self) -> str | None:
        try:
            return author_or_ask(self)
        except CovsegError as error:
            tell_error(error)
            return None

    # The primary button

    def do_next(self, *_: Any) -> None:
        """What the primary button says."""
        if self.desk.store is None:
            self.choose_store()
        elif self.view.is_at(self.view.joint):
            self.join(accept=True)
        elif self.view.is_at(self.view.case):
            opened = self.case.opened
            if opened is not None and opened.beside:
                self.compare(*_in_order(opened.version, opened.beside[-1]))
            else:
                self.decide(Decision.ACCEPT)
        else:
            self.open_next()

    def _show_primary(self) -> None:
        if self._retired:
            return
        view, opened = self.view, self.case.opened
        queue = self.listed if view.queue.shown.currentText() == Shown.WAITING else None
        own = opened is not None and self._has_own()
        if view.is_at(view.joint):
            text = primary_text(self._worker.busy, joint=self.joint.both)
        elif view.is_at(view.case):
            text = primary_text(self._worker.busy, opened=opened, own=own)
        else:
            text = primary_text(self._worker.busy, queue=queue)
        if self.desk.store is None:
            text = OPEN_STORE
        view.primary.setText(text)
        view.primary.setEnabled(not self._worker.busy and (queue != [] or not self._at_queue))
        view.case.own.setVisible(own)
        reader = _known()
        view.case.own.setText(
            f"You corrected this case: it is saved as a version of {reader or 'yours'} with "
            "whatever you decide. The changes listed above do not have it yet."
        )

    @property
    def _at_queue(self) -> bool:
        return self.desk.store is not None and self.view.is_at(self.view.queue)

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

    # A case

    def open_next(self, *_: Any) -> None:
        """Take the next case that others corrected."""
        waiting = self.view.queue.shown.currentText() == Shown.WAITING
        if waiting and self.listed and not self._is_handed_out(self.listed[0]):
            self.open_row(0)
            return
        reader, store = self._reader(), self.desk.store
        if reader is not None and store is not None and self._may_leave():
            self._work(partial(next_steps, store, reader), self._on_opened)

    def _is_handed_out(self, listed: Listed) -> bool:
        """Whether the queue hands this case out; a fork of the reader's own it does not."""
        return not listed.beside or listed.version.author != _known()

    def open_chosen(self, *_: Any) -> None:
        """Open the case that is chosen in the table."""
        self.open_row(max(self.view.queue.table.currentRow(), 0))

    def open_row(self, row: int) -> None:
        """Open a case of the table."""
        reader, store = self._reader(), self.desk.store
        if reader is None or store is None or row >= len(self.listed) or not self._may_leave():
            return
        case = self.listed[row].record.name
        self._work(partial(open_steps, store, reader, case), self._on_opened)

    def _on_opened(self, opened: Opened | None) -> None:
        if opened is None:
            self.tell("No case waits for you.")
            self.refresh()
            return
        self._serving = True
        try:
            self.case.leave()
            self.joint.leave()
            self._served = self.desk.serve(opened.loaded)
        finally:
            self._serving = False
        self._show_case(opened)

    def _show_case(self, opened: Opened) -> None:
        assert self._served is not None
        self.case.take(opened, self._served)
        self.view.turn_to(self.view.case)
        self.tell(opened.note)
        self.case.step(1)
        self._show_primary()

    def leave_case(self, *_: Any) -> None:
        """Decide nothing; the case goes back to the queue."""
        opened, store, reader = self.case.opened, self.desk.store, _known()
        self._turn_to_queue()
        if opened is not None and store is not None and reader is not None:
            case = opened.version.case
            self._work(partial(release_steps, store, case, reader), lambda _: self.refresh())

    def _turn_to_queue(self) -> None:
        self.joint.leave()
        self.case.leave()
        self._served = None
        self.view.turn_to(self.view.queue)
        self.refresh()

    def _may_leave(self) -> bool:
        """Whether the case in the viewer may go: nothing on it is unsaved, or that is agreed."""
        served, work = self.desk.served, self.desk.work
        if served is None or work is None or not work.changed:
            return True
        return self._agreed(
            f"What was corrected in {served.record.name} is not saved. Open another case all the "
            "same?"
        )

    # Decisions

    def _has_own(self) -> bool:
        served, work = self.desk.served, self.desk.work
        return served is not None and self._is_mine(served) and work is not None and work.changed

    def _is_mine(self, served: Served) -> bool:
        return self._served is not None and served.ct is self._served.ct

    def _own(self) -> Held | None:
        return self.desk.hold() if self._has_own() else None

    def flag(self, *_: Any) -> None:
        """Flag the case, or take its flag away."""
        opened = self.case.opened
        if opened is not None:
            flagged = opened.loaded.record.state is State.FLAGGED
            self.decide(Decision.UNFLAG if flagged else Decision.FLAG)

    def accept_only(self, *_: Any) -> None:
        """Accept the version under review in the place of those beside it, after asking."""
        opened = self.case.opened
        if opened is None or not opened.beside:
            return
        others = ", ".join(f"{one.number} by {one.author}" for one in opened.beside)
        if self._agreed(
            f"Accept version {opened.version.number} by {opened.version.author} and set aside "
            f"version {others}? They stay in the history."
        ):
            self.decide(Decision.ACCEPT, set_aside=tuple(one.id for one in opened.beside))

    def decide(
        self, decision: Decision, *, whole: bool = False, set_aside: tuple[str, ...] = ()
    ) -> None:
        """Keep a decision about the case that is open."""
        opened, store = self.case.opened, self.desk.store
        if opened is None or store is None or self._worker.busy:
            return
        reader = self._reader()
        if reader is None:
            return
        own = self._own() if decision is not Decision.COMMENT else None
        try:
            verdict = self.case.verdict(decision, reader, own, whole=whole, set_aside=set_aside)
        except UsageError as error:
            self.tell(_sentence(str(error)))
            self.view.case.comment.setFocus()
            return
        steps = partial(decide_steps, store, opened.version, verdict)
        self._work(steps, self._on_decided)

    def _on_decided(self, decided: Decided) -> None:
        verdict = decided.verdict
        if verdict.own is not None:
            self.desk.mark_saved(decided.record, decided.version, verdict.own)
        if decided.error is not None:
            tell_error(decided.error)
            self._reopen(decided.version.id)
        elif verdict.decision is Decision.COMMENT:
            self.tell(deed(decided))
            self.view.case.comment.clear()
        else:
            self._turn_to_queue()
            self.tell(deed(decided))
        self.desk.touched.emit()

    def _reopen(self, version: str) -> None:
        """Describe another version of the case that stands in the viewer."""
        opened, store, reader = self.case.opened, self.desk.store, _known()
        if opened is not None and store is not None and reader is not None:
            case = opened.version.case
            self._work(partial(open_steps, store, reader, case, version), self._on_reopened)

    def _on_reopened(self, opened: Opened) -> None:
        if self._served is not None:
            self._show_case(opened)

    # Two readers

    def compare_chosen(self, *_: Any) -> None:
        """Compare the two versions that were chosen by hand."""
        opened, versions = self.case.opened, self.view.case.versions
        if opened is None:
            return
        known = {one.id: one for one in opened.history}
        first, second = (known[box.currentData()] for box in (versions.first, versions.second))
        if first.id == second.id:
            self.tell("Choose two different versions.")
        else:
            self.compare(*_in_order(first, second))

    def compare(self, first: LabelVersion, second: LabelVersion) -> None:
        """See where two versions differ."""
        store = self.desk.store
        if store is None or self._worker.busy:
            return
        if self._has_own():
            self.tell("Save what you corrected first, or undo it: it belongs to neither version.")
            return
        self._work(partial(both_steps, store, first, second), self._on_both)

    def _on_both(self, both: Both) -> None:
        if self._served is None:
            return
        self.case.show_before(False)
        self.view.case.outlines.setChecked(False)
        self.joint.take(both, self._served.ct)
        self.view.turn_to(self.view.joint)
        self.tell("")
        self._show_primary()

    def leave_joint(self, *_: Any) -> None:
        """Back to the case; nothing was joined."""
        self.joint.leave()
        self.view.case.outlines.setChecked(True)
        self.view.turn_to(self.view.case)
        self._show_primary()

    def join(self, *, accept: bool) -> None:
        """Save what was chosen as the consensus of both."""
        store, reader = self.desk.store, self._reader()
        if self.joint.both is None or store is None or reader is None or self._worker.busy:
            return
        steps = self.joint.save_steps(store, reader, accept)
        self._work(lambda: steps, self._on_joined)

    def _on_joined(self, joined: Joined) -> None:
        version = joined.version
        self._turn_to_queue()
        if joined.beside:
            others = ", ".join(f"{one.number} by {one.author}" for one in joined.beside)
            self.tell(
                f"Saved as version {version.number}; version {others} stands beside it still."
            )
        else:
            accepted = " and accepted" if joined.review is not None else ""
            self.tell(f"{version.case}: saved as version {version.number}{accepted}.")
        self.desk.touched.emit()

    # What others tell

    def _on_store(self) -> None:
        if not self._retired:
            self._worker.abandon()
            self._turn_to_queue()

    def _on_served(self) -> None:
        """Another case was put into the viewer, or ours was taken out."""
        if self._retired or self._serving or self._served is None:
            return
        served = self.desk.served
        if served is None or not self._is_mine(served):
            self.leave_case()

    def _on_saved(self) -> None:
        """Our case was saved as a version elsewhere: that one is under review now."""
        served, opened = self.desk.served, self.case.opened
        if self._retired or served is None or opened is None or self._worker.busy:
            return
        version = served.version
        if self._is_mine(served) and version is not None and version.id != opened.version.id:
            self._reopen(version.id)

    def _on_slice(self) -> None:
        if not self._retired:
            self.case.show_here()

    # Work in threads, and words

    def _work(self, steps: Any, done: Any) -> None:
        if not self._worker.busy:
            self._worker.start(steps, _callbacks(partial(self._end, done), self._on_error))
            self._show_primary()

    def _end(self, done: Any, result: Any) -> None:
        done(result)
        self._show_primary()

    def _on_error(self, error: Exception) -> None:
        tell_error(error)
        self._show_primary()
        if isinstance(error, InputError):
            self.refresh()

    def tell(self, text: str) -> None:
        """Say what was just done."""
        self.view.state.setText(text)

    def _agreed(self, question: str) -> bool:
        buttons = QMessageBox.StandardButton
        both = buttons.Yes | buttons.No
        return bool(QMessageBox.question(self, "napari-covseg", question, both) == buttons.Yes)


def _known() -> str | None:
    """Who reads, if that is known; a name that is no good counts as none."""
    try:
        return known_author()
    except CovsegError:
        return None


def _in_order(one: LabelVersion, other: LabelVersion) -> tuple[LabelVersion, LabelVersion]:
    return (one, other) if one.number < other.number else (other, one)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _callbacks(result: Any, error: Any) -> Callbacks:
    return Callbacks(progress=lambda step: None, result=result, error=error, cancelled=lambda: None)
