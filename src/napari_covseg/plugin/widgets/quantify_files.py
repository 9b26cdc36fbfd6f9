"""What the Quantify widget reads and writes: figures out, a lobe map in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMenu, QWidget

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin import preferences
from napari_covseg.plugin.layers import volume_of
from napari_covseg.plugin.quantify_texts import copied_text, lobes_text
from napari_covseg.plugin.telling import show_info
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.quantify_view import QuantifyView
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.quantify.case import Quantification

_LOBES_LIKE = (
    "left upper lobe=1, left lower lobe=2, right upper lobe=3, right middle lobe=4, "
    "right lower lobe=5"
)


class QuantifyFiles:
    """Copies and saves the result it was given last.

    ``lobes_read`` gets a CT and its lobe map, None for the approximation.
    """

    def __init__(
        self,
        parent: QWidget,
        view: QuantifyView,
        lobes_read: Callable[[Image, LobeMap | None], None],
    ) -> None:
        self._parent, self._lobes_read = parent, lobes_read
        self._severity = view.severity
        self._ct: Image | None = None
        self._result: Quantification | None = None
        self._runner = Runner()
        view.copy.clicked.connect(self.copy)
        view.save.clicked.connect(self.save)
        self._lobe_menu = QMenu(parent)
        for title, act in (
            ("A file…", self.load_lobes),
            ("lungmask", self.find_lobes),
            ("Approximate division", self.approximate_lobes),
            ("Where lungmask's weights are…", self.choose_weights),
        ):
            self._lobe_menu.addAction(title).triggered.connect(act)
        button = view.severity.load_lobes
        button.setText("Lobes from")
        button.setToolTip(
            "A map of the five lobes from a file, lobes found by lungmask (if it is installed "
            "with its weights), or planes in place of the fissures"
        )
        button.setMenu(self._lobe_menu)
        button.clicked.connect(self._stop_finding)

    @property
    def busy(self) -> bool:
        """Whether anything is being read or written."""
        return self._runner.busy

    def take(self, ct: Image | None, result: Quantification | None) -> None:
        """What is measured by now."""
        self._ct, self._result = ct, result

    def close(self) -> None:
        """Forget what is being read or written."""
        self._runner.abandon()

    def copy(self, *_: Any) -> None:
        """Copy all figures as text."""
        clipboard = QGuiApplication.clipboard()
        if self._result is not None and clipboard is not None:
            clipboard.setText(copied_text(self._result))
            show_info("Copied: paste it into a report or a spreadsheet.")

    def save(self, *_: Any) -> None:
        """Ask for a file and write all figures there."""
        if self._result is None:
            return
        start = Path(preferences.load_text("folders/save", str(Path.home())))
        name = f"{self._result.case}_figures.csv".lstrip("_")
        chosen, _ = QFileDialog.getSaveFileName(
            self._parent, "Save figures", str(start / name), "CSV (*.csv);;JSON (*.json)"
        )
        if chosen:
            preferences.save_text("folders/save", str(Path(chosen).parent))
            self.save_to(Path(chosen))

    def save_to(self, path: Path) -> None:
        """Write all figures as CSV, or as JSON if the name ends so."""
        result = self._result
        if result is None:
            return
        path = path if path.suffix.lower() in (".csv", ".json") else Path(f"{path}.csv")

        def steps() -> Steps[Path]:
            from napari_covseg.workflows.quantify import write_quantification

            yield Progress(0, 1, "saving")
            return write_quantification(result, path)

        self._run(steps, lambda found: show_info(f"Saved {found.name}."))

    def load_lobes(self, *_: Any) -> None:
        """Ask for a lobe map, and what its numbers mean where it does not say."""
        start = preferences.load_text("folders/open", str(Path.home()))
        kinds = "Lobe maps (*.nii *.nii.gz *.nrrd *.mha *.mhd);;All files (*)"
        chosen, _ = QFileDialog.getOpenFileName(self._parent, "Open a lobe map", start, kinds)
        if not chosen:
            return
        preferences.save_text("folders/open", str(Path(chosen).parent))
        names, agreed = "", True
        if not chosen.endswith(".seg.nrrd"):
            like = preferences.load_text("lobes/numbers", _LOBES_LIKE)
            question = "Which number is which lobe in this file?"
            names, agreed = QInputDialog.getText(self._parent, "napari-covseg", question, text=like)
        if agreed:
            self.read_lobes(Path(chosen), names)

    def read_lobes(self, path: Path, names: str = "") -> None:
        """Read a lobe map; ``names`` says what its numbers mean (`parse_lobe_map`)."""
        ct = self._ct
        if ct is None:
            return

        def steps() -> Steps[LobeMap]:
            from napari_covseg.io.lobes import parse_lobe_map, read_lobes

            yield Progress(0, 1, f"reading {path.name}")
            found = read_lobes(path, parse_lobe_map(names) if names.strip() else None)
            if not found.geometry.same_as(volume_of(ct).geometry):
                raise InputError(f"{path.name}: these lobes are on another grid than the CT")
            return found

        self._run(steps, partial(self._on_lobes, ct, names))

    def find_lobes(self, *_: Any) -> None:
        """Let lungmask find the lobes; takes seconds on a graphics card, minutes without."""
        ct = self._ct
        if ct is None or self.busy:
            return
        volume = volume_of(ct)
        weights = preferences.load_text("lobes/weights", "")
        button, said = self._severity.load_lobes, self._severity.lobes_from

        def steps() -> Steps[LobeMap]:
            from napari_covseg.workflows.lobe_choice import LobeChoice
            from napari_covseg.workflows.lobes import network_lobes

            return network_lobes(volume, LobeChoice(weights=Path(weights) if weights else None))

        def ended() -> None:
            # Of what is shown by now, which may be another CT.
            said.setText("" if self._result is None else lobes_text(self._result))
            button.setText("Lobes from")
            button.setMenu(self._lobe_menu)

        def found(lobes: LobeMap) -> None:
            ended()
            self._lobes_read(ct, lobes)

        def failed(error: Exception) -> None:
            ended()
            tell_error(error)

        def show(step: Progress) -> None:
            percent = f", {100 * step.done // step.total} %" if step.total > 1 else ""
            said.setText(f"Lobes: {step.message}{percent}")

        button.setMenu(None)
        button.setText("Stop")
        self._runner.start(steps, Callbacks(show, found, failed, ended))

    def _stop_finding(self, *_: Any) -> None:
        self._runner.cancel()

    def approximate_lobes(self, *_: Any) -> None:
        """Go back to planes in place of the fissures."""
        if self._ct is not None:
            self._lobes_read(self._ct, None)

    def choose_weights(self, *_: Any) -> None:
        """Ask for the folder with lungmask's weights, and remember it."""
        start = preferences.load_text("lobes/weights", str(Path.home()))
        title = "Folder with lungmask's weights (unet_ltrclobes-….pth)"
        chosen = QFileDialog.getExistingDirectory(self._parent, title, start)
        if chosen:
            preferences.save_text("lobes/weights", chosen)

    def _on_lobes(self, ct: Image, names: str, lobes: LobeMap) -> None:
        if names.strip():
            preferences.save_text("lobes/numbers", names)
        self._lobes_read(ct, lobes)

    def _run(self, steps: Callable[[], Steps[Any]], result: Callable[[Any], None]) -> None:
        self._runner.start(
            steps,
            Callbacks(
                progress=lambda step: None,
                result=result,
                error=tell_error,
                cancelled=lambda: None,
            ),
        )
