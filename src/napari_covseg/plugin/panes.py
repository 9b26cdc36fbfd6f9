"""The other two planes, side by side in a dock below the picture."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_covseg.plugin.layers import placement_of
from napari_covseg.plugin.pane import Pane
from napari_covseg.plugin.planes import AXIAL, CORONAL, PLANES, SAGITTAL

if TYPE_CHECKING:
    from napari_covseg.plugin.reading import Reading

TITLE = "Other planes"
_EVENTS = ("set_data", "labels_update", "visible", "opacity", "contrast_limits")
_SOON_MS, _HEIGHT_PX = 30, 310


class Panes(QWidget):
    """Two planes side by side in a dock below the picture: those that it does not show."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self._reading = weakref.ref(reading)
        self._dock: Any = None
        self._closed = False
        self.panes = (Pane(reading, CORONAL), Pane(reading, SAGITTAL))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.setSpacing(2)
        for pane in self.panes:
            layout.addWidget(pane)
        self._soon = QTimer(self, singleShot=True, interval=_SOON_MS)
        self._soon.timeout.connect(self._draw)
        layers = reading.viewer.layers
        for layer in layers:
            self._listen(layer)
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._draw_soon)
        layers.events.reordered.connect(self._draw_soon)
        reading.moved.connect(self._draw_soon)
        reading.changed.connect(self._draw_soon)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(Panes.retire, self))

    def sizeHint(self) -> QSize:
        """Low and wide."""
        return QSize(640, _HEIGHT_PX)

    def retire(self, *_: Any) -> None:
        """Listen no more; from now on nothing here may touch a Qt object."""
        self._closed = True

    def show_docked(self, shown: bool) -> None:
        """Show the dock, made on the first call, or hide it."""
        reading = self._reading()
        if reading is None or self._closed:
            return
        if self._dock is None:
            self._dock = reading.viewer.window.add_dock_widget(
                self, name=TITLE, area="bottom", add_vertical_stretch=False
            )
            self._dock.visibilityChanged.connect(partial(Panes._on_visibility, self))
        main = self._dock.parent()
        if shown and main is not None:
            # Below the picture only: what is docked at the sides keeps its height.
            corners, sides = Qt.Corner, Qt.DockWidgetArea
            main.setCorner(corners.BottomLeftCorner, sides.LeftDockWidgetArea)
            main.setCorner(corners.BottomRightCorner, sides.RightDockWidgetArea)
        self._dock.setVisible(shown)
        if shown and main is not None:
            main.resizeDocks([self._dock], [_HEIGHT_PX], Qt.Orientation.Vertical)
            self._draw_soon()

    def _on_visibility(self, visible: bool) -> None:
        """Closed by its own button."""
        reading = self._reading()
        if not visible and reading is not None and not self._closed and self._dock.isHidden():
            reading.set_linked(False)

    def _listen(self, layer: Any) -> None:
        if placement_of(layer) is not None:
            for event in _EVENTS:
                if event in layer.events.emitters:
                    layer.events[event].connect(self._draw_soon)

    def _on_inserted(self, event: Any) -> None:
        self._listen(event.value)
        self._draw_soon()

    def _draw_soon(self, _event: Any = None) -> None:
        reading = self._reading()
        if not self._closed and reading is not None and reading.linked:
            self._soon.start()

    def _draw(self) -> None:
        reading = self._reading()
        if self._closed or reading is None or not reading.linked:
            return
        others = [plane for plane in PLANES if plane is not reading.viewing.plane]
        order = [CORONAL, SAGITTAL, AXIAL]
        for pane, plane in zip(self.panes, sorted(others, key=order.index), strict=True):
            pane.show_plane(plane)
