"""What Detect and Classify have in common: a model runs, with its device, progress and Cancel."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_covseg.domain.progress import Steps
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.telling import show_info
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.device_line import DeviceLine
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.widgets.opening import Opening
from napari_covseg.plugin.widgets.pieces import Running, docked, primary_button
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QPushButton

    from napari_covseg.domain.progress import Progress
    from napari_covseg.models.device import Device


class ModelView(QWidget):
    """The button, progress in its place while it works, what to do without a CT, the device."""

    def __init__(self, viewer: Viewer, title: str, tip: str) -> None:
        super().__init__()
        self.setMinimumWidth(360)
        self.run: QPushButton = primary_button(title, tip)
        self.running = Running()
        self.empty = Opening(viewer)
        self.device = DeviceLine()

    def held(self) -> tuple[QWidget, ...]:
        """What cannot be changed while it works."""
        return ()

    def show_running(self, running: bool) -> None:
        """Progress and Cancel stand in place of the button while it works."""
        self.run.setVisible(not running)
        self.running.setVisible(running)
        for part in self.held():
            part.setEnabled(not running)
        if running:
            self.running.restart()


class ModelPanel(QWidget):
    """A dock widget that runs a model on what is chosen in the viewer.

    Who derives from it makes ``view``, then calls `_begin`, and says in `_refresh` what is shown.
    """

    view: ModelView

    def __init__(self, viewer: Viewer, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.viewing = viewing_of(viewer)
        self.session = session_of(viewer)
        self._runner = Runner()
        self._retired = False
        self._device: Device | None = None
        self._looked = False

    def _begin(self, viewer: Viewer) -> None:
        docked(self, self.view)
        self.view.running.cancel.clicked.connect(self.cancel)
        self.view.device.found.connect(self._on_device)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(type(self).retire, self))
        self._refresh()

    @property
    def viewer(self) -> Viewer:
        """The viewer that this widget is docked in."""
        return self.session.viewer

    def showEvent(self, event: Any) -> None:
        """Look for the device when the widget is first seen."""
        super().showEvent(event)
        if not self._looked:
            self._looked = True
            self.view.device.look("auto")

    def closeEvent(self, event: Any) -> None:
        """Stop what runs; its result would have nowhere to go."""
        self.retire()
        super().closeEvent(event)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        self._retired = True
        self._runner.abandon()
        self.view.device.stop()
        self.view.empty.stop()

    def jobs_running(self) -> bool:
        """Whether anything is being read, computed or saved."""
        return self._runner.busy

    def cancel(self) -> None:
        """Stop what runs."""
        self.view.running.show_cancelling()
        self._runner.cancel()

    def _run(
        self,
        make_steps: Callable[[], Steps[Any]],
        result: Callable[[Any], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Run in a thread; ``ended`` is called before an error or a cancel is told."""

        def done(value: Any) -> None:
            self.view.show_running(False)
            result(value)

        def failed(error: Exception) -> None:
            self.view.show_running(False)
            ended()
            self._refresh()
            tell_error(error)

        def cancelled() -> None:
            self.view.show_running(False)
            ended()
            self._refresh()
            show_info(f"Cancelled: {self._kept()}.")

        self.view.show_running(True)
        self._runner.start(make_steps, Callbacks(self._on_step, done, failed, cancelled))

    def _on_step(self, step: Progress) -> None:
        self.view.running.show_progress(step, time.monotonic())

    def _kept(self) -> str:
        """What a cancelled run left."""
        return "nothing was changed"

    def _on_device(self, device: Device | None) -> None:
        self._device = device
        self._refresh()

    def _on_words(self) -> str:
        """Where it will run, for the button."""
        device = self._device
        if device is None:
            return ""
        return " on CPU" if device.kind == "cpu" else f" on {device.title}"

    def _on_layers(self, event: Any) -> None:
        raise NotImplementedError

    def _refresh(self, *_: Any) -> None:
        raise NotImplementedError
