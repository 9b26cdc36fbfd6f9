"""Which case store is open, and who works in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_covseg.plugin.plain import plain
from napari_covseg.plugin.recent_stores import recent_stores
from napari_covseg.plugin.widgets.pieces import paragraph

_EMPTY = (
    "A case store is a folder that keeps scans, every version of their labels, and the models "
    "trained from them. Open one, make a new one, or drop a folder here."
)
_OFFERED = 3


class StoreBar(QWidget):
    """The open store as a menu to change it, and the author's name."""

    store_chosen = Signal(object)
    open_asked = Signal()
    new_asked = Signal()
    author_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.empty = _Empty(self)
        self.store = QToolButton()
        self.store.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.store.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.menu = QMenu(self.store)
        self.menu.aboutToShow.connect(self._fill)
        self.store.setMenu(self.menu)
        self.author = QToolButton()
        self.author.setToolTip("Who works here, kept with every version; click to change it")
        self.author.clicked.connect(self.author_asked)
        self._row = QWidget()
        row = QHBoxLayout(self._row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.store, 1)
        row.addWidget(self.author)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._row)
        layout.addWidget(self.empty)

    def show_store(self, folder: Path | None, model: str, author: str) -> None:
        """The store that is open, if one is."""
        self._row.setVisible(folder is not None)
        self.empty.setVisible(folder is None)
        if folder is None:
            self.empty.refresh()
            return
        self.store.setText(f"{folder.name} · {model} ▾" if model else f"{folder.name} ▾")
        live = f"\nLive model: {model}" if model else ""
        self.store.setToolTip(plain(f"{folder}{live}\nClick to open another case store"))
        self.author.setText(author or "Who are you?")

    def _fill(self) -> None:
        self.menu.clear()
        self.menu.addAction("Open case store…", self.open_asked.emit)
        self.menu.addAction("New case store…", self.new_asked.emit)
        self.menu.addSeparator()
        for folder in recent_stores():
            self.menu.addAction(_name(folder), partial(self.store_chosen.emit, folder))


class _Empty(QWidget):
    """What to do when no store is open."""

    def __init__(self, bar: StoreBar) -> None:
        super().__init__()
        self._bar = bar
        self._recent: list[QPushButton] = []
        self.open = _button("Open case store…", bar.open_asked.emit)
        self.new = _button("New case store…", bar.new_asked.emit)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 8, 0, 8)
        for part in (paragraph(_EMPTY), self.open, self.new):
            self._layout.addWidget(part)
        self.refresh()

    def refresh(self) -> None:
        """Offer the stores that were open last."""
        for button in self._recent:
            button.deleteLater()
        self._recent = []
        for folder in recent_stores()[:_OFFERED]:
            button = _button(f"Open {_name(folder)}", partial(self._bar.store_chosen.emit, folder))
            button.setToolTip(plain(str(folder)))
            self._layout.addWidget(button)
            self._recent.append(button)


def _name(folder: Path) -> str:
    """Stores are often all called alike; the folder around tells them apart."""
    return f"{folder.parent.name}/{folder.name}" if folder.parent.name else folder.name


def _button(text: str, act: Callable[[], None]) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda *_: act())
    return button
