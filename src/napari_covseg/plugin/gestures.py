"""Clicks and lassos on the picture, for tools that napari has not."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

from napari_covseg.plugin.napari_versions import camera_of, canvas_widget, unwrapped

if TYPE_CHECKING:
    from napari.viewer import Viewer

_STILL_PX = 4.0
"""A press that moves less is a click."""
World = tuple[float, ...]


class Gestures:
    """Brings clicks and outlines drawn by hand to whoever armed them, until `close`.

    With nothing armed the mouse is napari's. Armed for clicks, a drag still moves the picture.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._ref = weakref.ref(unwrapped(viewer))
        self._clicked: Callable[[World], None] | None = None
        self._drawn: Callable[[list[World]], None] | None = None
        self._colour = "#ffffff"
        self._trace: Trace | None = None
        viewer.mouse_drag_callbacks.append(self._on_drag)

    def close(self) -> None:
        """Take nothing any more."""
        viewer = self._ref()
        if viewer is not None and self._on_drag in viewer.mouse_drag_callbacks:
            viewer.mouse_drag_callbacks.remove(self._on_drag)

    def disarm(self) -> None:
        """Give the mouse back to napari."""
        self._clicked = self._drawn = None

    def arm_click(self, clicked: Callable[[World], None]) -> None:
        """Call ``clicked`` with napari's coordinates of each click."""
        self.disarm()
        self._clicked = clicked

    def arm_lasso(self, drawn: Callable[[list[World]], None], colour: str) -> None:
        """Call ``drawn`` with the points of each outline; it is shown while it is drawn."""
        self.disarm()
        self._drawn, self._colour = drawn, colour

    def _on_drag(self, viewer: Viewer, event: Any) -> Generator[None, None, None]:
        armed = self._clicked is not None or self._drawn is not None
        if not armed or event.button != 1 or viewer.dims.ndisplay != 2 or event.modifiers:
            return
        if self._drawn is not None:
            yield from self._draw(viewer, event, self._drawn)
            return
        start, still = tuple(event.pos), True
        yield
        while event.type == "mouse_move":
            still = still and _distance(start, event.pos) < _STILL_PX
            yield
        if still and self._clicked is not None:
            self._clicked(tuple(event.position))

    def _draw(
        self, viewer: Viewer, event: Any, drawn: Callable[[list[World]], None]
    ) -> Generator[None, None, None]:
        camera = camera_of(viewer)
        panned, camera.mouse_pan = camera.mouse_pan, False
        trace = self._shown_trace(viewer)
        points, on_canvas = [tuple(event.position)], [tuple(event.pos)]
        try:
            yield
            while event.type == "mouse_move":
                points.append(tuple(event.position))
                on_canvas.append(tuple(event.pos))
                if trace is not None:
                    trace.show_line(on_canvas, self._colour)
                yield
        finally:
            camera.mouse_pan = panned
            if trace is not None:
                trace.hide()
        if len(points) > 2:
            drawn(points)

    def _shown_trace(self, viewer: Viewer) -> Trace | None:
        canvas = canvas_widget(viewer)
        if self._trace is None and canvas is not None:
            self._trace = Trace(canvas)
        return self._trace


class Trace(QWidget):
    """The line of a lasso over the canvas."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._line = QPolygonF()
        self._colour = QColor("white")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def show_line(self, points: list[tuple[float, ...]], colour: str) -> None:
        """Draw a line through points of the canvas, closed back to the first."""
        parent = self.parentWidget()
        if parent is not None:
            self.setGeometry(parent.rect())
        self._line = QPolygonF([QPointF(float(x), float(y)) for x, y in points])
        self._colour = QColor(colour)
        self.show()
        self.update()

    def paintEvent(self, event: Any) -> None:
        """The outline, its closing line dashed."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(self._colour, 2)
        painter.setPen(pen)
        painter.drawPolyline(self._line)
        if self._line.size() > 2:
            pen.setStyle(Qt.PenStyle.DashLine)
            painter.setPen(pen)
            painter.drawLine(self._line.last(), self._line.first())
        painter.end()


def _distance(a: tuple[float, ...], b: Any) -> float:
    return float(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5)
