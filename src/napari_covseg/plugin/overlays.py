"""What stands on the picture: orientation letters, slice, window, and the HU under the cursor."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_covseg.plugin.plain import Words

_MARGIN, _LINE = 8, 24
_STYLE = (
    "QLabel {{ color: white; background: rgba(0, 0, 0, 110); border-radius: 3px;"
    " padding: 1px 5px; font-size: {size}px; font-weight: {weight}; }}"
)
_LETTERS = ("left", "right", "top", "bottom")
_TEXTS = ("corner", "window", "readout")


class Hud(QObject):
    """Labels over the canvas; they follow its size, take no mouse events and die with it."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self._labels = {name: _label(canvas, 18, 700) for name in _LETTERS}
        self._labels.update({name: _label(canvas, 12, 400) for name in _TEXTS})
        canvas.installEventFilter(self)

    def set_letters(self, left: str, right: str, top: str, bottom: str) -> None:
        """What side of the patient each edge of the screen is; empty texts hide them."""
        for name, text in zip(_LETTERS, (left, right, top, bottom), strict=True):
            self._set(name, text)

    def set_text(self, where: str, text: str) -> None:
        """Set the text at ``corner`` (top left), ``window`` (top right) or ``readout`` (below)."""
        self._set(where, text)

    def text(self, where: str) -> str:
        """What stands there now."""
        return str(self._labels[where].text())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the canvas when its size changes."""
        if event is not None and event.type() in (QEvent.Type.Resize, QEvent.Type.Show):
            self._place_all()
        return False

    def _set(self, name: str, text: str) -> None:
        label = self._labels[name]
        if label.text() == text:
            return
        label.setText(text)
        label.setVisible(bool(text))
        label.adjustSize()
        self._place(name)

    def _place_all(self) -> None:
        for name in self._labels:
            self._place(name)

    def _place(self, name: str) -> None:
        label = self._labels[name]
        right = self._canvas.width() - label.width() - _MARGIN
        bottom = self._canvas.height() - label.height() - _MARGIN
        across = (self._canvas.width() - label.width()) // 2
        down = (self._canvas.height() - label.height()) // 2
        x, y = {
            "left": (_MARGIN, down),
            "right": (right, down),
            "top": (across, _MARGIN),
            "bottom": (across, bottom),
            "corner": (_MARGIN, _MARGIN),
            "window": (right, _MARGIN),
            "readout": (_MARGIN, _MARGIN + _LINE),
        }[name]
        label.move(x, y)


def _label(parent: QWidget, size: int, weight: int) -> QLabel:
    label = Words(parent=parent)
    label.setStyleSheet(_STYLE.format(size=size, weight=weight))
    label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    label.hide()
    return label
