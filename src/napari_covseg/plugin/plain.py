"""Words of a file or a person in Qt, which takes what looks like HTML for HTML."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt


def plain(text: str) -> str:
    """The text as labels and tooltips show it letter by letter; nearly always it is the same."""
    if not Qt.mightBeRichText(text):
        return text
    lines = escape(text).replace("\n", "<br>")
    return f"<span>{lines}</span>"
