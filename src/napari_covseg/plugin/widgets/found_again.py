"""One line that offers what was found in a CT when it was open before."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_covseg.plugin.findings import Findings, labels_steps
from napari_covseg.plugin.layers import LayerTuple, placement_of
from napari_covseg.plugin.napari_versions import unwrapped
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.study import study_of
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.pieces import paragraph
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer


class FoundAgain(QWidget):
    """Hidden unless there are findings of the CT that is looked at."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = weakref.ref(unwrapped(viewer))
        self._study, self._viewing = study_of(viewer), viewing_of(viewer)
        self._runner = Runner()
        self._closed = False
        self.text = paragraph()
        self.show_button, self.forget_button = QPushButton("Show"), QPushButton("Forget")
        self.show_button.setToolTip("Bring labels, distances and scores back")
        self.forget_button.setToolTip("Never offer them again; saved labels stay where they are")
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.show_button, 1)
        row.addWidget(self.forget_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.text)
        layout.addLayout(row)
        self.show_button.clicked.connect(self.take)
        self.forget_button.clicked.connect(self.forget)
        self._study.changed.connect(self._refresh)
        self._viewing.changed.connect(self._refresh)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(FoundAgain.retire, self))
        self._refresh()

    def retire(self, *_: Any) -> None:
        """From now on nothing here may touch a Qt object."""
        self._closed = True
        self._runner.abandon()

    @property
    def busy(self) -> bool:
        """Whether labels are being read."""
        return self._runner.busy

    def take(self) -> None:
        """Show what was found; labels only where there are none by now."""
        ct = self._viewing.ct
        found = None if ct is None else self._study.take(ct)
        viewer = self._viewer()
        if ct is None or found is None or viewer is None or found.labels is None:
            return
        placement = placement_of(ct)
        if placement is None or any(session_of(viewer).labels_of(ct)):
            return
        labels = found.labels
        self._runner.start(
            lambda: labels_steps(labels, placement),
            Callbacks(
                progress=lambda step: None,
                result=partial(self._on_labels, ct),
                error=tell_error,
                cancelled=lambda: None,
            ),
        )

    def forget(self) -> None:
        """Drop what was found, after asking."""
        ct, buttons = self._viewing.ct, QMessageBox.StandardButton
        question = "Forget the findings of this CT? Saved labels stay where they are."
        answer = QMessageBox.question(self, "napari-covseg", question, buttons.Yes | buttons.No)
        if ct is not None and answer == buttons.Yes:
            self._study.forget(ct)

    def _on_labels(self, ct: Image, layers: list[LayerTuple]) -> None:
        viewer = self._viewer()
        if viewer is None or ct not in viewer.layers:
            return
        for data, arguments, _ in layers:
            viewer.add_labels(data, **arguments)
        viewer.layers.selection.active = ct

    def _refresh(self) -> None:
        if self._closed:
            return
        found: Findings | None = self._study.offered(self._viewing.ct)
        self.setVisible(found is not None)
        if found is not None and found.kept is not None:
            self.text.setText(f"Found in this CT on {found.kept:%d %B %Y}: {found.text}.")
