"""The settings of a COVID-CT-Mask-Net's training, and the presets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from napari_covseg.domain.errors import UsageError
from napari_covseg.training.settings import read_settings, readers_of, setting

MODES = ("s", "s+bn", "all")


@dataclass(frozen=True)
class MaskNetPreset:
    """Every setting of a COVID-CT-Mask-Net's training.

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    name: str
    mode: str = setting("s", "what is trained: s (module S), s+bn (and batch norm) or all")
    candidates: int = setting(256, "ranked predictions of a picture")
    hidden: int = setting(1760, "width of S; 1760 are its 2.26 million parameters")
    least_side: float = setting(1.0, "boxes with a shorter side, in pixels, are left out")
    size: int = setting(256, "pixels a side that pictures are scaled to")
    keep: float = setting(1.0, "fraction of each side, around the middle, that is kept")
    pictures: int = setting(0, "train on so many, as many of each class as can be; 0: all")
    batch: int = setting(8, "pictures a step")
    epochs: int = setting(50, "epochs at most")
    learning_rate: float = setting(1e-3, "of Adam")
    weight_decay: float = setting(1e-3, "of Adam")
    validate_every: int = setting(1, "epochs between measurements; the last is always measured")
    minutes: float = setting(0.0, "train for so long at most; 0: to the last epoch")
    seed: int = setting(0, "of every random choice but the folds")

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"mode={self.mode}: expected one of {', '.join(MODES)}")
        for name in ("candidates", "hidden", "batch", "epochs", "validate_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: expected 1 or more")
        for name in ("least_side", "pictures", "weight_decay", "minutes", "seed"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name}={getattr(self, name)}: expected 0 or more")
        if self.size < 64 or self.size % 32:
            raise UsageError(f"size={self.size}: expected a multiple of 32, from 64")
        if not 0 < self.keep <= 1 or not 0 < self.learning_rate < float("inf"):
            raise UsageError("keep must be above 0 and up to 1, learning_rate above 0")

    def with_settings(self, settings: Iterable[str]) -> MaskNetPreset:
        """A copy with each ``FIELD=VALUE`` of ``settings`` in place.

        Raises
        ------
        UsageError
            If there is no such field, or its value cannot be read or used.
        """
        return replace(self, **read_settings(settings, _READERS))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON gives them back."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content


_READERS = readers_of(MaskNetPreset, without=("name",))
PRESETS: Mapping[str, MaskNetPreset] = MappingProxyType(
    {
        "fast": MaskNetPreset(name="fast"),
        "ter-sarkisov2022": MaskNetPreset(
            name="ter-sarkisov2022", mode="s+bn", size=512, learning_rate=1e-5
        ),
        "adapt": MaskNetPreset(
            name="adapt", mode="s+bn", size=512, learning_rate=1e-5, pictures=600, epochs=10
        ),
    }
)
"""S alone on features computed once; as published; and its quick adaptation to another set."""


def find_preset(name: str) -> MaskNetPreset:
    """The preset of that name.

    Raises
    ------
    UsageError
        If there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name!r} is not known; known: {', '.join(PRESETS)}")
    return PRESETS[name]
