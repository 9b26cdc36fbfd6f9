"""What a second reader does: open cases and put them away; what is done with one, by others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_covseg.cases.records import Decision
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.review_deciding import release_steps
from napari_covseg.plugin.review_opening import Opened, next_steps, open_steps
from napari_covseg.plugin.review_waiting import Listed
from napari_covseg.plugin.widgets.second_reader_case import CaseReview
from napari_covseg.plugin.widgets.second_reader_deciding import Deciding
from napari_covseg.plugin.widgets.second_reader_joining import Joining
from napari_covseg.plugin.widgets.second_reader_joint import JointReview
from napari_covseg.plugin.widgets.second_reader_list import CaseList, reader_known
from napari_covseg.plugin.widgets.second_reader_work import ReviewWork

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.plugin.desk import Served
    from napari_covseg.plugin.widgets.second_reader_view import ReviewView


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
        self.view, self.cases = view, cases
        self.desk = desk_of(viewer)
        self.case = CaseReview(viewer, view.case)
        self.joint = JointReview(viewer, view.joint)
        self._work = ReviewWork(parent, view, changed, refresh)
        self.deciding = Deciding(
            self.desk, view, self.case, self._work, self._turn_to_queue, self._reopen
        )
        self.joining = Joining(
            self.desk, view, self.case, self.joint, self._work, self._turn_to_queue
        )
        self._retired = False
        self._connect()

    def _connect(self) -> None:
        view, desk = self.view, self.desk
        view.queue.open.clicked.connect(self.open_chosen)
        view.queue.table.opened.connect(self.open_row)
        view.case.leave.clicked.connect(self.leave_case)
        desk.store_changed.connect(self._on_store)
        desk.served_changed.connect(self._on_served)
        desk.saved.connect(self._on_saved)

    @property
    def busy(self) -> bool:
        """Whether anything is being read or written."""
        return self._work.busy

    def retire(self) -> None:
        """Stop everything, and take what was added out of the viewer."""
        self._retired = True
        self._work.abandon()
        self.case.leave()
        self.joint.leave()

    def do_next(self) -> None:
        """What the primary button says: open, accept, compare or join."""
        opened = self.case.opened
        if self.view.is_at(self.view.joint):
            self.joining.join(accept=True)
        elif not self.view.is_at(self.view.case) or opened is None:
            self.open_next()
        elif opened.beside:
            self.joining.compare(opened.version, opened.beside[-1])
        else:
            self.deciding.decide(Decision.ACCEPT)

    # A case

    def open_next(self, *_: Any) -> None:
        """Take the next case that others corrected."""
        waiting = self.cases.waiting
        if waiting and not _is_handed_out(waiting[0]):
            self.open_row(0)
            return
        reader, store = self._work.reader(), self.desk.store
        if reader is not None and store is not None and self._may_leave():
            self._work.run(partial(next_steps, store, reader), self._on_opened)

    def open_chosen(self, *_: Any) -> None:
        """Open the case that is chosen in the table."""
        self.open_row(max(self.view.queue.table.currentRow(), 0))

    def open_row(self, row: int) -> None:
        """Open a case of the table."""
        reader, store = self._work.reader(), self.desk.store
        if (
            reader is None
            or store is None
            or row >= len(self.cases.listed)
            or not self._may_leave()
        ):
            return
        case = self.cases.listed[row].record.name
        self._work.run(partial(open_steps, store, reader, case), self._on_opened)

    def _on_opened(self, opened: Opened | None) -> None:
        if opened is None:
            self._work.tell("No case waits for you.")
            self._work.refresh()
            return
        with self._work.own_doing():
            self.case.leave()
            self.joint.leave()
            served = self.desk.serve(opened.loaded)
        self._show_case(opened, served)
        self.case.step(1)

    def _show_case(self, opened: Opened, served: Served) -> None:
        self.case.take(opened, served)
        self.view.turn_to(self.view.case)
        self._work.tell("")
        self._work.changed()

    def _reopen(self, version: str) -> None:
        """Describe another version of the case that stands in the viewer."""
        opened, store, reader = self.case.opened, self.desk.store, reader_known()
        if opened is not None and store is not None and reader is not None:
            case = opened.version.case
            self._work.run(partial(open_steps, store, reader, case, version), self._on_reopened)

    def _on_reopened(self, opened: Opened) -> None:
        served = self.case.served
        if served is not None:
            comment = self.view.case.comment.text()
            self._show_case(opened, served)
            self.view.case.comment.setText(comment)

    def leave_case(self, *_: Any) -> None:
        """Decide nothing; the case goes back to the queue."""
        opened, store, reader = self.case.opened, self.desk.store, reader_known()
        self._turn_to_queue()
        if opened is not None and store is not None and reader is not None:
            case = opened.version.case
            self._work.run(partial(release_steps, store, case, reader), self._work.refresh)

    def _turn_to_queue(self) -> None:
        self.joint.leave()
        self.case.leave()
        self.view.turn_to(self.view.queue)
        self._work.changed()

    def _may_leave(self) -> bool:
        """Whether the case in the viewer may go: nothing on it is unsaved, or that is agreed."""
        served, work = self.desk.served, self.desk.work
        if served is None or work is None or not work.changed:
            return True
        return self._work.agreed(
            f"What was corrected in {served.record.name} is not saved. Open another case all the "
            "same?"
        )

    # What others tell

    def _on_store(self) -> None:
        if not self._retired:
            self._work.abandon()
            self._turn_to_queue()
            self.cases.refresh()

    def _on_served(self) -> None:
        """Another case was put into the viewer, or ours was taken out."""
        if self._retired or self._work.is_own_doing or self.case.served is None:
            return
        served = self.desk.served
        if served is None or not self.case.is_mine(served):
            self.leave_case()

    def _on_saved(self) -> None:
        """Our case was saved as a version elsewhere: that one is under review now."""
        served, opened = self.desk.served, self.case.opened
        if self._retired or self._work.is_own_doing or served is None or opened is None:
            return
        version = served.version
        if self.case.is_mine(served) and version is not None and version.id != opened.version.id:
            self._reopen(version.id)


def _is_handed_out(listed: Listed) -> bool:
    """Whether the queue hands a case out; a fork of the reader's own it does not."""
    return not listed.beside or listed.version.author != reader_known()
