"""Numbers as a radiologist reads them: a dash for what is not known, never a rounded-down zero."""

from __future__ import annotations

from napari_covseg.quantify.figures import Amount, Range
from napari_covseg.quantify.severity import Score

NONE = "–"


def ml(value: float | None) -> str:
    """Millilitres: no decimals from 10 ml on, one below."""
    if value is None:
        return NONE
    return f"{value:.0f}" if value >= 9.95 else _one(value)


def percent(value: float | None) -> str:
    """One decimal."""
    return NONE if value is None else _one(value)


def whole(value: float | None) -> str:
    """No decimals, with a minus that is one."""
    return NONE if value is None else f"{round(value)}".replace("-", "−")


def between(ends: Range | None) -> str:
    """A likely range in percent; empty where there is none."""
    return "" if ends is None else f"{_one(ends[0])} to {_one(ends[1])}"


def share(amount: Amount | None) -> str:
    """A percentage with its likely range, if it has one."""
    if amount is None or amount.percent is None:
        return NONE
    ends = between(amount.percent_range)
    return f"{percent(amount.percent)} ({ends})" if ends else percent(amount.percent)


def points(score: Score) -> str:
    """A score of its maximum."""
    return NONE if score.value is None else f"{score.value} / {score.maximum}"


def points_between(score: Score) -> str:
    """A score's likely range; empty where there is none."""
    return "" if score.value_range is None else f"{score.value_range[0]} to {score.value_range[1]}"


def part_name(key: str) -> str:
    """``right_upper_third`` as a person writes it."""
    return key.replace("_", " ").capitalize()


def lobe_name(key: str) -> str:
    """``right_upper`` as a person writes it."""
    return f"{part_name(key)} lobe"


def chance_percent(value: float) -> str:
    """A probability; never 0 or 100 %: nothing that is estimated is that certain."""
    return "<1 %" if value < 0.01 else ">99 %" if value > 0.99 else f"{100 * value:.0f} %"


def one_or_many(count: int, what: str) -> str:
    """``1 lesion``, ``2 lesions``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _one(value: float) -> str:
    return "<0.1" if 0 < value < 0.05 else f"{value:.1f}"
