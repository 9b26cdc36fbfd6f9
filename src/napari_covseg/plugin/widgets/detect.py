"""Detect: lesions of a CT as boxes with class and score, masks, and a table that leads to each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin import preferences
from napari_covseg.plugin.detecting import (
    Shown,
    detected_steps,
    remove,
    show_result,
    written_steps,
)
from napari_covseg.plugin.layers import placement_of, volume_of
from napari_covseg.plugin.telling import show_error, show_info, show_warning
from napari_covseg.plugin.widgets.ct_box import ct_box, follow
from napari_covseg.plugin.widgets.detect_view import DetectView
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.model_panel import ModelPanel
from napari_covseg.plugin.worker import Callbacks, Runner
from napari_covseg.workflows.detect_settings import DetectSettings

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.workflows.detect import DetectResult

MODEL = "folders/detector"


class DetectWidget(ModelPanel):
    """The dock widget: ties `DetectView` to the session, the viewer and the workflow."""

    view: DetectView

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(napari_viewer, parent)
        self.ct = ct_box(self.session, "The CT to look through")
        self.view = DetectView(napari_viewer, self.ct, DetectSettings())
        self._saver = Runner()
        self._shown: list[Shown] = []
        view = self.view
        view.run.clicked.connect(self.start)
        view.choose.clicked.connect(self.choose)
        view.save.clicked.connect(self.save)
        view.table.row_clicked.connect(self.go_to)
        self.ct.changed.connect(self._refresh)
        self._begin(napari_viewer)

    @property
    def model(self) -> str:
        """The folder of the chosen detector, empty if there is none (any more)."""
        chosen = preferences.load_text(MODEL, "")
        return chosen if chosen and Path(chosen).is_dir() else ""

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        self._saver.abandon()
        super().retire()

    def jobs_running(self) -> bool:
        """Whether anything is being looked for or saved."""
        return super().jobs_running() or self._saver.busy

    # What the user does

    def choose(self) -> None:
        """Ask for the folder of a detector."""
        start = self.model or str(Path.home())
        chosen = QFileDialog.getExistingDirectory(self, "Folder of a detector", start)
        if chosen:
            preferences.save_text(MODEL, chosen)
            self._refresh()

    def start(self) -> None:
        """Look for lesions in the chosen CT."""
        layer = self.ct.value
        if layer is None or self._runner.busy:
            return
        model = self.model or DetectSettings().model
        settings = DetectSettings(model, "auto", round(self.view.score.value(), 2))
        try:
            volume = volume_of(layer)
        except CovsegError as error:
            show_error(str(error))
            return
        self._run(lambda: detected_steps(volume, settings), partial(self._on_result, layer))

    def go_to(self, number: str) -> None:
        """Show the slice in which a lesion scores best."""
        shown = self._of(self.ct.value)
        if shown is not None:
            self.viewing.go_to_slice(shown.best_slice(int(number)))

    def save(self) -> None:
        """Ask for a folder and write masks and JSON there, as ``covseg detect`` does."""
        start = preferences.load_text("folders/save", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self, "Save masks and lesions in", start)
        if chosen:
            preferences.save_text("folders/save", chosen)
            self.save_to(Path(chosen))

    def save_to(self, folder: Path) -> None:
        """Write the files into ``folder``."""
        shown = self._of(self.ct.value)
        if shown is None or self._saver.busy:
            return
        result = shown.result
        self._saver.start(
            lambda: written_steps(result, folder),
            Callbacks(
                progress=lambda step: None,
                result=lambda path: show_info(f"Saved {path.name} and its masks in {folder}."),
                error=tell_error,
                cancelled=lambda: None,
            ),
        )

    # What comes back

    def _on_result(self, layer: Image, result: DetectResult) -> None:
        if layer not in self.viewer.layers:
            return
        older = self._of(layer)
        remove(self.viewer, older)
        shown = show_result(self.viewer, layer, result)
        self._shown = [*(one for one in self._shown if one is not older), shown]
        placement = placement_of(layer)
        known = placement.warnings if placement is not None else ()
        fresh = [text for text in result.warnings if text not in known]
        if fresh:
            show_warning("\n".join(fresh))
        self._refresh()
        if result.detection.lesions:
            self.go_to("1")

    def _on_layers(self, event: Any) -> None:
        if self._retired:
            return
        self._shown = [one for one in self._shown if one.ct in self.viewer.layers]
        follow(self.ct, event)
        self._refresh()

    def _refresh(self, *_: Any) -> None:
        if self._retired:
            return
        layer = self.ct.value
        run_text = f"Find lesions{self._on_words()}"
        self.view.show_choice(layer is not None, Path(self.model).name, run_text)
        shown = self._of(layer)
        self.view.show_result(None if shown is None else shown.result)

    def _of(self, layer: Image | None) -> Shown | None:
        return next((one for one in self._shown if one.ct is layer), None)
