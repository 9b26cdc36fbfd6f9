"""The prior in a dock beside the picture: both of one width, each showing the whole of what was."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow

from napari_covseg.plugin.comparing import Compared
from napari_covseg.plugin.napari_versions import camera_of, canvas_widget, unwrapped
from napari_covseg.plugin.prior_pane import TITLE, PriorPane

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

_TRIES, _SETTLE_MS = 6, 60
_NEAR_PX = 8


class Beside:
    """Docks the prior to the left of the picture; ``closed`` is called when its own button does."""

    def __init__(self, viewer: Viewer, closed: Callable[[], None]) -> None:
        self._ref = weakref.ref(unwrapped(viewer))
        self._closed = closed
        self._pane: PriorPane | None = None
        self._dock: Any = None
        self._width = 0
        self._beside: dict[QDockWidget, int] = {}
        self._scaled = 1.0

    @property
    def pane(self) -> PriorPane | None:
        """What shows the prior; None while it is not shown."""
        return self._pane

    def show(self, ct: Image, compared: Compared) -> None:
        """Show the prior, as the viewer shows the CT."""
        self.close()
        viewer = self._ref()
        if viewer is None:
            return
        canvas = canvas_widget(viewer)
        self._width = 0 if canvas is None else canvas.width()
        self._beside = _left_docks(canvas.window() if canvas is not None else None)
        self._pane = PriorPane(viewer, ct, compared)
        self._dock = viewer.window.add_dock_widget(
            self._pane, name=TITLE, area="left", add_vertical_stretch=False
        )
        self._dock.visibilityChanged.connect(partial(Beside._on_dock, self))
        main = self._dock.parent()
        if main is not None:
            # Beside the layer list, not below it: as tall as the picture.
            left = Qt.DockWidgetArea.LeftDockWidgetArea
            main.addDockWidget(left, self._dock, Qt.Orientation.Horizontal)
            self._settle(self._pane, _TRIES)

    def close(self) -> None:
        """Take the dock away, and give the picture its zoom back."""
        viewer, pane, dock = self._ref(), self._pane, self._dock
        self._pane = self._dock = None
        if pane is not None:
            pane.retire()
            if viewer is not None:
                viewer.window.remove_dock_widget(pane)
                camera_of(viewer).zoom /= self._scaled
                # Else the docks that it stood beside keep its room, and the picture stays small.
                QTimer.singleShot(_SETTLE_MS, partial(_resize, self._beside))
        self._scaled = 1.0
        if dock is not None:
            dock.deleteLater()

    def retire(self) -> None:
        """From now on nothing here may touch a Qt object."""
        if self._pane is not None:
            self._pane.retire()
        self._pane = self._dock = None

    def _settle(self, pane: PriorPane, tries: int) -> None:
        # Sizes are taken only once the dock has its place, and then not always as they were asked.
        QTimer.singleShot(_SETTLE_MS, partial(Beside._halve, self, pane, tries))

    def _halve(self, pane: PriorPane, tries: int) -> None:
        """Make picture and prior equally wide; then show as much in each as there was."""
        viewer, dock = self._ref(), self._dock
        if pane is not self._pane or viewer is None or dock is None:
            return
        with suppress(RuntimeError):  # closed meanwhile
            canvas, main = canvas_widget(viewer), dock.parent()
            if canvas is None or main is None:
                return
            over = dock.width() - canvas.width()
            if abs(over) > _NEAR_PX and tries:
                wide = dock.width() - over // 2
                main.resizeDocks([dock], [wide], Qt.Orientation.Horizontal)
                self._settle(pane, tries - 1)
            elif self._width:
                self._scaled = canvas.width() / self._width
                camera_of(viewer).zoom *= self._scaled

    def _on_dock(self, visible: bool) -> None:
        """Closed by its own button."""
        if not visible and self._dock is not None and self._dock.isHidden():
            self._closed()


def _left_docks(main: Any) -> dict[QDockWidget, int]:
    """The docks to the left of the picture, and how wide they are."""
    if not isinstance(main, QMainWindow):
        return {}
    left = Qt.DockWidgetArea.LeftDockWidgetArea
    docks = main.findChildren(QDockWidget)
    return {
        dock: dock.width()
        for dock in docks
        if dock.isVisible() and main.dockWidgetArea(dock) == left
    }


def _resize(docks: dict[QDockWidget, int]) -> None:
    with suppress(RuntimeError):  # closed meanwhile
        main = next(iter(docks)).parent() if docks else None
        if isinstance(main, QMainWindow):
            main.resizeDocks(list(docks), list(docks.values()), Qt.Orientation.Horizontal)
