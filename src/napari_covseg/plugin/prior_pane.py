"""The prior scan beside the picture: the same slice, the same place, the same zoom and window."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.plugin.comparing import Compared, outlined, prior_text
from napari_covseg.plugin.napari_versions import camera_of, canvas_widget, unwrapped
from napari_covseg.plugin.planes import AXIAL
from napari_covseg.plugin.viewing import viewing_of

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer
    from numpy.typing import NDArray

TITLE = "Prior"
_SOON_MS = 20
_NOTCH = 120.0
_WORDS, _SHADE = QColor(255, 255, 255), QColor(0, 0, 0, 110)


class PriorPane(QWidget):
    """Draws the prior, laid over the current scan, as the viewer shows that one.

    Slice, plane, place, zoom and window follow the viewer; the wheel turns the viewer's slices.
    """

    def __init__(self, viewer: Viewer, ct: Image, compared: Compared) -> None:
        super().__init__()
        self._viewer = weakref.ref(unwrapped(viewer))
        self._ct, self._compared = ct, compared
        self._picture: NDArray[np.uint8] | None = None
        self._scrolled, self._closed = 0.0, False
        self.setMinimumSize(200, 200)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setToolTip("The prior scan at the same place. Lesions of the prior are outlined.")
        self._soon = QTimer(self, singleShot=True, interval=_SOON_MS)
        self._soon.timeout.connect(self._draw)
        self._camera = camera_of(viewer)
        self._events = (
            viewer.dims.events.point,
            viewer.dims.events.order,
            self._camera.events.zoom,
            self._camera.events.center,
            ct.events.contrast_limits,
        )
        for event in self._events:
            event.connect(self._draw_soon)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(PriorPane.retire, self))
        self._draw()

    @property
    def picture(self) -> NDArray[np.uint8] | None:
        """What is shown, ``(rows, columns, 3)``, before it is scaled."""
        return self._picture

    def sizeHint(self) -> QSize:
        """Half of a small screen beside the dock."""
        return QSize(440, 440)

    def retire(self, *_: Any) -> None:
        """Listen no more; from now on nothing here may touch a Qt object."""
        if self._closed:
            return
        self._closed = True
        for event in self._events:
            event.disconnect(self._draw_soon)

    def _draw_soon(self, _event: Any = None) -> None:
        if not self._closed:
            self._soon.start()

    def _draw(self) -> None:
        viewer = self._viewer()
        if self._closed or viewer is None or viewer.dims.ndim != 3:
            return
        plane = viewing_of(viewer).plane
        axis = plane.order[0]
        at = (viewer.dims.point[axis] - self._ct.translate[axis]) / self._ct.scale[axis]
        self._picture = None
        if -0.5 <= at < self._ct.data.shape[axis] - 0.5:
            inside: list[Any] = [slice(None)] * 3
            inside[axis] = round(float(at))
            hu, labels = (
                array[tuple(inside)]
                for array in (self._compared.prior_hu, self._compared.prior_labels)
            )
            picture = _painted(hu, labels, tuple(self._ct.contrast_limits))
            up = plane.growth[1] == "up"
            self._picture = np.ascontiguousarray(picture[::-1] if up else picture)
        self.update()

    def area(self) -> QRectF:
        """Where the picture is drawn: at the place it has in the viewer, scaled to this pane."""
        viewer = self._viewer()
        canvas = None if viewer is None else canvas_widget(viewer)
        if viewer is None or canvas is None:
            return QRectF()
        plane = viewing_of(viewer).plane
        _, rows, columns = plane.order
        scale, first, shape = self._ct.scale, self._ct.translate, self._ct.data.shape
        factor = self._camera.zoom * min(
            self.width() / max(1, canvas.width()), self.height() / max(1, canvas.height())
        )
        middle = self._camera.center[-2:]
        wide, tall = (shape[axis] * float(scale[axis]) * factor for axis in (columns, rows))
        left = (float(first[columns] - scale[columns] / 2) - middle[1]) * factor
        top = (float(first[rows] - scale[rows] / 2) - middle[0]) * factor
        if plane.growth[1] == "up":
            top = -top - tall
        return QRectF(self.width() / 2 + left, self._level_with(canvas) + top, wide, tall)

    def _level_with(self, canvas: QWidget) -> float:
        """The middle of the picture as high on the screen as the viewer's, if that is beside it."""
        middle = canvas.mapToGlobal(canvas.rect().center())
        own, level = self.height() / 2, float(self.mapFromGlobal(middle).y())
        return level if abs(level - own) < self.height() / 4 else own

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """The picture and what it is."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("black"))
        picture = self._picture
        if picture is not None:
            rows, columns, _ = picture.shape
            image = QImage(picture.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(self.area(), image)
        text = prior_text(self._compared.change)
        box = QRectF(self.rect()).adjusted(6, 4, -6, -4)
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop
        painter.fillRect(painter.boundingRect(box, flags, text).adjusted(-4, -1, 4, 1), _SHADE)
        painter.setPen(_WORDS)
        painter.drawText(box, flags, text)
        painter.end()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Turn the viewer's slices, as the wheel does over the picture."""
        viewer = self._viewer()
        if event is None or viewer is None or self._closed:
            return
        event.accept()
        self._scrolled += event.angleDelta().y() / _NOTCH
        steps = int(self._scrolled)
        self._scrolled -= steps
        axis = viewer.dims.order[0]
        up = 1 if viewing_of(viewer).plane is AXIAL else -1
        viewer.dims.set_current_step(axis, viewer.dims.current_step[axis] + up * steps)


def _painted(
    hu: NDArray, labels: NDArray[np.uint8], limits: tuple[float, ...]
) -> NDArray[np.uint8]:
    """Grey in the window, lesions outlined in their colours, ``(rows, columns, 3)``."""
    low, high = limits
    grey = np.clip((hu.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6)), 0, 255)
    picture = np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    edge = outlined(labels)
    for label, colour in LABEL_COLOURS.items():
        picture[edge & (labels == label)] = tuple(bytes.fromhex(colour[1:]))
    return picture
