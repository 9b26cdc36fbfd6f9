"""What the Correct widget keeps on disk: drafts, and corrections that are saved."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin import preferences
from napari_covseg.plugin.autosave import Autosave
from napari_covseg.plugin.session import Session, labels_saved_steps, saved_steps
from napari_covseg.plugin.telling import show_error, show_info
from napari_covseg.plugin.widgets.asking import agreed
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_covseg.editing.draft import Draft
    from napari_covseg.plugin.correction import Correction
    from napari_covseg.plugin.widgets.correct_view import CorrectView


class CorrectFiles:
    """Drafts and saving of one correction at a time.

    ``told`` gets a line about what was done, ``changed`` is called when the state did, and
    ``start_empty`` to get empty layers for a draft whose CT was opened without labels.
    """

    def __init__(
        self,
        parent: QWidget,
        view: CorrectView,
        session: Session,
        told: Callable[[str], None],
        changed: Callable[[], None],
        start_empty: Callable[[], None],
    ) -> None:
        self._parent, self._view, self._session = parent, view, session
        self._told, self._changed, self._start_empty = told, changed, start_empty
        self._saver = Runner()
        self._correction: Correction | None = None
        self._kept = ""
        self.autosave: Autosave | None = None
        view.save.clicked.connect(self.save)
        view.draft.restore.clicked.connect(self.restore_draft)
        view.draft.discard.clicked.connect(self.discard_draft)

    @property
    def busy(self) -> bool:
        """Whether anything is being written."""
        return self._saver.busy or (self.autosave is not None and self.autosave.busy)

    def take(self, correction: Correction) -> None:
        """Keep this correction from now on, and offer the draft that there is."""
        self.leave()
        self._correction, self._kept = correction, ""
        self.autosave = Autosave(correction.ct, correction.snapshot, self._on_draft)
        self._offer(self.autosave)

    def offer(self, ct: Image) -> None:
        """Offer the draft of a CT that has no labels, as after a crash."""
        self.leave()
        self.autosave = Autosave(ct, _nothing_to_save, self._on_draft)
        self._offer(self.autosave)

    def _offer(self, autosave: Autosave) -> None:
        older = autosave.older
        self._view.draft.setVisible(older is not None)
        if older is not None:
            self._view.draft.text.setText(
                f"Corrections of this CT from {older:%d %B %Y, %H:%M} were not saved."
            )

    def leave(self) -> None:
        """Write the draft of what was not saved, and keep nothing any more."""
        autosave, self.autosave, self._correction = self.autosave, None, None
        if autosave is not None:
            autosave.finish()

    def close(self) -> None:
        """Leave, and forget what is being saved."""
        self.leave()
        self._saver.abandon()

    def touch(self) -> None:
        """Something was corrected."""
        self._kept = ""
        if self.autosave is not None:
            self.autosave.touch()

    def forget_draft(self) -> None:
        """What the draft held was saved."""
        if self.autosave is not None:
            self.autosave.discard()

    def take_saved(self, text: str) -> None:
        """All that was corrected until now was saved elsewhere; ``text`` says as what."""
        self._kept = text
        self.forget_draft()

    def state(self) -> str:
        """What has become of the corrections, in a sentence."""
        if self._kept:
            return self._kept
        correction = self._correction
        if correction is None or not correction.version:
            return "Not corrected yet."
        case = self._session.case_of(correction.ct)
        if case is not None and case.saved is not None:
            return f"Saved as {case.saved.name}."
        if self.autosave is not None and self.autosave.saved_at is not None:
            return f"Draft kept at {self.autosave.saved_at:%H:%M}; not saved."
        return "Corrected, not saved."

    # Drafts

    def restore_draft(self, *_: Any) -> None:
        """Put the draft into the layers."""
        if self._correction is None:
            self._start_empty()
        if self.autosave is None or self._correction is None:
            return
        try:
            draft = self.autosave.take_older()
        except CovsegError as error:
            show_error(str(error))
            return
        self._correction.restore(draft)
        self._view.draft.hide()
        self._told("The draft was restored.")

    def discard_draft(self, *_: Any) -> None:
        """Delete the draft, after asking."""
        if self.autosave is not None and agreed(self._parent, "Delete these corrections for good?"):
            self.autosave.discard_older()
            self._view.draft.hide()

    def _on_draft(self, error: Exception | None) -> None:
        if error is not None:
            tell_error(error)
        self._changed()

    # Saving

    def save(self, *_: Any) -> None:
        """Ask for a folder and write the label map there."""
        start = preferences.load_text("folders/save", str(Path.home()))
        title = "Save corrected labels in"
        chosen = QFileDialog.getExistingDirectory(self._parent, title, start)
        if chosen:
            preferences.save_text("folders/save", chosen)
            self.save_to(Path(chosen))

    def save_to(self, folder: Path) -> None:
        """Write the label map into ``folder``, with its JSON where there is one.

        Asks before it replaces a file.
        """
        correction = self._correction
        if correction is None or self._saver.busy:
            return
        name = correction.placement.case or "case"
        target = folder / f"{name}_labels.nii.gz"
        if target.exists() and not agreed(
            self._parent, f"{target.name} is there already. Replace it?"
        ):
            return
        case = self._session.case_of(correction.ct)
        steps = (
            saved_steps(case, folder, name)
            if case is not None
            else labels_saved_steps(correction.lungs, correction.lesions, target)
        )
        version, edits = correction.version, case.edits if case is not None else 0
        self._saver.start(
            lambda: steps,
            Callbacks(
                progress=lambda step: None,
                result=partial(self._on_saved, correction, version, edits),
                error=tell_error,
                cancelled=lambda: None,
            ),
        )

    def _on_saved(self, correction: Correction, version: int, edits: int, path: Path) -> None:
        case = self._session.case_of(correction.ct)
        if case is not None:
            self._session.mark_saved(case, path, edits)
        else:
            self._session.labels_saved.emit(correction.ct, path)
        if correction is self._correction and correction.version == version:
            self.forget_draft()
        show_info(f"Saved {path.name} in {path.parent}.")
        self._told(f"Saved as {path.name}.")


def _nothing_to_save() -> Draft:
    raise CovsegError("there are no labels to save")
