"""What a classifier says of a CT, as a report shows it: research, never a diagnosis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from napari_covseg.reports.document import (
    Block,
    Columns,
    Heading,
    Notice,
    Paragraph,
    Picture,
    Table,
)
from napari_covseg.reports.wording import NONE, chance_percent, one_or_many

UNSURE = "Unsure: ask a second reader"
RESEARCH = (
    "Research, not a diagnosis: what a classifier says of the pictures, not what the CT shows."
)
_NEAR = 0.85
"""The share of the limit from which doubt is said to be near it."""


@dataclass(frozen=True, slots=True)
class ClassifierAnswer:
    """The answer of a classifier of pictures for a CT.

    Parameters
    ----------
    classes, probabilities, spread
        One of each class: its name, its probability, and the standard deviation over the ensemble.
    entropy, unsure_above
        Of the answer, in nats, and the level above which it is one of doubt; None without one.
    unsure
        Whether a second reader should be asked.
    slices, shown
        How many axial slices it is the mean of, and the one (from 0) that speaks most for it.
    warnings
        What is to be said of the CT as the classifier saw it.
    model, model_sha256
        Its name and version, and its hash.
    measured
        What it was measured at, as its card says; empty where the card is not at hand.
    heat
        The heat map on slice ``shown``, PNG; empty without one.
    """

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    spread: tuple[float, ...]
    entropy: float
    unsure_above: float | None
    unsure: bool
    slices: int = 0
    shown: int | None = None
    warnings: tuple[str, ...] = ()
    model: str = ""
    model_sha256: str = ""
    measured: str = ""
    heat: bytes = b""

    @property
    def label(self) -> str:
        """The class with the greatest probability."""
        return self.classes[self.probabilities.index(self.probability)]

    @property
    def probability(self) -> float:
        """Of that class."""
        return max(self.probabilities)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the picture."""
        return {
            "label": self.label,
            "probabilities": dict(zip(self.classes, self.probabilities, strict=True)),
            "spread": dict(zip(self.classes, self.spread, strict=True)),
            "entropy": self.entropy,
            "unsure_above": self.unsure_above,
            "unsure": self.unsure,
            "slices": self.slices,
            "slice_shown": self.shown,
            "warnings": list(self.warnings),
            "model": self.model,
            "model_sha256": self.model_sha256,
            "measured": self.measured,
            "notice": RESEARCH,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """Rows for the table of a case's figures."""
        place = {"group": "classifier", "note": f"{RESEARCH} {self.model}".strip()}
        figures = (("probability", self.probabilities), ("spread", self.spread))
        rows: list[dict[str, Any]] = [
            {**place, "name": name, "figure": figure, "value": value}
            for figure, values in figures
            for name, value in zip(self.classes, values, strict=True)
        ]
        rows.append({**place, "figure": "entropy", "value": self.entropy, "unit": "nat"})
        rows.append({**place, "figure": "unsure", "value": "yes" if self.unsure else "no"})
        return rows


def classification(answer: ClassifierAnswer | None) -> Iterator[Block]:
    """The section of a report; nothing without an answer."""
    if answer is None:
        return
    yield Heading("What a classifier says")
    yield Paragraph(RESEARCH, "strong")
    doubt = doubt_words(answer.entropy, answer.unsure_above, len(answer.classes))
    if answer.unsure:
        yield Notice(UNSURE, (doubt, *answer.warnings))
    said: tuple[Block, ...] = (_table(answer), Paragraph("\n".join(_words(answer, doubt))))
    if answer.heat:
        note = (
            "What spoke for the answer: the brighter, the more. The patient's right is on the left."
        )
        title = "Heat map" if answer.shown is None else f"Heat map, axial slice {answer.shown + 1}"
        picture = Picture(answer.heat, "png", title, f"{title}. {note}")
        yield Columns((said, (picture,)), (0.58, 0.42))
    else:
        yield from said


def classification_lines(answer: ClassifierAnswer) -> list[str]:
    """The same as plain text."""
    shares = ", ".join(f"{name} {chance_percent(value)}" for name, value, _ in _by_chance(answer))
    lines = [f"{answer.model}: {shares}." if answer.model else f"{shares}."]
    if answer.unsure:
        lines.append(f"{UNSURE}.")
    return [*lines, *answer.warnings, RESEARCH]


def doubt_words(entropy: float, limit: float | None, classes: int) -> str:
    """How unsure an answer is, measured by the model's own limit; both in nats."""
    most = math.log(max(2, classes))
    said = f"Doubt {100 * entropy / most:.0f} % of the most possible"
    if limit is None or not math.isfinite(limit):
        return f"{said}; no limit was set for this model."
    share = entropy / limit if limit else math.inf
    near = "above" if share > 1 else "just under" if share > _NEAR else "under"
    return f"{said}, {near} the limit of this model ({100 * limit / most:.0f} %)."


def measured_words(card: Mapping[str, Any]) -> str:
    """What a classifier was measured at, as its card says; empty where it says nothing."""
    used = card.get("training", {}).get("classifier")
    found = [one for one in card.get("figures", ()) if one.get("classifier") == used]
    if not found:
        return ""
    figures = found[0].get("of_ensemble", {})
    shown = [
        f"{title} {figures[key]:.2f}"
        for key, title in (("auc", "AUC"), ("accuracy", "accuracy"))
        if key in figures
    ]
    return f"On {found[0].get('pictures')} pictures held out: {', '.join(shown)}."


def _table(answer: ClassifierAnswer) -> Table:
    rows = tuple(
        (name, chance_percent(value), f"± {100 * spread:.0f} %")
        for name, value, spread in _by_chance(answer)
    )
    return Table(("Class", "Probability", "Spread"), rows, main=frozenset({0}))


def _words(answer: ClassifierAnswer, doubt: str) -> Iterator[str]:
    # Where it is one of doubt, a notice has said so.
    if not answer.unsure:
        yield doubt
        yield from answer.warnings
    if answer.slices:
        yield f"Mean over {one_or_many(answer.slices, 'axial slice')} with lung."
    yield f"Classifier: {answer.model or 'not known'}."
    yield answer.measured or "What it was measured at is in its card, which is not at hand."
    yield f"SHA-256 {answer.model_sha256 or NONE}"


def _by_chance(answer: ClassifierAnswer) -> list[tuple[str, float, float]]:
    rows = zip(answer.classes, answer.probabilities, answer.spread, strict=True)
    return sorted(rows, key=lambda row: -row[1])
