"""Words of a file or a person in Qt, which takes what looks like HTML for HTML.

All labels of the plugin are one of the two here; tooltips, questions and notices whose words are
not fixed go through `plain`. A test holds both.
"""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget


def plain(text: str) -> str:
    """The text as tooltips and boxes show it letter by letter; nearly always it is the same."""
    if not Qt.mightBeRichText(text):
        return text
    lines = escape(text).replace("\n", "<br>")
    return f"<span>{lines}</span>"


class Words(QLabel):
    """A label that shows its text letter by letter."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText(text)


class Markup(QLabel):
    """A label that shows HTML, in which whoever sets it has escaped what is not fixed."""

    def __init__(self, html: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setText(html)
