"""What a network learns from images alone, as settings. Light to import."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from napari_covseg.domain.errors import UsageError
from napari_covseg.training.settings import read_settings, readers_of, setting

TASKS = ("inpainting", "rotation")
RECONSTRUCTIONS = ("cross_entropy", "squared")


@dataclass(frozen=True)
class Pretext:
    """A task without labels (Singh et al. 2018, Fung et al. 2020).

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    task: str = setting("inpainting", "inpainting or rotation")
    kept: float = setting(0.75, "share of an image that the hardest masks leave")
    kept_first: float = setting(0.95, "share that the first masks leave")
    harder_until: float = setting(0.5, "share of the training after which masks are the hardest")
    alpha: float = setting(1.0, "how sharp the border of a mask is")
    coach_every: int = setting(2, "steps of the network for one of the coach")
    coach_rate: float = setting(1.0, "learning rate of the coach, as a share of the network's")
    reconstruction: str = setting(
        "cross_entropy", "loss of a painted image: cross_entropy, squared"
    )

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError(f"task {self.task}: use {' or '.join(TASKS)}")
        if self.reconstruction not in RECONSTRUCTIONS:
            raise UsageError(
                f"reconstruction={self.reconstruction}: use {' or '.join(RECONSTRUCTIONS)}"
            )
        if not 0 < self.kept <= self.kept_first <= 1:
            raise UsageError(
                f"kept={self.kept}, kept_first={self.kept_first}: expected shares above 0, the "
                "first at least as large as the last"
            )
        for name in ("alpha", "coach_every"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}={getattr(self, name)}: expected more than 0")
        if not 0 <= self.harder_until <= 1:
            raise UsageError(f"harder_until={self.harder_until}: expected 0 to 1")
        if not self.coach_rate >= 0:
            raise UsageError(f"coach_rate={self.coach_rate}: expected 0 or more")

    def kept_at(self, done: float) -> float:
        """The share of an image that masks leave when ``done`` of the training is behind."""
        risen = min(1.0, done / self.harder_until) if self.harder_until else 1.0
        return self.kept_first + (self.kept - self.kept_first) * risen

    def with_settings(self, settings: Iterable[str]) -> tuple[Pretext, list[str]]:
        """A copy with each ``FIELD=VALUE`` that is one of its own, and those that are not.

        Raises
        ------
        UsageError
            If a value cannot be read or used.
        """
        own: list[str] = []
        others: list[str] = []
        for one in settings:
            (own if one.partition("=")[0] in _READERS and "=" in one else others).append(one)
        return replace(self, **read_settings(own, _READERS)), others

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


_READERS = readers_of(Pretext)


def pretext_help() -> str:
    """A line for each field: its name, what it means and its value."""
    return "\n".join(
        f"  {one.name}: {one.metadata['help']} ({one.default})" for one in fields(Pretext)
    )
