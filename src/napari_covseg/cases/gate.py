"""The gate: whether a new model may take the place of the live one.

The rule (``docs/concepts/gate.md``): better overall, and in no class worse than a margin, both by
the 95 % bootstrap interval of the paired difference over patients (non-inferiority: Piaggio et al.
2012). Pure arithmetic on the figures of both models; what is measured, and on whom, is in
`napari_covseg.cases.held_out`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from napari_covseg.domain.errors import UsageError
from napari_covseg.metrics.paired import PairedDifference, paired_difference

JUDGED = ("lung", "infection", "ggo", "consolidation")
"""The classes, as `napari_covseg.metrics.overlap.CLASSES` names them."""
OVERALL, DICE, VOLUME = "overall", "dice", "volume_error_ml"
FEWEST_PATIENTS = 2
"""With fewer there is no interval."""

_CHANCE = {2: 4, 3: 8, 4: 12, 5: 13, 6: 14, 7: 16, 8: 17, 10: 22, 15: 26}
"""By patients: one in so many models that are no better has its interval above 0. From 1500 draws
of normal differences each; the nominal 1 in 40 is reached by large numbers only."""


class Way(StrEnum):
    """How patients are measured whom the model did not train on."""

    HELD_OUT = "held-out"
    FOLDS = "folds"


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """A class of a case: its Dice (NaN if in neither map), its volumes' difference, its volume."""

    dice: float
    volume_error_ml: float
    reference_ml: float

    def to_dict(self) -> dict[str, float | None]:
        """Plain values; NaN as None."""
        return {one.name: _number(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ClassFigures:
        """What `to_dict` wrote."""
        return cls(**{name: _read(value) for name, value in content.items()})


CaseFigures = Mapping[str, ClassFigures]
"""By class; classes of which the reference says nothing are not there."""


@dataclass(frozen=True, slots=True)
class GateRule:
    """What counts as worse.

    Parameters
    ----------
    dice_margin
        A class's Dice may fall by less than this.
    volume_margin_percent
        A class's absolute volume error may rise by less than this share of its mean volume in the
        references,
    volume_margin_ml
        or by less than this, whichever is more.

    Raises
    ------
    UsageError
        If a margin is no number of 0 or more.
    """

    dice_margin: float = 0.05
    volume_margin_percent: float = 10.0
    volume_margin_ml: float = 10.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{one.name}={value}: expected 0 or more")


@dataclass(frozen=True, slots=True)
class GateRow:
    """A line of the table: one figure of both models, over patients.

    ``difference`` is new minus old, ``low`` and ``high`` its 95 % interval; NaN where it cannot be
    given. ``margin`` is how much worse the new one may be; for ``overall`` it must be better by
    more than 0.
    """

    name: str
    figure: str
    old: float
    new: float
    difference: float
    low: float
    high: float
    margin: float
    patients: int
    passed: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate says: the verdict, why in one sentence, how sure that is, and the table.

    ``patients`` and ``cases`` were measured for both models; ``old_trained_on`` cases were left
    out because the old model had trained on their patients.
    """

    promote: bool
    reason: str
    certainty: str
    way: Way
    patients: int
    cases: int
    old_trained_on: int
    rows: tuple[GateRow, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; NaN as None."""
        content = asdict(self)
        content["way"] = self.way.value
        content["rows"] = [
            {key: _number(value) if isinstance(value, float) else value for key, value in r.items()}
            for r in content["rows"]
        ]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> GateDecision:
        """What `to_dict` wrote."""
        rows = []
        for row in content["rows"]:
            values: dict[str, Any] = {k: math.nan if v is None else v for k, v in row.items()}
            rows.append(GateRow(**values))
        return cls(**{**content, "way": Way(content["way"]), "rows": tuple(rows)})


def judge(
    old: Mapping[str, CaseFigures],
    new: Mapping[str, CaseFigures],
    patients: Mapping[str, str],
    way: Way,
    rule: GateRule | None = None,
) -> GateDecision:
    """Compare both models on the cases that have figures of both.

    Parameters
    ----------
    old, new
        Case to figures, against the same references. Cases on whose patients a model trained must
        not be there.
    patients
        The patient of each case: each counts once.
    way
        How they were measured.
    rule
        The margins.
    """
    rule = rule or GateRule()
    both = sorted(old.keys() & new.keys())
    count = len({patients[case] for case in both})
    left_out = len(new.keys() - old.keys())
    rows: list[GateRow] = []
    if count < FEWEST_PATIENTS:
        reason = _too_few(count, left_out)
    else:
        rows = [_overall(old, new, both, patients)]
        for name in JUDGED:
            rows.append(_dice_row(name, old, new, both, patients, rule))
            rows.append(_volume_row(name, old, new, both, patients, rule))
        reason = _reason(rows)
    promote = bool(rows) and all(row.passed for row in rows)
    told = certainty(rows[0].patients if rows else count, way)
    return GateDecision(promote, reason, told, way, count, len(both), left_out, tuple(rows))


def certainty(patients: int, way: Way) -> str:
    """How far a decision over so many patients can be trusted, in words."""
    if patients < FEWEST_PATIENTS:
        return "nothing can be said: a difference over patients needs at least two"
    one_in = next(chance for n, chance in reversed(_CHANCE.items()) if n <= patients)
    sure = "hardly sure" if patients < 5 else "fairly sure" if patients < 15 else "sure"
    text = f"{sure}: over {patients} patients about 1 in {one_in} models that are no better passes"
    if way is Way.FOLDS:
        text += "; each patient was measured by a training that left them out, as there are few"
    return text


def _overall(
    old: Mapping[str, CaseFigures],
    new: Mapping[str, CaseFigures],
    cases: Sequence[str],
    patients: Mapping[str, str],
) -> GateRow:
    """The mean Dice of the classes that a case's reference holds: the same for both models."""
    first, second = (
        {case: mean for case in cases if (mean := _mean_dice(figures[case])) is not None}
        for figures in (old, new)
    )
    found = paired_difference(first, second, patients)
    return _row(OVERALL, DICE, found, 0.0, passed=found.interval_95[0] > 0)


def _mean_dice(figures: CaseFigures) -> float | None:
    held = [one.dice for name in JUDGED if (one := figures.get(name)) and one.reference_ml > 0]
    return sum(held) / len(held) if held else None


def _dice_row(
    name: str,
    old: Mapping[str, CaseFigures],
    new: Mapping[str, CaseFigures],
    cases: Sequence[str],
    patients: Mapping[str, str],
    rule: GateRule,
) -> GateRow:
    # A class that a reference lacks has Dice 0 or none at all: false voxels are volume errors.
    held = [c for c in cases if name in old[c] and old[c][name].reference_ml > 0]
    found = paired_difference(
        {case: old[case][name].dice for case in held},
        {case: new[case][name].dice for case in held},
        patients,
    )
    low = found.interval_95[0] if found.patients > 1 else found.difference
    passed = not found.patients or low > -rule.dice_margin
    return _row(name, DICE, found, rule.dice_margin, passed, absent="no reference holds it")


def _volume_row(
    name: str,
    old: Mapping[str, CaseFigures],
    new: Mapping[str, CaseFigures],
    cases: Sequence[str],
    patients: Mapping[str, str],
    rule: GateRule,
) -> GateRow:
    known = [case for case in cases if name in old[case]]
    found = paired_difference(
        {case: abs(old[case][name].volume_error_ml) for case in known},
        {case: abs(new[case][name].volume_error_ml) for case in known},
        patients,
        lower_is_better=True,
    )
    volume = sum(old[case][name].reference_ml for case in known) / max(1, len(known))
    margin = max(rule.volume_margin_ml, rule.volume_margin_percent / 100 * volume)
    high = found.interval_95[1] if found.patients > 1 else found.difference
    passed = not found.patients or high < margin
    return _row(name, VOLUME, found, margin, passed, absent="no reference says anything of it")


def _row(
    name: str,
    figure: str,
    found: PairedDifference,
    margin: float,
    passed: bool,
    absent: str = "",
) -> GateRow:
    note = absent if not found.patients else "one patient: no interval"
    low, high = found.interval_95
    return GateRow(
        *(name, figure, found.first, found.second, found.difference, low, high, margin),
        patients=found.patients,
        passed=passed,
        note=note if found.patients < FEWEST_PATIENTS else "",
    )


def _too_few(count: int, left_out: int) -> str:
    reason = f"{count or 'no'} patient{'' if count == 1 else 's'} could be measured for both models"
    if left_out:
        reason += f" (on the patients of {left_out} cases the old one has trained)"
    return f"{reason}, at least {FEWEST_PATIENTS} are needed to compare them"


def _reason(rows: Sequence[GateRow]) -> str:
    overall, *classes = rows
    by = f"mean Dice {overall.difference:+.3f}, {_interval(overall)}, {overall.patients} patients"
    if overall.patients < FEWEST_PATIENTS:
        return _too_few(overall.patients, 0)
    if not overall.passed:
        if overall.low == overall.high == 0:
            return f"the models do not differ for any of {overall.patients} patients"
        if overall.high < 0:
            return f"worse overall: {by}"
        return f"not shown to be better overall: {by}"
    worse = [row for row in classes if not row.passed]
    if not worse:
        return f"better overall ({by}), and in no class worse than the margins allow"
    return f"better overall ({by}), but it may be worse in " + " and ".join(map(_told, worse))


def _told(row: GateRow) -> str:
    title = "GGO" if row.name == "ggo" else row.name
    interval = f", {_interval(row)}" if row.patients >= FEWEST_PATIENTS else ""
    if row.figure == DICE:
        return f"{title} (Dice {row.difference:+.3f}{interval}, margin {-row.margin:.3f})"
    return f"{title} (volume error {row.difference:+.1f} ml{interval}, margin {row.margin:+.1f} ml)"


def _interval(row: GateRow) -> str:
    digits = 3 if row.figure == DICE else 1
    return f"95 % interval {row.low:+.{digits}f} to {row.high:+.{digits}f}"


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _read(value: float | None) -> float:
    return math.nan if value is None else float(value)
