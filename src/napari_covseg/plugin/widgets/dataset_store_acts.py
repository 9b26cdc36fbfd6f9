"""Which case store is open: chosen, made or dropped; and what is added to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_covseg.cases.author import known_author
from napari_covseg.cases.place import holds_store
from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin import preferences
from napari_covseg.plugin.adding import add_shown_steps, add_steps, shown_in, told
from napari_covseg.plugin.annotating import Overview, create_steps, overview_steps
from napari_covseg.plugin.recent_stores import remember_store
from napari_covseg.plugin.telling import show_error
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.asking import agreed
from napari_covseg.plugin.widgets.dataset_add_dialog import ask_what_to_add

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.viewer import Viewer

    from napari_covseg.plugin.desk import Desk
    from napari_covseg.plugin.widgets.dataset_acts import CaseActs
    from napari_covseg.plugin.widgets.dataset_view import DatasetView
    from napari_covseg.workflows.dataset_add import Added


class StoreActs:
    """Opens a store on the desk, and adds scans to it.

    Parameters
    ----------
    parent
        Of dialogs.
    viewer, desk, view
        What is worked with.
    acts
        Keeps what is unsaved of the case in work, and does one thing at a time.
    author
        Says who works here, asking if need be; None if nobody says.
    show
        Takes what is in the store that was opened.
    """

    def __init__(
        self,
        parent: QWidget,
        viewer: Viewer,
        desk: Desk,
        view: DatasetView,
        acts: CaseActs,
        author: Callable[[], str | None],
        show: Callable[[Overview], None],
    ) -> None:
        self._parent, self._viewing, self._desk = parent, viewing_of(viewer), desk
        self._view, self._acts, self._author, self._show = view, acts, author, show
        self._tell = view.state.setText
        view.bar.open_asked.connect(self.ask)
        view.bar.new_asked.connect(self.ask_new)
        view.bar.store_chosen.connect(self.open)
        view.add.clicked.connect(lambda: self.add_files(()))
        view.add_shown.clicked.connect(self.add_shown)

    def ask(self) -> None:
        """Ask for the folder of a store and open it."""
        start = preferences.load_text("folders/stores", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self._parent, "Open a case store", start)
        if chosen:
            self.open(Path(chosen))

    def ask_new(self) -> None:
        """Ask for an empty folder and make a store in it."""
        start = preferences.load_text("folders/stores", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(
            self._parent, "An empty folder for the store", start
        )
        if chosen:
            self.make(Path(chosen))

    def make(self, folder: Path) -> None:
        """Make a store in an empty or new folder and open it."""
        author = self._author()
        if author is not None:
            self._acts.run(partial(create_steps, folder, author), self.open)

    def open(self, folder: Path) -> None:
        """Open a store; what is not saved in the one before is saved first."""
        steps = partial(overview_steps, folder, known(), self._view.queue.chosen_order)
        self._acts.leave(lambda: self._acts.run(steps, self._on_opened))

    def _on_opened(self, overview: Overview) -> None:
        preferences.save_text("folders/stores", str(overview.folder.parent))
        remember_store(overview.folder)
        if self._desk.served is not None and self._desk.served.store != overview.folder:
            self._desk.clear()
        self._tell("")
        self._desk.store = overview.folder
        self._show(overview)

    def take_paths(self, paths: Sequence[Path]) -> None:
        """What was dropped: a store is opened, an empty folder becomes one, scans are added."""
        first = paths[0]
        if len(paths) == 1 and holds_store(first):
            self.open(first)
        elif self._desk.store is not None:
            self.add_files(paths)
        elif len(paths) == 1 and first.is_dir() and not any(first.iterdir()):
            if agreed(self._parent, f"{first.name} is empty. Make a case store in it?"):
                self.make(first)
        else:
            show_error("Open a case store first, or make a new one: then scans can be added.")

    # Adding

    def add_files(self, paths: Sequence[Path]) -> None:
        """Ask what to add, and add it."""
        folder, author = self._desk.store, self._author()
        if folder is None or author is None:
            return
        request = ask_what_to_add(paths, author, self._parent)
        if request is not None:
            self._acts.run(partial(add_steps, folder, request), self._on_added)

    def add_shown(self) -> None:
        """Add the CT in the viewer with its labels."""
        folder, ct, author = self._desk.store, self._viewing.ct, self._author()
        if folder is None or author is None:
            return
        if ct is None:
            show_error("No CT is open: open one, or add files.")
            return
        try:
            shown = shown_in(self._viewing.viewer, ct)
        except CovsegError as error:
            show_error(str(error))
            return
        steps = partial(add_shown_steps, folder, shown, author)
        self._acts.run(steps, lambda added: self._on_added([added]))

    def _on_added(self, added: list[Added]) -> None:
        self._tell(told(added))
        failed = [str(one.error) for one in added if one.error is not None]
        if failed:
            show_error("\n".join(failed))
        self._desk.touched.emit()


def known() -> str:
    """Who works here, without asking; empty if nobody said."""
    try:
        return known_author() or ""
    except CovsegError:
        return ""
