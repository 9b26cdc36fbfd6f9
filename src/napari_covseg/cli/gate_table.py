"""What the gate said, as a table and two sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_covseg.cli.scoring import aligned

if TYPE_CHECKING:
    from napari_covseg.cases.gate import GateDecision, GateRow


def decision_text(decision: GateDecision) -> str:
    """The verdict, the table, and how sure it is."""
    verdict = "passes the gate" if decision.promote else "refused by the gate"
    head = ["Class", "figure", "old", "new", "difference", "95 %", "may be", "patients", ""]
    lines = [f"{verdict}: {decision.reason}"]
    if decision.rows:
        lines += ["", aligned([head, *(_cells(row) for row in decision.rows)], left=2), ""]
    if decision.old_trained_on:
        lines.append(
            f"left out: {decision.old_trained_on} cases on whose patients the old model trained"
        )
    return "\n".join([*lines, decision.certainty])


def _cells(row: GateRow) -> list[str]:
    dice = row.figure == "dice"
    digits = 3 if dice else 1
    title = "GGO" if row.name == "ggo" else row.name
    worst = f"> {-row.margin:+.{digits}f}" if dice else f"< {row.margin:+.{digits}f}"
    if row.name == "overall":
        worst = "> 0"
    return [
        title,
        "Dice" if dice else "volume error ml",
        _shown(row.old, digits),
        _shown(row.new, digits),
        _shown(row.difference, digits, "+"),
        f"{_shown(row.low, digits, '+')} to {_shown(row.high, digits, '+')}",
        worst,
        str(row.patients),
        row.note or ("" if row.passed else "no"),
    ]


def _shown(value: float, digits: int, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}" if math.isfinite(value) else "–"
