"""How a widget asks before it does what cannot be taken back."""

from __future__ import annotations

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_covseg.plugin.plain import plain


def agreed(parent: QWidget, question: str) -> bool:
    """Whether the user says yes."""
    buttons = QMessageBox.StandardButton
    answer = QMessageBox.question(
        parent, "napari-covseg", plain(question), buttons.Yes | buttons.No
    )
    return bool(answer == buttons.Yes)
