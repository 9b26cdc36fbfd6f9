"""A reader's own severity scores, held against the measured ones. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_covseg.plugin.quantify_texts import number_text, score_parts

if TYPE_CHECKING:
    from napari_covseg.quantify.case import Quantification

KINDS = {
    "ct_score_25": ("25-point score: 0 to 5 a lobe", 5, "lobes"),
    "total_severity_score": ("Total severity score: 0 to 4 a lobe", 4, "lobes"),
    "ct_severity_score": ("CT severity score: 0 to 2 for each of 20 regions", 2, "regions"),
}
"""Key of a score to its title, the most points of a part, and what its parts are."""


@dataclass(frozen=True, slots=True)
class ReaderScores:
    """A reader's points by lobe (``right_upper``) or region; parts not yet read are left out."""

    kind: str
    points: Mapping[str, int]


def part_names(kind: str) -> tuple[str, ...]:
    """The keys of a score's parts, in the order they are read in: right before left."""
    from napari_covseg.quantify.figures import LOBES, TWENTY

    return tuple(TWENTY) if KINDS[kind][2] == "regions" else tuple(LOBES)


def agreement_text(reader: ReaderScores, result: Quantification | None) -> str:
    """How far a reader's points and the measured ones agree, in sentences; '' before any."""
    from napari_covseg.metrics.agreement import score_agreement

    if not reader.points:
        return "Choose your points for each part; they are compared with the measured ones."
    if result is None:
        return "Nothing is measured yet to compare with."
    score, parts = result.scores[reader.kind], KINDS[reader.kind][2]
    ours = score_parts(score)
    shared = [name for name in part_names(reader.kind) if name in reader.points and name in ours]
    if score.value is None or not shared:
        return f"There is no measured score to compare with: {score.note}."
    mine = [reader.points[name] for name in shared]
    theirs = [ours[name] for name in shared]
    apart = [abs(a - b) for a, b in zip(mine, theirs, strict=True)]
    whole = len(shared) == len(part_names(reader.kind))
    total = f"of {score.maximum}" if whole else f"over the {len(shared)} {parts} you read"
    text = (
        f"Yours {sum(mine)}, measured {sum(theirs)} {total}. Same points in {apart.count(0)} of "
        f"{len(shared)} {parts}, one apart in {apart.count(1)}, more in "
        f"{sum(a > 1 for a in apart)}."
    )
    found = score_agreement(dict(zip(shared, mine, strict=True)), ours)
    weighted = found["kappa_quadratic"]
    if weighted is None:
        return f"{text} No kappa: all points are the same."
    plain = found["kappa"]
    low, high = weighted.interval_95
    return (
        f"{text} Weighted kappa (quadratic) {number_text(weighted.value, 2)}, 95 % interval "
        f"{number_text(max(-1.0, low), 2)} to {number_text(high, 2)}"
        f"{'' if plain is None else f'; plain {number_text(plain.value, 2)}'}. It is of one "
        f"patient's {len(shared)} {parts} and only a hint."
    )
