"""The settings of a segmentation as controls, made from the fields of `SegmentSettings`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from magicgui.widgets import ComboBox, Container

from napari_covseg.workflows.segment_settings import SegmentSettings

_FLIP_TEXTS = {
    "none": "none (fastest)",
    "left-right": "left-right (2 × the time)",
    "all": "all four (4 × the time)",
}
_TITLES = {"model": "Model", "device": "Device", "flips": "Mirrored views"}


class SettingsForm(Container):
    """One combo box for each field; the field's help is its tooltip."""

    def __init__(self, settings: SegmentSettings, models: Sequence[str]) -> None:
        self._choices = {
            "model": _with(settings.model, models),
            "device": _with(settings.device, ("auto", "cpu")),
            "flips": tuple(_FLIP_TEXTS),
        }
        super().__init__(
            widgets=[
                ComboBox(
                    name=field.name,
                    label=_TITLES[field.name],
                    choices=[(_FLIP_TEXTS.get(c, c), c) for c in self._choices[field.name]],
                    value=getattr(settings, field.name),
                    tooltip=field.metadata["help"],
                )
                for field in fields(SegmentSettings)
            ],
            labels=True,
        )
        self.margins = (0, 0, 0, 0)

    @property
    def settings(self) -> SegmentSettings:
        """What is chosen now."""
        return SegmentSettings(
            **{field.name: self[field.name].value for field in fields(SegmentSettings)}
        )

    def offer(self, name: str, choices: Sequence[str]) -> None:
        """Offer more choices for a field, keeping what is chosen."""
        box = self[name]
        kept = box.value
        box.choices = _with(kept, choices)
        box.value = kept


def _with(chosen: str, choices: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*choices, chosen]))
