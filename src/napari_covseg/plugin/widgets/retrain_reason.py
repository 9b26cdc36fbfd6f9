"""A model is promoted by hand only with a reason, which is kept for good."""

from __future__ import annotations

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QPlainTextEdit, QVBoxLayout, QWidget

from napari_covseg.plugin.plain import Words
from napari_covseg.plugin.widgets.pieces import paragraph

ASK = "Your reason, kept with the model for good:"


class ReasonDialog(QDialog):
    """Asks why; OK can be pressed once something was said."""

    def __init__(self, title: str, told: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setMinimumWidth(420)
        self.text = QPlainTextEdit()
        self.text.setFixedHeight(70)
        self.text.setTabChangesFocus(True)
        kinds = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(kinds.Ok | kinds.Cancel)
        self.ok = self.buttons.button(kinds.Ok)
        self.ok.setText("Promote")
        self.ok.setEnabled(False)
        layout = QVBoxLayout(self)
        layout.addWidget(paragraph(told))
        layout.addWidget(Words(ASK))
        layout.addWidget(self.text)
        layout.addWidget(self.buttons)
        self.text.textChanged.connect(lambda: self.ok.setEnabled(bool(self.reason)))
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    @property
    def reason(self) -> str:
        """What was said."""
        return " ".join(self.text.toPlainText().split())


def ask_reason(parent: QWidget, title: str, told: str) -> str | None:
    """The reason for promoting; None if it was cancelled."""
    dialog = ReasonDialog(title, told, parent)
    try:
        agreed = dialog.exec() == QDialog.DialogCode.Accepted
        return dialog.reason if agreed and dialog.reason else None
    finally:
        dialog.deleteLater()
