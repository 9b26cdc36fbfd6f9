"""Buttons for what a reader of CT changes all the time: window, plane, overlay."""

from __future__ import annotations

from qtpy.QtWidgets import QButtonGroup, QGridLayout, QPushButton, QWidget

from napari_covseg.plugin.planes import PLANES
from napari_covseg.plugin.viewing import OVERLAY_KEY, PLANE_KEYS, Viewing
from napari_covseg.plugin.window_level import PRESET_KEYS, PRESETS

DRAG_TIP = "Window and level: drag on the picture with the right mouse button."
WHEEL_TIP = "The wheel turns slices, Ctrl and the wheel zooms."


class ViewBar(QWidget):
    """Window presets, planes and the overlay's visibility."""

    def __init__(self, viewing: Viewing, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.presets = {
            name: _button(name, f"Level {w.level:.0f}, width {w.width:.0f} HU. {DRAG_TIP}", key)
            for (name, w), key in zip(PRESETS.items(), PRESET_KEYS.values(), strict=True)
        }
        self.planes = {
            plane.name: _button(plane.name, f"{plane.name} slices. {WHEEL_TIP}", key)
            for plane, key in zip(PLANES, PLANE_KEYS.values(), strict=True)
        }
        self.overlay = _button(
            "Hide overlay", "Hide the lungs and lesions, or show them", OVERLAY_KEY
        )
        group = QButtonGroup(self)
        for button in self.planes.values():
            button.setCheckable(True)
            group.addButton(button)
        self.planes["Axial"].setChecked(True)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for column, (name, button) in enumerate(self.presets.items()):
            button.clicked.connect(lambda _=False, name=name: viewing.set_preset(name))
            layout.addWidget(button, 0, column)
        for column, (plane, button) in enumerate(zip(PLANES, self.planes.values(), strict=True)):
            button.clicked.connect(lambda _=False, plane=plane: viewing.set_plane(plane))
            layout.addWidget(button, 1, column)
        layout.addWidget(self.overlay, 2, 0, 1, 3)
        self.overlay.clicked.connect(viewing.toggle_overlay)

    def show_state(self, plane: str, overlay_shown: bool | None) -> None:
        """Follow what keys and napari's own controls changed; None: there is no overlay."""
        self.planes[plane].setChecked(True)
        self.overlay.setVisible(overlay_shown is not None)
        text = "Hide overlay" if overlay_shown else "Show overlay"
        self.overlay.setText(f"{text}  ({OVERLAY_KEY})")
        self.overlay.setShortcut(OVERLAY_KEY)  # a new text takes it away


def _button(name: str, tip: str, key: str) -> QPushButton:
    button = QPushButton(f"{name}  ({key})")
    button.setToolTip(f"{tip} Key: {key}.")
    button.setShortcut(key)
    return button
