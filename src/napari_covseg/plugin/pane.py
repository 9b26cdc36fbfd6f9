"""One of the other two planes: drawn by Qt from the layers' arrays, nothing copied."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_covseg.plugin.crosshair import draw_crosshair
from napari_covseg.plugin.layers import is_ct, placement_of
from napari_covseg.plugin.pane_view import PaneView
from napari_covseg.plugin.pictures import Overlay, painted, upright
from napari_covseg.plugin.planes import AXIAL, Plane
from napari_covseg.plugin.rulers import COLOUR, length_text
from napari_covseg.plugin.viewing import ZOOM_PER_NOTCH
from napari_covseg.plugin.window_level import Window

if TYPE_CHECKING:
    from napari_covseg.plugin.reading import Reading

_WORDS, _SHADE = QColor(255, 255, 255), QColor(0, 0, 0, 110)
_NOTCH = 120.0


class Pane(QWidget):
    """One plane through the crosshair. A press or drag moves it, the wheel turns slices, Ctrl and
    the wheel zoom, a drag with the middle button moves the picture, a double click brings the plane
    into the large view, a drag with the right button sets the window.
    """

    def __init__(self, reading: Reading, plane: Plane) -> None:
        super().__init__()
        self._reading = weakref.ref(reading)
        self.plane = plane
        self._picture: np.ndarray | None = None
        self._scrolled = 0.0
        self._view = PaneView()
        self._held: QPointF | None = None
        self._pressed = False
        self._window: tuple[Window, QPointF] | None = None
        self.setMinimumSize(120, 120)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setToolTip(
            "Click: crosshair. Wheel: slices, with Ctrl: zoom. Middle button: move the picture. "
            "Double click: into the large view."
        )

    @property
    def picture(self) -> np.ndarray | None:
        """What is shown, ``(rows, columns, 3)``; None without a CT."""
        return self._picture

    def show_plane(self, plane: Plane) -> None:
        """Draw a plane through the crosshair anew; zoomed in, the crosshair stays in sight."""
        if plane is not self.plane:
            self._view = PaneView()
        self.plane = plane
        self._picture = self._drawn()
        self._keep_in_sight()
        self.update()

    def _drawn(self) -> np.ndarray | None:
        reading = self._reading()
        voxel = None if reading is None else reading.voxel
        ct = None if reading is None else reading.viewing.ct
        if reading is None or ct is None or voxel is None:
            return None
        axis = self.plane.order[0]
        hu = reading.slab.of(ct.data, axis, voxel[axis], float(ct.scale[axis]))
        inside: list[Any] = [slice(None)] * 3
        inside[axis] = voxel[axis]
        overlays = [
            Overlay(
                upright(np.asarray(layer.data[tuple(inside)]), self.plane),
                float(layer.opacity),
                bool(getattr(layer, "contour", 0)),
            )
            for layer in reading.viewer.layers
            if not is_ct(layer) and layer.visible and _on_grid_of(layer, ct)
        ]
        return painted(upright(hu, self.plane), tuple(ct.contrast_limits), overlays)

    # Between pixels and voxels

    def _area(self) -> QRectF:
        """Where the picture is drawn: as large as fits, in true proportions."""
        size_mm = self._size_mm()
        return QRectF() if size_mm is None else QRectF(*self._view.box(self._size(), size_mm))

    def _size(self) -> tuple[float, float]:
        return float(self.width()), float(self.height())

    def _size_mm(self) -> tuple[float, float] | None:
        """Width and height of the picture."""
        reading, picture = self._reading(), self._picture
        ct = None if reading is None else reading.viewing.ct
        if picture is None or ct is None:
            return None
        _, rows, columns = self.plane.order
        return (
            picture.shape[1] * float(ct.scale[columns]),
            picture.shape[0] * float(ct.scale[rows]),
        )

    def _keep_in_sight(self) -> None:
        reading, size_mm = self._reading(), self._size_mm()
        voxel = None if reading is None else reading.voxel
        if voxel is None or size_mm is None or self._pressed:
            return
        area, at = self._area(), self.position(voxel)
        share = (at.x() - area.left()) / area.width(), (at.y() - area.top()) / area.height()
        self._view = self._view.showing(share, self._size(), size_mm)

    @property
    def zoom(self) -> float:
        """How much nearer than the whole picture; 1 shows all of it."""
        return self._view.zoom

    def zoom_by(self, factor: float, at: QPointF) -> None:
        """Zoom in (above 1) or out; what is at a point of the pane stays there."""
        size_mm = self._size_mm()
        if size_mm is not None:
            self._view = self._view.zoomed(factor, (at.x(), at.y()), self._size(), size_mm)
            self.update()

    def position(self, point: tuple[float, ...]) -> QPointF:
        """Where a voxel ``(z, y, x)`` is drawn."""
        area, picture = self._area(), self._picture
        if picture is None:
            return QPointF()
        _, rows, columns = self.plane.order
        down = (point[rows] + 0.5) / picture.shape[0]
        if self.plane.growth[1] == "up":
            down = 1 - down
        right = (point[columns] + 0.5) / picture.shape[1]
        return QPointF(area.left() + right * area.width(), area.top() + down * area.height())

    def _go_to(self, at: QPointF) -> None:
        reading, area, picture = self._reading(), self._area(), self._picture
        voxel = None if reading is None else reading.voxel
        if reading is None or voxel is None or picture is None:
            return
        down = (at.y() - area.top()) / area.height()
        if self.plane.growth[1] == "up":
            down = 1 - down
        right = (at.x() - area.left()) / area.width()
        found = list(voxel)
        _, rows, columns = self.plane.order
        for axis, share, size in (
            (rows, down, picture.shape[0]),
            (columns, right, picture.shape[1]),
        ):
            found[axis] = min(max(int(share * size), 0), size - 1)
        reading.go_to((found[0], found[1], found[2]))

    # The mouse

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Left: the crosshair. Right: the window. Middle: the picture."""
        reading = self._reading()
        ct = None if reading is None else reading.viewing.ct
        if event is None or ct is None:
            return
        self._pressed = True
        if event.button() == Qt.MouseButton.RightButton:
            self._window = Window.of_limits(*ct.contrast_limits), event.position()
        elif event.button() == Qt.MouseButton.MiddleButton:
            self._held = event.position()
        elif event.button() == Qt.MouseButton.LeftButton:
            self._go_to(event.position())

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """As `mousePressEvent` began it."""
        reading = self._reading()
        if event is None or reading is None:
            return
        if self._window is not None:
            start, origin = self._window
            moved = event.position() - origin
            reading.viewing.set_window(start.dragged(moved.x(), -moved.y()))
        elif self._held is not None:
            self._drag_to(event.position())
        elif event.buttons() & Qt.MouseButton.LeftButton:
            self._go_to(event.position())

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """The drag is over."""
        self._window = self._held = None
        self._pressed = False

    def _drag_to(self, at: QPointF) -> None:
        size_mm = self._size_mm()
        if self._held is not None and size_mm is not None:
            by = at - self._held
            self._view = self._view.moved((by.x(), by.y()), self._size(), size_mm)
            self._held = at
            self.update()

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Show this plane large."""
        reading = self._reading()
        if reading is not None:
            reading.viewing.set_plane(self.plane)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Slices; up goes to superior, else to anterior and to the right, as in the picture.

        With Ctrl: zoom.
        """
        reading = self._reading()
        voxel = None if reading is None else reading.voxel
        ct = None if reading is None else reading.viewing.ct
        if event is None or reading is None or voxel is None or ct is None:
            return
        event.accept()
        notches = event.angleDelta().y() / _NOTCH
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoom_by(ZOOM_PER_NOTCH**notches, event.position())
            return
        self._scrolled += notches
        steps = int(self._scrolled)
        self._scrolled -= steps
        axis, found = self.plane.order[0], list(voxel)
        found[axis] += steps if self.plane is AXIAL else -steps
        found[axis] = min(max(found[axis], 0), ct.data.shape[axis] - 1)
        reading.go_to((found[0], found[1], found[2]))

    # Drawing

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """The picture, the crosshair, distances in this slice, letters and words."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("black"))
        reading, picture = self._reading(), self._picture
        voxel = None if reading is None else reading.voxel
        if picture is not None and reading is not None and voxel is not None:
            rows, columns, _ = picture.shape
            image = QImage(picture.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(self._area(), image)
            self._draw_rulers(painter, reading, voxel)
            draw_crosshair(painter, self.position(voxel), float(self.width()), float(self.height()))
            self._draw_words(painter, reading, voxel)
        painter.end()

    def _draw_rulers(
        self, painter: QPainter, reading: Reading, voxel: tuple[int, int, int]
    ) -> None:
        rulers, axis = reading.rulers, self.plane.order[0]
        if rulers is None or rulers.layer is None or not rulers.layer.visible:
            return
        painter.setPen(QPen(QColor(COLOUR), 1.5))
        for ruler in rulers.rulers:
            if all(round(end[axis]) == voxel[axis] for end in (ruler.start, ruler.end)):
                painter.drawLine(self.position(ruler.start), self.position(ruler.end))
                text = length_text(ruler.length_mm(rulers.geometry))
                painter.drawText(self.position(ruler.end) + QPointF(4, -4), text)

    def _draw_words(self, painter: QPainter, reading: Reading, voxel: tuple[int, int, int]) -> None:
        ct, axis = reading.viewing.ct, self.plane.order[0]
        if ct is None:
            return
        flags, area = Qt.AlignmentFlag, QRectF(self.rect()).adjusted(6, 4, -6, -4)
        font = painter.font()
        font.setPixelSize(12)
        painter.setFont(font)
        slab = reading.slab.text(float(ct.scale[axis]))
        text = f"{self.plane.name} {voxel[axis] + 1} / {ct.data.shape[axis]}"
        _write(painter, area, flags.AlignLeft | flags.AlignTop, text)
        if slab:
            _write(painter, area, flags.AlignRight | flags.AlignTop, slab)
        font.setPixelSize(15)
        font.setBold(True)
        painter.setFont(font)
        middle, places = flags.AlignVCenter, flags.AlignHCenter
        left, right, top, bottom = self.plane.edges
        for letter, where in (
            (left, flags.AlignLeft | middle),
            (right, flags.AlignRight | middle),
            (top, places | flags.AlignTop),
            (bottom, places | flags.AlignBottom),
        ):
            _write(painter, area, where, letter)


def _on_grid_of(layer: Any, ct: Any) -> bool:
    """Whether a layer lies on a CT's own grid; that of another CT may well be as large."""
    one, two = placement_of(layer), placement_of(ct)
    return one is not None and two is not None and one.geometry.same_as(two.geometry)


def _write(painter: QPainter, area: QRectF, where: Qt.AlignmentFlag, text: str) -> None:
    """White on a shade, so that it is read over bone and over air."""
    box = painter.boundingRect(area, where, text).adjusted(-4, -1, 4, 1)
    painter.fillRect(box, _SHADE)
    painter.setPen(_WORDS)
    painter.drawText(area, where, text)
