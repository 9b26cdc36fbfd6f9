"""Two readers' versions of a case: compared, and joined into a consensus."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_covseg.cases.records import LabelVersion
from napari_covseg.plugin.widgets.second_reader_joint import Both, JointReview, both_steps

if TYPE_CHECKING:
    from napari_covseg.plugin.desk import Desk
    from napari_covseg.plugin.widgets.second_reader_case import CaseReview
    from napari_covseg.plugin.widgets.second_reader_view import ReviewView
    from napari_covseg.plugin.widgets.second_reader_work import ReviewWork
    from napari_covseg.workflows.consensus import Joined


class Joining:
    """From a case to two versions of it, and back; ``put_away`` is called when they are joined."""

    def __init__(
        self,
        desk: Desk,
        view: ReviewView,
        case: CaseReview,
        joint: JointReview,
        work: ReviewWork,
        put_away: Callable[[], None],
    ) -> None:
        self._desk, self._view, self._case, self._joint = desk, view, case, joint
        self._work, self._put_away = work, put_away
        view.case.versions.compare.clicked.connect(self.compare_chosen)
        view.joint.save.clicked.connect(lambda: self.join(accept=False))
        view.joint.leave.clicked.connect(self.leave)

    def compare_chosen(self, *_: Any) -> None:
        """Compare the two versions that were chosen by hand."""
        opened, versions = self._case.opened, self._view.case.versions
        if opened is None:
            return
        known = {one.id: one for one in opened.history}
        first, second = (known[box.currentData()] for box in (versions.first, versions.second))
        if first.id == second.id:
            self._work.tell("Choose two different versions.")
        else:
            self.compare(first, second)

    def compare(self, first: LabelVersion, second: LabelVersion) -> None:
        """See where two versions differ, the older one first."""
        store = self._desk.store
        if store is None or self._work.busy:
            return
        if self._case.has_own():
            self._work.tell(
                "Save what you corrected first, or undo it: it belongs to neither version."
            )
            return
        self._work.run(partial(both_steps, store, *_in_order(first, second)), self._on_both)

    def _on_both(self, both: Both) -> None:
        served = self._case.served
        if served is None:
            return
        self._case.show_before(False)
        self._view.case.outlines.setChecked(False)
        self._joint.take(both, served.ct)
        self._view.turn_to(self._view.joint)
        self._work.tell("")
        self._work.changed()

    def leave(self, *_: Any) -> None:
        """Back to the case; nothing was joined."""
        self._joint.leave()
        self._view.case.outlines.setChecked(True)
        self._view.turn_to(self._view.case)
        self._work.changed()

    def join(self, *, accept: bool) -> None:
        """Save what was chosen as the consensus of both."""
        store, reader = self._desk.store, self._work.reader()
        if self._joint.both is None or store is None or reader is None or self._work.busy:
            return
        steps = self._joint.save_steps(store, reader, accept)
        self._work.run(lambda: steps, self._on_joined)

    def _on_joined(self, joined: Joined) -> None:
        version = joined.version
        self._put_away()
        if joined.beside:
            others = ", ".join(f"{one.number} by {one.author}" for one in joined.beside)
            self._work.tell(
                f"Saved as version {version.number}; version {others} stands beside it still."
            )
        else:
            accepted = " and accepted" if joined.review is not None else ""
            self._work.tell(f"{version.case}: saved as version {version.number}{accepted}.")
        self._desk.touched.emit()


def _in_order(one: LabelVersion, other: LabelVersion) -> tuple[LabelVersion, LabelVersion]:
    return (one, other) if one.number < other.number else (other, one)
