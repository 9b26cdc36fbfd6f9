"""What accepted cases cost, as plain values: each case, each person, each model's cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class CaseEffort:
    """What one accepted case cost.

    Parameters
    ----------
    case, patient
        Pseudonyms.
    accepted, by
        When (UTC) and by whom its labels were accepted.
    people
        Who drew, in the order of their first version.
    model
        SHA-256 of the model whose prediction was corrected; None: drawn or imported without one.
    minutes
        By all people until it was accepted; None if none were told.
    slices
        How many were reviewed.
    edited_voxels, edited_ml
        How much of them differs between prediction and accepted labels; None without a prediction.
    dice
        Between the two, by class; a class that is in neither is left out.
    problem
        Why nothing could be compared: a label file is gone or was changed.
    """

    case: str
    patient: str
    accepted: datetime
    by: str
    people: tuple[str, ...]
    model: str | None
    minutes: float | None
    slices: int
    edited_voxels: int | None
    edited_ml: float | None
    dice: Mapping[str, float]
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "accepted": self.accepted.isoformat(), "people": list(self.people)}


@dataclass(frozen=True, slots=True)
class PersonEffort:
    """What one person did on accepted cases: ``edited_ml`` adds up what each version changed."""

    person: str
    cases: int
    minutes: float
    slices: int
    edited_voxels: int
    edited_ml: float


@dataclass(frozen=True)
class Generation:
    """Cases that one model had predicted, or none (``model`` is None), with means over them.

    ``minutes`` is over the ``timed`` ones, in which somebody told how long it took; a mean over
    nothing is None, a class in none of them is not in ``dice``.
    """

    model: str | None
    name: str
    cases: int
    timed: int
    minutes: float | None
    seconds_per_slice: float | None
    edited_ml: float | None
    dice: Mapping[str, float]


@dataclass(frozen=True)
class Effort:
    """Of a store: ``cases`` in the order of their acceptance, ``generations`` of their first."""

    cases: tuple[CaseEffort, ...]
    people: tuple[PersonEffort, ...]
    generations: tuple[Generation, ...]

    @property
    def minutes(self) -> float:
        """All minutes that were told."""
        return sum(one.minutes or 0.0 for one in self.cases)

    @property
    def edited_voxels(self) -> int:
        """All voxels in which accepted labels differ from predictions."""
        return sum(one.edited_voxels or 0 for one in self.cases)

    @property
    def edited_ml(self) -> float:
        """The same in ml."""
        return sum(one.edited_ml or 0.0 for one in self.cases)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "total": {
                "cases": len(self.cases),
                "without_prediction": sum(one.model is None for one in self.cases),
                "minutes": self.minutes,
                "slices": sum(one.slices for one in self.cases),
                "edited_voxels": self.edited_voxels,
                "edited_ml": self.edited_ml,
            },
            "generations": [asdict(one) for one in self.generations],
            "people": [asdict(one) for one in self.people],
            "cases": [one.to_dict() for one in self.cases],
            "verdict": verdict(self),
        }


def verdict(effort: Effort) -> str:
    """Whether the loop saves time, in a sentence: its last model against what was before."""
    told = [one for one in effort.generations if one.model is not None]
    drawn = [one for one in effort.generations if one.model is None and one.timed]
    if not told or (not drawn and len(told) < 2):
        return "nothing to compare yet: that takes accepted cases of two models"
    first, last = (drawn or told)[0], told[-1]
    changes = [
        f"{what} a case went from {before:.1f} to {now:.1f}{_percent(before, now)}"
        for what, before, now in (
            ("minutes", first.minutes, last.minutes),
            ("edited ml", first.edited_ml, last.edited_ml),
        )
        if before is not None and now is not None
    ]
    if not changes:
        return f"nothing to compare yet: no minutes were told for {first.name} or {last.name}"
    few = min(first.cases, last.cases)
    doubt = f"; few cases ({first.cases} and {last.cases}), so this says little" if few < 5 else ""
    return f"from {first.name} to {last.name}: {', '.join(changes)}{doubt}"


def _percent(before: float, now: float) -> str:
    return f" ({100 * (now / before - 1):+.0f} %)" if before > 0 else ""
