"""What a second reader does: open a case, decide about it, compare and join two versions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_covseg.cases.records import Decision, LabelVersion, State
from napari_covseg.domain.errors import CovsegError, InputError, UsageError
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.review_deciding import Decided, decide_steps, release_steps
from napari_covseg.plugin.review_opening import Opened, next_steps, open_steps
from napari_covseg.plugin.review_waiting import Listed
from napari_covseg.plugin.widgets.author import author_or_ask
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.second_reader_case import CaseReview
from napari_covseg.plugin.widgets.second_reader_joint import Both, JointReview, both_steps
from napari_covseg.plugin.widgets.second_reader_list import CaseList, reader_known
from napari_covseg.plugin.widgets.second_reader_texts import deed
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.plugin.case_work import Held
    from napari_covseg.plugin.desk import Served
    from napari_covseg.plugin.widgets.second_reader_view import ReviewView
    from napari_covseg.workflows.consensus import Joined


class ReviewActs:
    """Turns the pages of the view and works on the store of the desk.

    ``changed`` is called when the button's words may no longer hold, ``refresh`` when the list
    has to be read anew.
    """

    def __init__(
        self,
        viewer: Viewer,
        parent: QWidget,
        view: ReviewView,
        cases: CaseList,
        changed: Callable[[], None],
        refresh: Callable[..., None],
    ) -> None:
        self._parent, self.view, self.cases = parent, view, cases
        self._changed, self.refresh = changed, refresh
        self.desk = desk_of(viewer)
        self.case = CaseReview(viewer, view.case)
        self.joint = JointReview(viewer, view.joint)
        self._worker = Runner()
        self._served: Served | None = None
        self._busy_here = self._retired = False
        self._connect()

    def _connect(self) -> None:
        view, desk, case = self.view, self.desk, self.view.case
        view.queue.open.clicked.connect(self.open_chosen)
        view.queue.table.opened.connect(self.open_row)
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

    @property
    def busy(self) -> bool:
        """Whether anything is being read or written."""
        return self._worker.busy

    def retire(self) -> None:
        """Stop everything, and take what was added out of the viewer."""
        self._retired = True
        self._worker.abandon()
        self.case.leave()
        self.joint.leave()

    def do_next(self) -> None:
        """What the primary button says: open, accept, compare or join."""
        opened = self.case.opened
        if self.view.is_at(self.view.joint):
            self.join(accept=True)
        elif not self.view.is_at(self.view.case) or opened is None:
            self.open_next()
        elif opened.beside:
            self.compare(*_in_order(opened.version, opened.beside[-1]))
        else:
            self.decide(Decision.ACCEPT)

    # A case

    def open_next(self, *_: Any) -> None:
        """Take the next case that others corrected."""
        waiting = self.cases.waiting
        if waiting and not _is_handed_out(waiting[0]):
            self.open_row(0)
            return
        reader, store = self._reader(), self.desk.store
        if reader is not None and store is not None and self._may_leave():
            self._work(partial(next_steps, store, reader), self._on_opened)

    def open_chosen(self, *_: Any) -> None:
        """Open the case that is chosen in the table."""
        self.open_row(max(self.view.queue.table.currentRow(), 0))

    def open_row(self, row: int) -> None:
        """Open a case of the table."""
        reader, store = self._reader(), self.desk.store
        if (
            reader is None
            or store is None
            or row >= len(self.cases.listed)
            or not self._may_leave()
        ):
            return
        case = self.cases.listed[row].record.name
        self._work(partial(open_steps, store, reader, case), self._on_opened)

    def _on_opened(self, opened: Opened | None) -> None:
        if opened is None:
            self.tell("No case waits for you.")
            self.refresh()
            return
        self._busy_here = True
        try:
            self.case.leave()
            self.joint.leave()
            self._served = self.desk.serve(opened.loaded)
        finally:
            self._busy_here = False
        self._show_case(opened, self._served)
        self.case.step(1)

    def _show_case(self, opened: Opened, served: Served) -> None:
        self.case.take(opened, served)
        self.view.turn_to(self.view.case)
        self.tell("")
        self._changed()

    def leave_case(self, *_: Any) -> None:
        """Decide nothing; the case goes back to the queue."""
        opened, store, reader = self.case.opened, self.desk.store, reader_known()
        self._turn_to_queue()
        if opened is not None and store is not None and reader is not None:
            case = opened.version.case
            self._work(partial(release_steps, store, case, reader), self.refresh)

    def _turn_to_queue(self) -> None:
        self.joint.leave()
        self.case.leave()
        self._served = None
        self.view.turn_to(self.view.queue)
        self._changed()

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

    def has_own(self) -> bool:
        """Whether the reader corrected the case himself, and it is not saved."""
        served, work = self.desk.served, self.desk.work
        return served is not None and self._is_mine(served) and work is not None and work.changed

    def _is_mine(self, served: Served) -> bool:
        return self._served is not None and served.ct is self._served.ct

    def _own(self) -> Held | None:
        return self.desk.hold() if self.has_own() else None

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
            self._busy_here = True
            try:
                self.desk.mark_saved(decided.record, decided.version, verdict.own)
            finally:
                self._busy_here = False
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
        opened, store, reader = self.case.opened, self.desk.store, reader_known()
        if opened is not None and store is not None and reader is not None:
            case = opened.version.case
            self._work(partial(open_steps, store, reader, case, version), self._on_reopened)

    def _on_reopened(self, opened: Opened) -> None:
        if self._served is not None:
            comment = self.view.case.comment.text()
            self._show_case(opened, self._served)
            self.view.case.comment.setText(comment)

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
        if self.has_own():
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
        self._changed()

    def leave_joint(self, *_: Any) -> None:
        """Back to the case; nothing was joined."""
        self.joint.leave()
        self.view.case.outlines.setChecked(True)
        self.view.turn_to(self.view.case)
        self._changed()

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
            self.cases.refresh()

    def _on_served(self) -> None:
        """Another case was put into the viewer, or ours was taken out."""
        if self._retired or self._busy_here or self._served is None:
            return
        served = self.desk.served
        if served is None or not self._is_mine(served):
            self.leave_case()

    def _on_saved(self) -> None:
        """Our case was saved as a version elsewhere: that one is under review now."""
        served, opened = self.desk.served, self.case.opened
        if self._retired or self._busy_here or served is None or opened is None:
            return
        version = served.version
        if self._is_mine(served) and version is not None and version.id != opened.version.id:
            self._reopen(version.id)

    # Work in threads, and words

    def _reader(self) -> str | None:
        try:
            return author_or_ask(self._parent)
        except CovsegError as error:
            tell_error(error)
            return None

    def _work(self, steps: Any, done: Any) -> None:
        if not self._worker.busy:
            self._worker.start(steps, _callbacks(partial(self._end, done), self._on_error))
            self._changed()

    def _end(self, done: Any, result: Any) -> None:
        done(result)
        self._changed()

    def _on_error(self, error: Exception) -> None:
        tell_error(error)
        self._changed()
        if isinstance(error, InputError):
            self.refresh()

    def tell(self, text: str) -> None:
        """Say what was just done."""
        self.view.state.setText(text)

    def _agreed(self, question: str) -> bool:
        buttons = QMessageBox.StandardButton
        both = buttons.Yes | buttons.No
        return bool(
            QMessageBox.question(self._parent, "napari-covseg", question, both) == buttons.Yes
        )


def _is_handed_out(listed: Listed) -> bool:
    """Whether the queue hands a case out; a fork of the reader's own it does not."""
    return not listed.beside or listed.version.author != reader_known()


def _in_order(one: LabelVersion, other: LabelVersion) -> tuple[LabelVersion, LabelVersion]:
    return (one, other) if one.number < other.number else (other, one)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _callbacks(result: Any, error: Any) -> Callbacks:
    return Callbacks(progress=lambda step: None, result=result, error=error, cancelled=lambda: None)
