"""Who works here: asked once, then remembered."""

from __future__ import annotations

from qtpy.QtWidgets import QInputDialog, QLineEdit, QWidget

from napari_covseg.cases.author import known_author, remember_author

_TITLE = "Who works here?"
_TEXT = "Your name or initials, kept with every version you save:"


def author_or_ask(parent: QWidget, *, again: bool = False) -> str | None:
    """The author's name; the first time, or with ``again``, a dialog asks for it.

    None if the dialog was cancelled or left empty.

    Raises
    ------
    UsageError
        If the name is too long.
    ResourceError
        If it cannot be remembered.
    """
    known = known_author()
    if known is not None and not again:
        return known
    mode = QLineEdit.EchoMode.Normal
    name, answered = QInputDialog.getText(parent, _TITLE, _TEXT, mode, known or "")
    return remember_author(name) if answered and name.strip() else None
