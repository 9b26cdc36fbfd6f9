"""Severity scores: points for the share of each lobe or region that is diseased.

All are published as visual scores; here the share is measured. Where a paper leaves open to which
band a limit belongs, or leaves a gap between bands, the functions say what was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from napari_covseg.quantify.figures import Amount, RegionFigures


@dataclass(frozen=True, slots=True)
class Score:
    """A severity score.

    ``value`` is the sum of ``parts`` (points by lobe or region) and lies between 0 and
    ``maximum``; ``value_range`` is the range it likely lies in (`Doubt`), None where nothing says
    how sure the model was. ``approximate`` says that the lobes or regions are no
    measured ones. Where a lobe or region is missing, ``value`` is None and ``note`` says why.
    """

    title: str
    value: int | None
    maximum: int
    value_range: tuple[int, int] | None
    parts: Mapping[str, int | None]
    approximate: bool
    note: str


def quarter_points(percent: float) -> int:
    """0 to 4 for none, up to 25 %, up to 50 %, up to 75 %, more.

    Bernheim et al., Radiology 2020;295:200463 and Li et al., Eur Radiol 2020;30:4407 (total
    severity score: 0 %, 1-25 %, 26-50 %, 51-75 %, 76-100 % of each lobe); Chaganti et al., Radiol
    Artif Intell 2020;2:e200048 (lung severity score, 0, 1-25, 25-50, 50-75, > 75 %). Chosen: 25, 50
    and 75 % belong to the lower band, and anything above 0 is 1.
    """
    return sum(percent > limit for limit in (0, 25, 50, 75))


def five_points(percent: float) -> int:
    """0 to 5 for none, below 5 %, 5 to 25 %, above 25 and below 50 %, 50 to 75 %, above 75 %.

    Pan et al., Radiology 2020;295:715, after Chang et al., Radiology 2005;236:1067 (none, < 5 %,
    5-25 %, 26-49 %, 50-75 %, > 75 %). Chosen: what lies between 25 and 26 %, and between 49 and
    50 %, belongs to the band of 26-49 %.
    """
    if percent <= 0:
        return 0
    return 1 + (percent >= 5) + (percent > 25) + (percent >= 50) + (percent > 75)


def half_points(percent: float) -> int:
    """0 for none, 1 below 50 %, 2 from 50 % on.

    Yang et al., Radiol Cardiothorac Imaging 2020;2:e200047 (CT severity score).
    """
    # Of numpy's truth values a sum would be an "or".
    return int(percent > 0) + int(percent >= 50)


def lobe_scores(
    lobes: Mapping[str, RegionFigures], approximate: bool, why_none: str = ""
) -> dict[str, Score]:
    """The scores by lobe: LSS, LHOS, the 25-point score and the total severity score.

    LSS and the total severity score have the same bands, and the same value where, as here, both
    are taken from measured opacity. ``why_none`` is why there are no lobes, where there are none.
    """
    opacity = {name: one.lesions for name, one in lobes.items()}
    dense = {name: one.high_opacity for name, one in lobes.items()}
    by_lobe: tuple[tuple[str, str, Mapping[str, Amount | None], Callable[[float], int], int], ...]
    by_lobe = (
        ("lung_severity_score", "Lung severity score (LSS)", opacity, quarter_points, 4),
        ("lung_high_opacity_score", "Lung high opacity score (LHOS)", dense, quarter_points, 4),
        ("ct_score_25", "25-point lobe score", opacity, five_points, 5),
        ("total_severity_score", "Total severity score", opacity, quarter_points, 4),
    )
    return {
        key: _score(title, shares, points, 5 * most, approximate, why_none)
        for key, title, shares, points, most in by_lobe
    }


def region_score(regions: Mapping[str, RegionFigures], why_none: str = "") -> Score:
    """The CT severity score over 20 regions, 0 to 40; regions are always approximate."""
    shares = {name: one.lesions for name, one in regions.items()}
    return _score("CT severity score, 20 regions", shares, half_points, 40, True, why_none)


def _score(
    title: str,
    shares: Mapping[str, Amount | None],
    points: Callable[[float], int],
    maximum: int,
    approximate: bool,
    why_none: str,
) -> Score:
    parts: dict[str, int | None] = {
        name: None if share is None or share.percent is None else points(share.percent)
        for name, share in shares.items()
    }
    given = [value for value in parts.values() if value is not None]
    if why_none or len(given) < len(parts) or not parts:
        note = why_none or _why_incomplete(shares)
        return Score(title, None, maximum, None, parts, approximate, note)
    ranges = [share.percent_range for share in shares.values() if share is not None]
    value_range = None
    if all(found is not None for found in ranges):
        low = sum(points(found[0]) for found in ranges if found is not None)
        high = sum(points(found[1]) for found in ranges if found is not None)
        value_range = (low, high)
    return Score(title, sum(given), maximum, value_range, parts, approximate, "")


def _why_incomplete(shares: Mapping[str, Amount | None]) -> str:
    if any(share is None for share in shares.values()):
        return "it needs a CT in Hounsfield units on the label map's grid"
    lost = [name.replace("_", " ") for name, share in shares.items() if not _has(share)]
    return f"no lung was found in: {'; '.join(lost)}"


def _has(share: Amount | None) -> bool:
    return share is not None and share.percent is not None
