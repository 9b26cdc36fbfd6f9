"""Classify: classes of a CT, a picture or a folder of them, with doubt, heat map and similar cases.

Not a diagnosis.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin import preferences
from napari_covseg.plugin.classifying import (
    Classified,
    Shown,
    bring_forward,
    classified_steps,
    is_source,
    opened_steps,
    over_ct,
    remove,
    show_result,
    source_of,
)
from napari_covseg.plugin.classifying_folder import FileRow, Order, folder_steps, write_rows
from napari_covseg.plugin.layers import LayerTuple, is_ct
from napari_covseg.plugin.napari_versions import remove_drawn
from napari_covseg.plugin.telling import show_info
from napari_covseg.plugin.widgets.classify_view import ClassifyView
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.model_panel import ModelPanel
from napari_covseg.workflows.classify_settings import ClassifySettings

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.domain.progress import Progress

MODEL, OWN_MODEL, WEIGHTS = "classify/model", "folders/classifier", "classify/weights"
SHIPPED = ClassifySettings().model
_PICTURES = "Pictures (*.png *.jpg *.jpeg *.dcm *.dicom *.ima);;All files (*)"
_LIST_EVERY_S = 2.0
_WEIGHTS = "Weights (*.safetensors *.pth);;All files (*)"


class ClassifyWidget(ModelPanel):
    """The dock widget: ties `ClassifyView` to the viewer and the workflow."""

    view: ClassifyView

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(napari_viewer, parent)
        self._folder: Path | None = None
        self._rows: Sequence[FileRow] = ()
        self._coming: list[FileRow] | None = None
        self._listed_at = 0.0
        self._order = Order()
        self._shown: list[Shown] = []
        self._from_table: Image | None = None
        self.source = ComboBox(
            name="source", choices=self._sources, tooltip="A CT or picture in the viewer"
        )
        self.view = ClassifyView(napari_viewer, self.source)
        self._connect()
        self._begin(napari_viewer)

    def _connect(self) -> None:
        view = self.view
        view.run.clicked.connect(self.start)
        view.picture.clicked.connect(self.choose_picture)
        view.folder.clicked.connect(self.choose_folder)
        view.choose.clicked.connect(self.choose_model)
        view.model.currentIndexChanged.connect(self._on_model)
        view.weights.clicked.connect(self.choose_weights)
        view.no_weights.clicked.connect(self.forget_weights)
        view.result.go.clicked.connect(self.go_to_slice)
        view.rows.table.row_clicked.connect(self.open_row)
        view.rows.table.horizontalHeader().sectionClicked.connect(self.sort)
        view.rows.save.clicked.connect(self.save)
        self.source.changed.connect(self._refresh)
        # Only what the user picks: a layer that comes must not hide the others.
        self.source.native.activated.connect(self._on_picked)

    @property
    def settings(self) -> ClassifySettings:
        """What is chosen; a folder that is gone is the shipped classifier."""
        chosen, weights = (preferences.load_text(key, "") for key in (MODEL, WEIGHTS))
        model = chosen if chosen and Path(chosen).is_dir() else SHIPPED
        weights = weights if weights and Path(weights).is_file() else ""
        return ClassifySettings(model, weights, "auto", self.view.heat.isChecked())

    # What the user chooses

    def choose_picture(self) -> None:
        """Ask for a picture and open it."""
        start = preferences.load_text("folders/open", str(Path.home()))
        chosen = QFileDialog.getOpenFileName(self, "Open a picture", start, _PICTURES)[0]
        if chosen:
            preferences.save_text("folders/open", str(Path(chosen).parent))
            self.open(Path(chosen))

    def open(self, path: Path) -> None:
        """Read a picture, or a CT, into the viewer."""
        if not self._runner.busy:
            self._run(lambda: opened_steps(path), self._on_opened)

    def choose_folder(self) -> None:
        """Ask for a folder of pictures or CTs."""
        start = preferences.load_text("folders/open", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self, "Folder of pictures or CTs", start)
        if chosen:
            preferences.save_text("folders/open", chosen)
            self.take_folder(Path(chosen))

    def take_folder(self, folder: Path) -> None:
        """Offer a folder to be classified."""
        self._folder, self._rows, self._order = folder, (), Order()
        self.source.reset_choices()
        self.source.value = folder
        self._refresh()

    def choose_model(self) -> None:
        """Ask for the folder of a classifier."""
        start = preferences.load_text(OWN_MODEL, str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self, "Folder of a classifier", start)
        if chosen:
            self.take_model(Path(chosen))

    def take_model(self, folder: Path) -> None:
        """Choose a classifier of the user's own."""
        for key in (MODEL, OWN_MODEL):
            preferences.save_text(key, str(folder))
        self._refresh()

    def choose_weights(self) -> None:
        """Ask for a file of ImageNet weights."""
        start = preferences.load_text("folders/open", str(Path.home()))
        chosen = QFileDialog.getOpenFileName(self, "ImageNet weights", start, _WEIGHTS)[0]
        if chosen:
            preferences.save_text(WEIGHTS, chosen)
            self._refresh()

    def forget_weights(self) -> None:
        """Without a file of weights."""
        preferences.save_text(WEIGHTS, "")
        self._refresh()

    # What the user does

    def start(self) -> None:
        """Classify what is chosen."""
        chosen, settings = self.source.value, self.settings
        if chosen is None or self._runner.busy:
            return
        if isinstance(chosen, Path):
            self._start_folder(chosen, settings)
            return
        try:
            source = source_of(chosen)
        except CovsegError as error:
            tell_error(error)
            return
        self._run(
            lambda: classified_steps(source, settings), partial(self._on_result, layer=chosen)
        )

    def _start_folder(self, folder: Path, settings: ClassifySettings) -> None:
        rows: list[FileRow] = []
        self._rows, self._coming, self._order = (), rows, Order()
        self._refresh()

        def settle(_: None = None) -> None:
            self._coming = None
            self._list(rows)

        self._run(lambda: folder_steps(folder, settings, rows), settle, settle)

    def sort(self, column: int) -> None:
        """Order the folder's answers by a column; by the same one again: the other way round."""
        self._order = self._order.clicked(column)
        self._list(self._coming if self._coming is not None else self._rows)

    def go_to_slice(self) -> None:
        """Show the slice that speaks most for the answer."""
        shown = self._of(self.source.value)
        if shown is not None and shown.classified.result.shown is not None:
            bring_forward(self.viewer, shown.layer)
            if shown.heat is not None:
                shown.heat.visible = True
            self.viewing.go_to_slice(shown.classified.result.shown)

    def open_row(self, place: str) -> None:
        """Open a file of the table, in place of the last one opened so, and classify it."""
        row = self._rows[int(place)]
        if self._runner.busy or row.error:
            return
        self._run(lambda: opened_steps(row.path), self._on_row_opened)

    def save(self) -> None:
        """Ask for a CSV file and write the table."""
        start = Path(preferences.load_text("folders/save", str(Path.home())))
        name = str(start / "classification.csv")
        chosen = QFileDialog.getSaveFileName(self, "Save as CSV", name, "CSV (*.csv)")[0]
        if chosen:
            preferences.save_text("folders/save", str(Path(chosen).parent))
            self.save_to(Path(chosen))

    def save_to(self, path: Path) -> None:
        """Write the folder's answers to ``path``."""
        try:
            write_rows(self._rows, path)
        except CovsegError as error:
            tell_error(error)
            return
        show_info(f"Saved {len(self._rows)} rows as {path.name}.")

    # What comes back

    def _on_step(self, step: Progress) -> None:
        super()._on_step(step)
        # Sorting anew for each of a million files would hold up the viewer.
        if self._coming and time.monotonic() - self._listed_at > _LIST_EVERY_S:
            self._list(self._coming)

    def _list(self, rows: Sequence[FileRow]) -> None:
        """Show a folder's answers, as far as there are any."""
        self._rows = self._order.of(rows)
        self._refresh()
        self._listed_at = time.monotonic()

    def _kept(self) -> str:
        return "what was classified is listed" if self._rows else super()._kept()

    def _on_result(self, classified: Classified, layer: Image) -> None:
        if layer not in self.viewer.layers:
            self._refresh()
            return
        older = self._of(layer)
        remove(self.viewer, older)
        bring_forward(self.viewer, layer)
        shown = show_result(self.viewer, layer, classified)
        self._shown = [*(one for one in self._shown if one is not older), shown]
        if is_ct(layer):
            self.session.take_classified(layer, classified)
        self._refresh()
        self.go_to_slice()

    def _on_opened(self, made: LayerTuple) -> Image:
        data, arguments, _ = made
        ct = self.viewing.ct
        if ct is not None and data.ndim == 2:
            arguments = {**arguments, **over_ct(ct, data.shape)}
        layer = self.viewer.add_image(data, **arguments)
        bring_forward(self.viewer, layer)
        self.viewing.fit(layer)
        return layer

    def _on_row_opened(self, made: LayerTuple) -> None:
        older = self._from_table
        if older is not None:
            heat = [shown.heat for shown in self._shown if shown.layer is older and shown.heat]
            remove_drawn(self.viewer, [*heat, older])
        self._from_table = self._on_opened(made)
        self._refresh()
        self.start()

    def _on_model(self, index: int) -> None:
        preferences.save_text(MODEL, str(self.view.model.itemData(index)))
        self._refresh()

    def _on_picked(self, _index: int) -> None:
        chosen = self.source.value
        if chosen is not None and not isinstance(chosen, Path):
            bring_forward(self.viewer, chosen)
            shown = self._of(chosen)
            if shown is not None and shown.heat is not None:
                shown.heat.visible = True

    def _on_layers(self, event: Any) -> None:
        if self._retired:
            return
        gone = [one for one in self._shown if one.layer not in self.viewer.layers]
        self._shown = [one for one in self._shown if one not in gone]
        for one in gone:
            remove(self.viewer, one)
        self.source.reset_choices()
        if event.type == "inserted" and is_source(event.value):
            self.source.value = event.value
        self._refresh()

    def _sources(self, _box: Any) -> list[tuple[str, Any]]:
        layers = [(layer.name, layer) for layer in self.viewer.layers if is_source(layer)]
        folder = self._folder
        return layers if folder is None else [*layers, (f"Folder {folder.name}", folder)]

    def _refresh(self, *_: Any) -> None:
        if self._retired:
            return
        chosen, settings = self.source.value, self.settings
        own = preferences.load_text(OWN_MODEL, "")
        models = [("Shipped with covseg", SHIPPED)]
        models += [(Path(own).name, own)] if own and Path(own).is_dir() else []
        self.view.show_models(models, settings.model)
        self.view.show_choice(
            chosen is not None,
            self._run_text(chosen),
            settings.model == SHIPPED,
            Path(settings.weights).name,
        )
        shown = self._of(chosen)
        self.view.show_answer(None if shown is None else shown.classified)
        of_folder = isinstance(chosen, Path) or (chosen is not None and chosen is self._from_table)
        self.view.show_rows(self._rows if of_folder else (), self._order, self._coming is not None)

    def _run_text(self, chosen: Any) -> str:
        if isinstance(chosen, Path):
            return f"Classify folder {chosen.name}{self._on_words()}"
        kind = "picture" if chosen is not None and not is_ct(chosen) else "CT"
        return f"Classify {kind}{self._on_words()}"

    def _of(self, layer: Any) -> Shown | None:
        return next((one for one in self._shown if one.layer is layer), None)
