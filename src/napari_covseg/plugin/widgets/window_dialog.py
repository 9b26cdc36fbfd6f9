"""What black and white of a windowed picture stand for."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin.plain import Words


class WindowDialog(QDialog):
    """Two numbers in HU, with the reader's reason above them."""

    def __init__(self, reason: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Not in Hounsfield units")
        self.setMinimumWidth(440)
        why = Words(reason)
        why.setWordWrap(True)
        self.low, self.high = _spin(-1350), _spin(150)
        form = QFormLayout()
        form.addRow("Black is", self.low)
        form.addRow("White is", self.high)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        for spin in (self.low, self.high):
            spin.valueChanged.connect(self._check)
        layout = QVBoxLayout(self)
        layout.addWidget(why)
        layout.addLayout(form)
        layout.addWidget(self.buttons)

    def limits_hu(self) -> tuple[float, float]:
        """``(low, high)`` in HU."""
        return float(self.low.value()), float(self.high.value())

    def _check(self) -> None:
        button = self.buttons.button(QDialogButtonBox.StandardButton.Open)
        button.setEnabled(self.low.value() < self.high.value())


def ask_window(reason: str) -> tuple[float, float] | None:
    """Let the user give the window; None if the dialog was closed."""
    dialog = WindowDialog(reason, QApplication.activeWindow())
    accepted = dialog.exec() == QDialog.DialogCode.Accepted
    window = dialog.limits_hu()
    dialog.deleteLater()
    return window if accepted else None


def _spin(value: int) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(-4000, 8000)
    spin.setSingleStep(50)
    spin.setSuffix(" HU")
    spin.setValue(value)
    return spin
