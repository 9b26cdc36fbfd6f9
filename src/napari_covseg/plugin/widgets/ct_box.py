"""The box that chooses one of the CTs in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from napari_covseg.plugin.layers import is_ct

if TYPE_CHECKING:
    from napari_covseg.plugin.session import Session


def ct_box(session: Session, tooltip: str) -> ComboBox:
    """A box with every CT of the session's viewer; `follow` keeps it so."""

    def cts(_box: Any) -> list[tuple[str, Any]]:
        return [(layer.name, layer) for layer in session.viewer.layers if is_ct(layer)]

    return ComboBox(name="ct", label="CT", choices=cts, tooltip=tooltip)


def follow(box: ComboBox, event: Any) -> None:
    """A layer came or went: a CT that came is chosen."""
    box.reset_choices()
    if event.type == "inserted" and is_ct(event.value):
        box.value = event.value
