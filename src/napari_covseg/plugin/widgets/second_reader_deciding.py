"""A second reader's decisions about the case that is open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_covseg.cases.records import Decision, State
from napari_covseg.domain.errors import UsageError
from napari_covseg.plugin.review_deciding import Decided, decide_steps
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.second_reader_texts import deed

if TYPE_CHECKING:
    from napari_covseg.plugin.desk import Desk
    from napari_covseg.plugin.widgets.second_reader_case import CaseReview
    from napari_covseg.plugin.widgets.second_reader_view import ReviewView
    from napari_covseg.plugin.widgets.second_reader_work import ReviewWork


class Deciding:
    """Accept, send back, flag, comment.

    ``put_away`` is called when the case is done with, ``reopen`` with the id of a version that the
    reader's own correction became, but that could not be decided about.
    """

    def __init__(
        self,
        desk: Desk,
        view: ReviewView,
        case: CaseReview,
        work: ReviewWork,
        put_away: Callable[[], None],
        reopen: Callable[[str], None],
    ) -> None:
        self._desk, self._view, self._case, self._work = desk, view, case, work
        self._put_away, self._reopen = put_away, reopen
        page = view.case
        page.accept.clicked.connect(self.accept_only)
        page.whole.clicked.connect(lambda: self.decide(Decision.ACCEPT, whole=True))
        page.back.clicked.connect(lambda: self.decide(Decision.SEND_BACK))
        page.flag.clicked.connect(self.flag)
        page.say.clicked.connect(lambda: self.decide(Decision.COMMENT))

    def flag(self, *_: Any) -> None:
        """Flag the case, or take its flag away."""
        opened = self._case.opened
        if opened is not None:
            flagged = opened.loaded.record.state is State.FLAGGED
            self.decide(Decision.UNFLAG if flagged else Decision.FLAG)

    def accept_only(self, *_: Any) -> None:
        """Accept the version under review in the place of those beside it, after asking."""
        opened = self._case.opened
        if opened is None or not opened.beside:
            return
        others = ", ".join(f"{one.number} by {one.author}" for one in opened.beside)
        if self._work.agreed(
            f"Accept version {opened.version.number} by {opened.version.author} and set aside "
            f"version {others}? They stay in the history."
        ):
            self.decide(Decision.ACCEPT, set_aside=tuple(one.id for one in opened.beside))

    def decide(
        self, decision: Decision, *, whole: bool = False, set_aside: tuple[str, ...] = ()
    ) -> None:
        """Keep a decision about the case that is open."""
        opened, store = self._case.opened, self._desk.store
        if opened is None or store is None or self._work.busy:
            return
        reader = self._work.reader()
        if reader is None:
            return
        own = self._case.own() if decision is not Decision.COMMENT else None
        try:
            verdict = self._case.verdict(decision, reader, own, whole=whole, set_aside=set_aside)
        except UsageError as error:
            self._work.tell(_sentence(str(error)))
            self._view.case.comment.setFocus()
            return
        steps = partial(decide_steps, store, opened.version, verdict)
        self._work.run(steps, self._on_decided)

    def _on_decided(self, decided: Decided) -> None:
        verdict = decided.verdict
        if verdict.own is not None:
            with self._work.own_doing():
                self._desk.mark_saved(decided.record, decided.version, verdict.own)
        if decided.error is not None:
            tell_error(decided.error)
            self._reopen(decided.version.id)
        elif verdict.decision is Decision.COMMENT:
            self._work.tell(deed(decided))
            self._view.case.comment.clear()
        else:
            self._put_away()
            self._work.tell(deed(decided))
        self._desk.touched.emit()


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
