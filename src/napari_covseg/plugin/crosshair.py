"""The crosshair over the picture, and the ring that shows where a finding is."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QPointF, Qt, QTimer
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QWidget

COLOUR = QColor(90, 230, 190, 190)
RING = QColor(255, 255, 255, 230)
_GAP_PX, _RING_PX, _BLINKS, _BLINK_MS = 14, 30, 6, 220


class Crosshair(QWidget):
    """Lines over a picture; takes no mouse events and dies with what it lies over."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._at: QPointF | None = None
        self._lines = False
        self._blinks = 0
        self._timer = QTimer(self, interval=_BLINK_MS)
        self._timer.timeout.connect(self._blink)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        canvas.installEventFilter(self)
        self._fit()

    @property
    def at(self) -> tuple[float, float] | None:
        """Where it is, in pixels of the canvas; None where nothing is shown."""
        return None if self._at is None else (self._at.x(), self._at.y())

    @property
    def flashing(self) -> bool:
        """Whether the ring is blinking."""
        return self._blinks > 0

    def show_at(self, at: tuple[float, float] | None, lines: bool) -> None:
        """Move it; ``lines``: the crosshair, not only the ring."""
        self._at = None if at is None else QPointF(*at)
        self._lines = lines
        self.setVisible(self._at is not None and (lines or self.flashing))
        self.update()

    def flash(self) -> None:
        """Let the ring blink for a moment."""
        self._blinks = _BLINKS
        self._timer.start()
        self.setVisible(self._at is not None)
        self.raise_()
        self.update()

    def _blink(self) -> None:
        self._blinks -= 1
        if self._blinks <= 0:
            self._timer.stop()
            self.setVisible(self._at is not None and self._lines)
        self.update()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the canvas when its size changes."""
        if event is not None and event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._fit()
        return False

    def _fit(self) -> None:
        canvas = self.parentWidget()
        if canvas is not None:
            self.setGeometry(canvas.rect())

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw what is to be seen."""
        if self._at is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._lines:
            draw_crosshair(painter, self._at, float(self.width()), float(self.height()))
        if self.flashing and self._blinks % 2 == 0:
            painter.setPen(QPen(RING, 3))
            painter.drawEllipse(self._at, _RING_PX, _RING_PX)
        painter.end()


def draw_crosshair(painter: QPainter, at: QPointF, width: float, height: float) -> None:
    """Two lines through the picture that leave the point itself free."""
    painter.setPen(QPen(COLOUR, 1))
    x, y, gap = at.x(), at.y(), _GAP_PX
    painter.drawLine(QPointF(0, y), QPointF(x - gap, y))
    painter.drawLine(QPointF(x + gap, y), QPointF(width, y))
    painter.drawLine(QPointF(x, 0), QPointF(x, y - gap))
    painter.drawLine(QPointF(x, y + gap), QPointF(x, height))
