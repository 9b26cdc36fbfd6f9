"""The choices a user has when segmenting. Light to import: the command line's parser reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_covseg.domain.errors import UsageError

FLIPS = ("none", "left-right", "all")


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """What a user may choose; command-line flags and widget controls come from these fields.

    Raises
    ------
    UsageError
        If a value is not one of those offered.
    """

    model: str = field(
        default="covseg-default",
        metadata={"help": "name of a shipped model, or a folder with a model"},
    )
    device: str = field(
        default="auto",
        metadata={"help": "auto (the best there is), cpu, cuda, cuda:N or mps"},
    )
    flips: str = field(
        default="none",
        metadata={
            "help": "mirrored views to average: none (fastest), left-right (twice the time) "
            "or all (four times)",
            "choices": FLIPS,
        },
    )

    def __post_init__(self) -> None:
        if self.flips not in FLIPS:
            raise UsageError(f"unknown flips {self.flips!r}: use {', '.join(FLIPS)}")
