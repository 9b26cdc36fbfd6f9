"""A bar with a cell for each axial slice: reviewed or not, with lesions (or changes) or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import Label

_HEIGHT, _MARK = 26, 7
_OPEN, _REVIEWED, _HERE = QColor("#59626e"), QColor("#3fb37f"), QColor("#ffffff")
_LESION = QColor(LABEL_COLOURS[Label.GGO])


class ReviewBar(QWidget):
    """From the lowest slice on the left to the highest on the right; a click goes to a slice."""

    slice_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None, marks: str = "lesions") -> None:
        super().__init__(parent)
        self._marks = marks
        self._reviewed = np.zeros(1, bool)
        self._lesions = np.zeros(1, bool)
        self._here = 0
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setAccessibleName("Reviewed slices")
        self.setToolTip("Lowest slice left, highest right. Click to go there.")

    def show_slices(self, reviewed: NDArray[np.bool_], lesions: NDArray[np.bool_]) -> None:
        """For each slice whether it was reviewed, and whether it holds what is marked."""
        self._reviewed, self._lesions = reviewed.copy(), lesions.copy()
        self.update()

    def show_here(self, z: int) -> None:
        """Which slice is shown."""
        if z != self._here:
            self._here = z
            self.update()

    def slice_at(self, x: float) -> int:
        """The slice whose cell is at ``x`` pixels from the left."""
        count = len(self._reviewed)
        return min(max(int(x * count / max(self.width(), 1)), 0), count - 1)

    def mousePressEvent(self, event: Any) -> None:
        """Go to the slice that was clicked."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.slice_chosen.emit(self.slice_at(event.position().x()))

    def mouseMoveEvent(self, event: Any) -> None:
        """Say which slice it is; with the button held, go there."""
        z = self.slice_at(event.position().x())
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.slice_chosen.emit(z)
        state = "reviewed" if self._reviewed[z] else "not reviewed"
        lesions = f", {self._marks}" if self._lesions[z] else ""
        where = event.globalPosition().toPoint()
        QToolTip.showText(where, f"Slice {z + 1}: {state}{lesions}", self)

    def paintEvent(self, event: Any) -> None:
        """Cells, marks of lesions below them, and a pointer at the slice that is shown."""
        painter = QPainter(self)
        count, width = len(self._reviewed), self.width()
        cell = width / count
        gap = 1.0 if cell >= 4 else 0.0
        top, height = 5.0, _HEIGHT - 5.0 - _MARK
        for z in range(count):
            x = z * cell
            colour = _REVIEWED if self._reviewed[z] else _OPEN
            # Cells may be narrower than a pixel: none may vanish.
            painter.fillRect(QRectF(x, top, max(cell - gap, 1.0), height), colour)
            if self._lesions[z]:
                mark = QRectF(x, _HEIGHT - _MARK + 2, max(cell - gap, 1.0), _MARK - 2)
                painter.fillRect(mark, _LESION)
        here = QRectF((self._here + 0.5) * cell - 1.5, 0, 3, _HEIGHT)
        painter.fillRect(here.adjusted(-1, 0, 1, 0), QColor("#000000"))
        painter.fillRect(here, _HERE)
        painter.end()
