"""The choices a user has when classifying. Light to import: the command line's parser reads it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ClassifySettings:
    """What a user may choose; command-line flags and widget controls come from these fields."""

    model: str = field(
        default="covseg-classify",
        metadata={"help": "name of a shipped classifier, or a folder with one"},
    )
    weights: str = field(
        default="",
        metadata={"help": "file of ImageNet weights, for a classifier that was trained with them"},
    )
    device: str = field(
        default="auto",
        metadata={"help": "auto (the best there is), cpu, cuda, cuda:N or mps"},
    )
    explain: bool = field(
        default=False,
        metadata={"help": "also make heat maps of where the network looks (Grad-CAM)"},
    )
