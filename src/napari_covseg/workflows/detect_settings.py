"""The choices a user has when looking for lesions. Light to import: parsers read it."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_covseg.domain.errors import UsageError

LEAST_SCORE = 0.05
"""The detector itself keeps nothing that scores less."""


@dataclass(frozen=True, slots=True)
class DetectSettings:
    """What a user may choose.

    Raises
    ------
    UsageError
        If the score is not from `LEAST_SCORE` to 1.
    """

    model: str = field(
        default="covseg-default",
        metadata={
            "help": "folder of a lesion detector (covseg detect-train), or a segmentation model by "
            "name or folder: each connected body that it sees is a lesion"
        },
    )
    device: str = field(
        default="auto", metadata={"help": "auto (the best there is), cpu, cuda, cuda:N or mps"}
    )
    score: float = field(
        default=0.5,
        metadata={"help": "findings that score less are left out, 0.05 to 1"},
    )

    def __post_init__(self) -> None:
        if not LEAST_SCORE <= self.score <= 1:
            raise UsageError(f"score {self.score}: expected {LEAST_SCORE} to 1")
