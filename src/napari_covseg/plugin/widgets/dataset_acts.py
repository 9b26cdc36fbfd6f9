"""What is done with the case in work: open, save, accept, flag, give back, restore."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtWidgets import QInputDialog, QMessageBox, QWidget

from napari_covseg.cases.records import CaseTaken, Kind, SavedVersion, State
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.annotating import Opened, next_steps, open_steps, restore_steps
from napari_covseg.plugin.case_saving import (
    Kept,
    accept_steps,
    flag_steps,
    release_steps,
    save_steps,
)
from napari_covseg.plugin.plain import plain
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.asking import agreed
from napari_covseg.plugin.widgets.dataset_case import version_text
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.worker import Callbacks, Runner
from napari_covseg.plugin.workspace import WIDGETS, show_widget

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.cases.queue import Order
    from napari_covseg.plugin.case_work import Held
    from napari_covseg.plugin.desk import Desk, Served
    from napari_covseg.plugin.widgets.dataset_view import DatasetView


class CaseActs:
    """Ties the case panel to the desk and the store.

    Parameters
    ----------
    parent
        Of dialogs.
    viewer, desk, view
        What is worked with.
    author
        Says who works here, asking if need be; None if nobody says.
    tell
        Takes a line about what was done.
    """

    def __init__(
        self,
        parent: QWidget,
        viewer: Viewer,
        desk: Desk,
        view: DatasetView,
        author: Callable[[], str | None],
        tell: Callable[[str], None],
    ) -> None:
        self._parent, self._viewing, self._desk = parent, viewing_of(viewer), desk
        self._view, self._author, self._tell = view, author, tell
        self.runner = Runner()
        self.minutes = 0.0
        """What the versions of the served case took."""
        self.saved_at = time.monotonic()
        """When the served case was last saved, or opened."""
        self._given_up: Callable[[], Image | None] = _nothing

    def run(
        self,
        make_steps: Callable[[], Steps[Any]],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None] = tell_error,
    ) -> None:
        """Do something that nothing else may be done beside."""
        if self.runner.busy:
            return
        self._view.show_running(True)

        def after(act: Callable[[Any], None], value: Any) -> None:
            self._view.show_running(False)
            act(value)

        callbacks = Callbacks(
            progress=self._on_progress,
            result=partial(after, done),
            error=partial(after, failed),
            cancelled=partial(self._view.show_running, False),
        )
        self.runner.start(make_steps, callbacks)

    def _on_progress(self, step: Progress) -> None:
        self._view.show_progress(step, time.monotonic())

    # Opening

    def open_next(self, order: Order) -> None:
        """Take the next case."""
        folder, author = self._desk.store, self._author()
        if folder is not None and author is not None:
            steps = partial(next_steps, folder, author, order)
            self.leave(lambda: self.run(steps, self._on_next))

    def open(self, case: str, *, taken: bool = False) -> None:
        """Take this case; asks if someone else has it."""
        folder, author = self._desk.store, self._author()
        served = self._desk.served
        if folder is None or author is None:
            return
        if served is not None and served.record.name == case and served.store == folder:
            show_widget(self._viewing.viewer, "Correct")
            return
        steps = partial(open_steps, folder, case, author, taken=taken)
        self.leave(lambda: self.run(steps, self.show, partial(self._on_taken, case)))

    def _on_next(self, opened: Opened | None) -> None:
        if opened is None:
            self._tell("No case waits for you.")
            self._desk.touched.emit()
        else:
            self.show(opened)

    def _on_taken(self, case: str, error: Exception) -> None:
        if not isinstance(error, CaseTaken):
            tell_error(error)
            return
        question = f"{error}.\n\nOpen it all the same? What you save will stand beside theirs."
        if agreed(self._parent, question):
            self.open(case, taken=True)

    def show(self, opened: Opened) -> None:
        """Put a case into the viewer, at the slice to begin with, ready to be corrected.

        What was drawn on the case before while this one was read is saved first.
        """
        before, work = self._desk.served, self._desk.work
        if before is None or work is None or not work.changed or before.ct is self._given_up():
            self._show(opened)
        else:
            self.leave(partial(self._show, opened))

    def _show(self, opened: Opened) -> None:
        served = self._desk.serve(opened.loaded)
        self.minutes, self.saved_at = opened.minutes, time.monotonic()
        self._view.case.take(served.record, opened.note)
        self._view.queue.table.select(served.record.name)
        show_widget(self._viewing.viewer, "Correct")
        if opened.start is not None:
            self._viewing.go_to_slice(opened.start)
        self._desk.touched.emit()

    # Saving

    def leave(self, then: Callable[[], None]) -> None:
        """Keep what is not saved of the case in work, then go on."""
        self._given_up = _nothing
        served, held = self._desk.served, self._unsaved()
        author = self._author() if held is not None else None
        if served is None or held is None:
            then()
        elif author is not None:
            steps = self._saving(served, held, author, Kind.DRAFT)
            failed = partial(self._on_not_left, served, then)
            self.run(steps, partial(self._on_left, held, then), failed)

    def save_draft(self, *_: Any, quiet: bool = False) -> None:
        """Keep what is drawn as a draft; ``quiet`` only if there is something to keep."""
        served = self._desk.served
        held = self._unsaved() if quiet else self._desk.hold()
        author = self._author()
        if served is None or held is None or author is None:
            self._tell_nothing(held, quiet)
            return
        steps = self._saving(served, held, author, Kind.DRAFT)
        self.run(steps, partial(self._on_draft, held))

    def save_corrected(self, *_: Any) -> None:
        """Save for a second reader, and put the case away."""
        served, held, author = self._desk.served, self._desk.hold(), self._author()
        if served is None or held is None or author is None:
            self._tell_nothing(held)
            return
        steps = self._saving(served, held, author, Kind.CORRECTION)
        self.run(steps, partial(self._on_corrected, served, held))

    def accept(self, then: Callable[[], None]) -> None:
        """Accept what is drawn, put the case away, and go on."""
        held = self._desk.hold()
        whole = self._view.case.whole.isChecked()
        if self._desk.served is None or held is None:
            self._tell_nothing(held)
            return
        if not whole and not held.reviewed:
            question = (
                "No slice is marked as reviewed yet. Did you check every slice, so that the whole "
                "scan can be accepted?\n\n(To accept a part of it, mark slices with R in the "
                "Correct panel.)"
            )
            if not agreed(self._parent, question):
                return
            whole = True
        self._accept(held, whole, (), then)

    def _accept(
        self, held: Held, whole: bool, instead_of: tuple[str, ...], then: Callable[[], None]
    ) -> None:
        served, author = self._desk.served, self._author()
        if served is None or author is None:
            return
        steps = partial(
            accept_steps,
            *(served.store, served.record.name, held, served.version, author),
            whole=whole,
            remarks=self._view.case.remarks,
            instead_of=instead_of,
        )
        self.run(steps, partial(self._on_accepted, served, held, whole, then))

    def flag(self, *_: Any) -> None:
        """Flag the case with a comment and put it away, or take its flag away."""
        served, author = self._desk.served, self._author()
        if served is None or author is None:
            return
        on, remarks = served.record.state is not State.FLAGGED, self._view.case.remarks
        if on and not remarks.comment:
            title, text = "Flag", f"What is it about {served.record.name}?"
            comment, answered = QInputDialog.getText(self._parent, title, plain(text))
            if not answered or not comment.strip():
                return
            remarks = replace(remarks, comment=comment.strip())
        steps = partial(flag_steps, served.store, served.record.name, author, remarks, on)
        self.leave(lambda: self.run(steps, partial(self._on_flagged, served, on)))

    def give_back(self, *_: Any) -> None:
        """Save a draft and let others take the case."""
        served, author = self._desk.served, self._author()
        if served is None or author is None:
            return
        remarks = self._view.case.remarks
        steps = partial(release_steps, served.store, served.record.name, author, remarks)
        done = partial(self._put_away, served, "given back")
        self.leave(lambda: self.run(steps, done))

    def restore(self, version: str) -> None:
        """Take up an old version again, and show it if its case is in work."""
        folder, author = self._desk.store, self._author()
        if folder is not None and author is not None:
            steps = partial(restore_steps, folder, version, author)
            self.leave(lambda: self.run(steps, self._on_restored))

    # What comes of it

    def _saving(
        self, served: Served, held: Held, author: str, kind: Kind
    ) -> Callable[[], Steps[Kept]]:
        parent = served.version.id if served.version is not None else None
        remarks = self._view.case.remarks
        place = (served.store, served.record.name)
        return partial(save_steps, *place, held, parent, author, kind, remarks)

    def _keep(self, held: Held, kept: Kept) -> None:
        """The desk learns what is saved."""
        self.saved_at = time.monotonic()
        if kept.version is not None:
            self.minutes += held.seconds / 60
            self._desk.mark_saved(kept.record, kept.version, held)
        self._desk.touched.emit()

    def _on_left(self, held: Held, then: Callable[[], None], kept: Kept) -> None:
        self._keep(held, kept)
        then()

    def _on_draft(self, held: Held, kept: Kept) -> None:
        self._keep(held, kept)
        if kept.version is None:
            self._tell("Nothing is drawn yet; nothing to save.")
        else:
            self._tell(f"Saved: {kept.record.name}, {version_text(kept.version)}.")
        self._tell_beside(kept)

    def _on_corrected(self, served: Served, held: Held, kept: Kept) -> None:
        self._keep(held, kept)
        self._put_away(served, "saved for a second reader", kept)
        self._tell_beside(kept)

    def _on_accepted(
        self, served: Served, held: Held, whole: bool, then: Callable[[], None], kept: Kept
    ) -> None:
        self._keep(held, kept)
        if kept.problem is not None:
            tell_error(kept.problem)
        if kept.accepted:
            part = "whole" if whole else f"{len(held.reviewed)} reviewed slices"
            self._put_away(served, f"accepted ({part})", kept)
            then()
        elif kept.beside:
            self._settle(held, whole, then, kept)

    def _settle(self, held: Held, whole: bool, then: Callable[[], None], kept: Kept) -> None:
        """Others' versions stand beside it: whose counts?"""
        listed = " and ".join(f"version {one.number} of {one.author}" for one in kept.beside)
        box = QMessageBox(self._parent)
        box.setWindowTitle("napari-covseg")
        text = f"Your work on {kept.record.name} is saved. Beside it stands {listed}."
        box.setText(plain(text))
        box.setInformativeText("Which one counts? Both are kept, whatever you choose.")
        mine = box.addButton("Accept mine", QMessageBox.ButtonRole.AcceptRole)
        compare = None
        if "Review" in WIDGETS:
            compare = box.addButton("Compare in Review", QMessageBox.ButtonRole.ActionRole)
        box.addButton("Not now", QMessageBox.ButtonRole.RejectRole)
        box.exec()
        if box.clickedButton() is mine:
            # Nothing was saved since: the time is in the version that stands there.
            identities = tuple(one.id for one in kept.beside)
            self._accept(replace(held, seconds=0.0), whole, identities, then)
        elif compare is not None and box.clickedButton() is compare:
            show_widget(self._viewing.viewer, "Review")
        box.deleteLater()

    def _on_flagged(self, served: Served, on: bool, kept: Kept) -> None:
        if on:
            self._put_away(served, "flagged", kept)
            return
        self._put_away(served, "no longer flagged", kept)
        self.open(kept.record.name)

    def _on_restored(self, saved: SavedVersion) -> None:
        self._tell(f"{saved.version.case}: {version_text(saved.version)}.")
        self._desk.touched.emit()
        served = self._desk.served
        if served is not None and served.record.name == saved.version.case:
            self._desk.clear()
            self.open(saved.version.case)

    def _on_not_left(self, served: Served, then: Callable[[], None], error: Exception) -> None:
        tell_error(error)
        question = (
            f"{served.record.name} could not be saved. Leave it all the same? What you corrected "
            "is kept on this computer and offered when you open the case again."
        )
        if agreed(self._parent, question):
            self._given_up = ref(served.ct)
            then()

    def _put_away(self, served: Served, what: str, kept: Kept) -> None:
        now = self._desk.served
        # Another widget may have put another case into the viewer meanwhile.
        if now is not None and now.ct is served.ct:
            self._desk.clear()
        self._tell(f"{kept.record.name}: {what}.")
        self._desk.touched.emit()

    def _unsaved(self) -> Held | None:
        """What is drawn on the served case, if it may not be saved yet."""
        work = self._desk.work
        if work is None or (work.followed and not work.changed):
            return None
        return self._desk.hold()

    def _tell_nothing(self, held: Held | None, quiet: bool = False) -> None:
        if held is None and not quiet:
            self._tell(
                "This case has no labels yet: predict it (Predict and rank), or start with empty "
                "ones in the Correct panel."
            )

    def _tell_beside(self, kept: Kept) -> None:
        if kept.beside:
            listed = ", ".join(f"version {one.number} of {one.author}" for one in kept.beside)
            self._tell(f"Beside yours stands {listed}: both are kept until one is accepted.")
        elif kept.claimed_by:
            self._tell(
                f"Saved. {kept.claimed_by} has {kept.record.name} in work now: what they save "
                "will stand beside yours."
            )


def _nothing() -> None:
    """No case was left unsaved."""
