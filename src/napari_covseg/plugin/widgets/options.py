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
        self._live: str | None = None
        self._live_text = ""
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
            choices=lambda _box: [(self._text(c), c) for c in self._offered[field.name]],
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

    def offer_live(self, source: str | None, store: str) -> None:
        """Offer the live model of a case store; if the last one was chosen, the new one is.

        Parameters
        ----------
        source
            Folder of the model; None where the live one is that of the package.
        store
            The store's name.
        """
        before, chosen = self._live, self.settings.model
        self._live, self._live_text = source, f"live model of {store}"
        models = [one for one in self._offered["model"] if one not in (before, source, CHOOSE)]
        if before is not None and chosen == before:
            chosen = source or models[0]
        known = models if source is None else (source, *models)
        self._offered["model"] = (*_with(chosen, known), CHOOSE)
        self["model"].reset_choices()
        self["model"].value = chosen

    def _text(self, choice: str) -> str:
        """A folder goes by its name: the path would not fit."""
        if choice == self._live:
            return self._live_text
        return _TEXTS.get(choice) or Path(choice).name or choice

    def _on_model(self, model: str) -> None:
        if model != CHOOSE:
            self._model = model


def _with(chosen: str, choices: Sequence[str]) -> tuple[str, ...]:
    return tuple(choices) if chosen in choices else (chosen, *choices)
