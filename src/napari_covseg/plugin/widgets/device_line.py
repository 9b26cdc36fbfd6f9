"""What the segmentation will run on, and how to get something faster."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QWidget

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.plain import Markup
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari_covseg.models.device import Device

_LINK = "#4a90e2"  # readable on napari's dark and light themes
LOOKING = "Looking for a GPU…"


class DeviceLine(Markup):
    """Finds the device in a thread, since importing torch takes seconds.

    ``found`` brings the device, or None if the one asked for cannot be used.
    """

    found = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(LOOKING, parent)
        self.setWordWrap(True)
        self.setOpenExternalLinks(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._runner = Runner()

    def look(self, requested: str) -> None:
        """Find out what ``requested`` (auto, cpu, cuda, ...) is on this machine."""
        self.setText(LOOKING)

        def steps() -> Steps[Device]:
            from napari_covseg.models.device import choose_device

            yield Progress(0, 1, LOOKING)
            return choose_device(requested)

        self._runner.start(
            steps,
            Callbacks(
                progress=lambda step: None,
                result=self._show,
                error=self._fail,
                cancelled=lambda: None,
            ),
        )

    def stop(self) -> None:
        """Forget a search that is under way."""
        self._runner.abandon()

    def _show(self, device: Device) -> None:
        self.setText(_html(f"Runs on {device.title}.", device.hint))
        self.found.emit(device)

    def _fail(self, error: Exception) -> None:
        self.setText(_html("", str(error)))
        self.found.emit(None)


def _html(text: str, hint: str) -> str:
    linked: list[Any] = []
    for word in hint.split():
        bare = word.strip("(),.;")
        if bare.startswith("https://"):
            word = word.replace(bare, f'<a href="{bare}" style="color: {_LINK};">pytorch.org</a>')
        else:
            word = escape(word)
        linked.append(word)
    small = f'<span style="font-size: small;">{" ".join(linked)}</span>' if linked else ""
    return "<br>".join(part for part in (escape(text), small) if part)
