"""The settings of a segmentation as controls, made from the fields of `SegmentSettings`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, fields
from pathlib import Path

from magicgui.widgets import ComboBox, Container

from napari_covseg.workflows.segment_settings import FLIPS, SegmentSettings

CHOOSE = "?"
"""The choice of a model that asks for its folder."""
_TEXTS = {
    "none": "none (fastest)",
    "left-right": "left-right (2 × the time)",
    "all": "all four (4 × the time)",
    CHOOSE: "choose a folder…",
}
_TITLES = {"model": "Model", "device": "Device", "flips": "Mirrored views"}


class SettingsForm(Container):
    """One combo box for each field; the field's help is its tooltip."""

    def __init__(self, settings: SegmentSettings, models: Sequence[str]) -> None:
        self._model = settings.model
        self._offered: dict[str, tuple[str, ...]] = {
            "model": _with(settings.model, (*models, CHOOSE)),
            "device": _with(settings.device, ("auto", "cpu")),
            "flips": FLIPS,
        }
        super().__init__(widgets=[self._box(field) for field in fields(SegmentSettings)])
        for field in fields(SegmentSettings):
            self[field.name].value = getattr(settings, field.name)
        self["model"].changed.connect(self._on_model)

    def _box(self, field: Field[str]) -> ComboBox:
        # Choices as a function: magicgui asks again for them whenever a box changes its parent.
        return ComboBox(
            name=field.name,
            label=_TITLES[field.name],
            choices=lambda _box: [(_text(c), c) for c in self._offered[field.name]],
            tooltip=field.metadata["help"],
        )

    @property
    def settings(self) -> SegmentSettings:
        """What is chosen now."""
        values = {field.name: self[field.name].value for field in fields(SegmentSettings)}
        if values["model"] == CHOOSE:
            values["model"] = self._model
        return SegmentSettings(**values)

    @property
    def wants_folder(self) -> bool:
        """Whether the user wants to name a model's folder."""
        return bool(self["model"].value == CHOOSE)

    def take_folder(self, folder: str) -> None:
        """The folder that was named; without one the model stays what it was."""
        chosen = folder or self._model
        models = [choice for choice in self._offered["model"] if choice != CHOOSE]
        self.offer("model", (*_with(chosen, models), CHOOSE))
        self["model"].value = chosen

    def offer(self, name: str, choices: Sequence[str]) -> None:
        """Offer choices for a field; what is chosen stays."""
        self._offered[name] = _with(self[name].value, choices)
        self[name].reset_choices()

    def _on_model(self, model: str) -> None:
        if model != CHOOSE:
            self._model = model


def _with(chosen: str, choices: Sequence[str]) -> tuple[str, ...]:
    return tuple(choices) if chosen in choices else (chosen, *choices)


def _text(choice: str) -> str:
    """A folder goes by its name: the path would not fit."""
    return _TEXTS.get(choice) or Path(choice).name or choice
