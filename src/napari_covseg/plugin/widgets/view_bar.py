"""Buttons for what a reader of CT changes all the time: window, planes, slab, ruler, overlay."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QPushButton,
    QWidget,
)

from napari_covseg.plugin.plain import plain
from napari_covseg.plugin.planes import PLANES
from napari_covseg.plugin.reading import LINKED_KEY, RULER_KEY, SLAB_KEY, reading_of
from napari_covseg.plugin.slabs import KINDS, LEAST_MM, MOST_MM, SLICE, Slab
from napari_covseg.plugin.viewing import OVERLAY_KEY, PLANE_KEYS, Viewing
from napari_covseg.plugin.widgets.found_again import FoundAgain
from napari_covseg.plugin.window_level import PRESET_KEYS, PRESETS

DRAG_TIP = "Window and level: drag on the picture with the right mouse button."
WHEEL_TIP = "The wheel turns slices, Ctrl and the wheel zooms."


class ViewBar(QWidget):
    """Window presets, planes, side views, slab, ruler, the overlay, and what was found before."""

    def __init__(self, viewing: Viewing, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewing, self.reading = viewing, reading_of(viewing.viewer)
        self._retired = False
        self.presets = {
            name: _button(name, f"Level {w.level:.0f}, width {w.width:.0f} HU. {DRAG_TIP}", key)
            for (name, w), key in zip(PRESETS.items(), PRESET_KEYS.values(), strict=True)
        }
        self.planes = {
            plane.name: _button(plane.name, f"{plane.name} slices. {WHEEL_TIP}", key)
            for plane, key in zip(PLANES, PLANE_KEYS.values(), strict=True)
        }
        tip = "Show the other two planes, linked by a crosshair; a click on a picture moves it."
        self.linked = _button("3 planes", tip, LINKED_KEY)
        tip = "Drag on the picture to measure a distance. Again: back to moving the picture."
        self.ruler = _button("Ruler", tip, RULER_KEY)
        self.overlay = _button(
            "Hide overlay", "Hide the lungs and lesions, or show them", OVERLAY_KEY
        )
        self.slab, self.mm = QComboBox(), QDoubleSpinBox()
        self.tools = (self.linked, self.ruler, self.overlay, self.slab, self.mm)
        """In the order they are read."""
        self.found = FoundAgain(viewing.viewer)
        self._build()
        self._connect()
        self._show_reading()

    def _build(self) -> None:
        group = QButtonGroup(self)
        for button in self.planes.values():
            button.setCheckable(True)
            group.addButton(button)
        self.planes["Axial"].setChecked(True)
        for button in (self.linked, self.ruler):
            button.setCheckable(True)
        for kind in KINDS:
            title = "Single slices" if kind == SLICE else kind
            self.slab.addItem(f"{title}  ({SLAB_KEY})", kind)
        self.slab.setToolTip(
            "MIP: the brightest of some slices, for vessels and nodules. MinIP: the darkest, for "
            f"airways and emphysema. Key: {SLAB_KEY}."
        )
        self.mm.setRange(LEAST_MM, MOST_MM)
        self.mm.setDecimals(0)
        self.mm.setSingleStep(5)
        self.mm.setValue(self.reading.slab.mm)
        self.mm.setSuffix(" mm")
        self.mm.setToolTip("How thick the slab is")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.found, 0, 0, 1, 3)
        rows = (
            (*self.presets.values(),),
            (*self.planes.values(),),
            (self.linked, self.ruler, self.overlay),
        )
        for row, buttons in enumerate(rows, start=1):
            for column, button in enumerate(buttons):
                layout.addWidget(button, row, column)
        layout.addWidget(self.slab, 4, 0, 1, 2)
        layout.addWidget(self.mm, 4, 2)

    def _connect(self) -> None:
        viewing, reading = self.viewing, self.reading
        for name, button in self.presets.items():
            button.clicked.connect(lambda _=False, name=name: viewing.set_preset(name))
        for plane, button in zip(PLANES, self.planes.values(), strict=True):
            button.clicked.connect(lambda _=False, plane=plane: viewing.set_plane(plane))
        self.overlay.clicked.connect(viewing.toggle_overlay)
        self.linked.clicked.connect(lambda on: reading.set_linked(bool(on)))
        self.ruler.clicked.connect(lambda on: reading.set_ruling(bool(on)))
        self.slab.activated.connect(self._set_slab)
        self.mm.valueChanged.connect(self._set_slab)
        reading.changed.connect(self._show_reading)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(ViewBar.retire, self))

    def retire(self, *_: Any) -> None:
        """From now on nothing here may touch a Qt object."""
        self._retired = True

    def show_state(self, plane: str, overlay_shown: bool | None) -> None:
        """Follow what keys and napari's own controls changed; None: there is no overlay."""
        self.planes[plane].setChecked(True)
        self.overlay.setEnabled(overlay_shown is not None)
        text = "Show overlay" if overlay_shown is False else "Hide overlay"
        self.overlay.setText(f"{text}  ({OVERLAY_KEY})")
        self.overlay.setShortcut(OVERLAY_KEY)  # a new text takes it away

    def _set_slab(self, _value: Any = None) -> None:
        self.reading.set_slab(Slab(str(self.slab.currentData()), self.mm.value()))

    def _show_reading(self) -> None:
        """Follow what keys changed."""
        if self._retired:
            return
        self.linked.setChecked(self.reading.linked)
        self.ruler.setChecked(self.reading.ruling)
        slab = self.reading.slab
        self.slab.setCurrentIndex(self.slab.findData(slab.kind))
        self.mm.setEnabled(slab.kind != SLICE)
        if self.mm.value() != slab.mm:
            self.mm.blockSignals(True)
            self.mm.setValue(slab.mm)
            self.mm.blockSignals(False)


def _button(name: str, tip: str, key: str) -> QPushButton:
    button = QPushButton(f"{name}  ({key})")
    button.setToolTip(plain(f"{tip} Key: {key}."))
    button.setShortcut(key)
    return button
