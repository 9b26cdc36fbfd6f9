"""Charts of a case: severity by lobe and region, and the histogram of the lungs' density.

matplotlib is imported with this module, so import it only where charts are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from napari_covseg.quantify.case import Quantification
from napari_covseg.quantify.density import BANDS
from napari_covseg.quantify.figures import RegionFigures
from napari_covseg.reports.drawing import png
from napari_covseg.reports.findings_pictures import SEVERITY_COLOURS
from napari_covseg.reports.wording import percent

_DPI = 190
_LOBES = (
    ("right", ("right_upper", "right_middle", "right_lower")),
    ("left", ("left_upper", "left_lower")),
)
BAND_COLOURS: Mapping[str, str] = {
    "emphysema": "#9fb4c7",
    "inflated": "#d7e3ee",
    "ground_glass": "#ffdf9a",
    "consolidation": "#f0a3ac",
}
BAND_NAMES: Mapping[str, str] = {
    "emphysema": "emphysema",
    "inflated": "inflated",
    "ground_glass": "ground glass",
    "consolidation": "consolidation",
}
_NO_VALUE = "#e4e4e4"
_ROW, _LOBE_HEAD = 0.30, 0.34


def severity_map(result: Quantification) -> bytes | None:
    """PNG: a box for each lobe, the right lung on the left, and in it the regions it is divided
    into, each in the colour of its share of lesion; None where there are no lobes.
    """
    if not result.lobes:
        return None
    figure = Figure(figsize=(7.1, 3.05), facecolor="white")
    FigureCanvasAgg(figure)
    for column, (side, lobes) in enumerate(_LOBES):
        axes = figure.add_axes((0.005 + 0.505 * column, 0.0, 0.485, 1.0))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_axis_off()
        axes.text(0.5, 0.965, f"{side.capitalize()} lung", ha="center", va="center", fontsize=9)
        counts = [max(1, len(_regions_of(result, lobe))) for lobe in lobes]
        top, share = 0.93, 0.92 / sum(_height(count) for count in counts)
        for lobe, count in zip(lobes, counts, strict=True):
            height = share * _height(count)
            _draw_lobe(axes, result, lobe, top, height)
            top -= height
    return png(figure, _DPI)


def histogram_chart(result: Quantification) -> bytes | None:
    """PNG: the HU histogram of both lungs over the bands; None without a CT."""
    if result.histogram is None or result.density is None or not sum(result.histogram[1]):
        return None
    edges, counts = result.histogram
    shares = [100.0 * count / sum(counts) for count in counts]
    bands = result.density["both"].bands_percent
    figure = Figure(figsize=(7.1, 2.5), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    low, high = -1110, 210
    tallest = max(shares)
    for name, start, end in BANDS:
        left = low if name == BANDS[0][0] else start
        right = min(end, high)
        axes.axvspan(left, right, color=BAND_COLOURS[name], lw=0)
        text = f"{BAND_NAMES[name]}\n{percent(bands[name])} %"
        axes.text((left + right) / 2, 1.13 * tallest, text, ha="center", va="center", fontsize=7.5)
    axes.step(edges, shares, where="post", color="#222222", lw=1.1)
    axes.fill_between(edges, shares, step="post", color="#222222", alpha=0.28, lw=0)
    axes.set_xlim(low, high)
    axes.set_ylim(0, 1.28 * tallest)
    axes.set_xticks([-1100, -950, -700, -450, -200, 0, 200])
    axes.set_xlabel("HU", fontsize=8)
    axes.set_ylabel("% of the lungs per 10 HU", fontsize=8)
    axes.tick_params(labelsize=7.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return png(figure, _DPI)


def _height(regions: int) -> float:
    return _LOBE_HEAD + _ROW * regions


def _regions_of(result: Quantification, lobe: str) -> list[tuple[str, str]]:
    """Name in the lobe and key of each of its regions."""
    start = f"{lobe.replace('_', ' ')} lobe, "
    return [(key.removeprefix(start), key) for key in result.regions if key.startswith(start)]


def _draw_lobe(axes: Axes, result: Quantification, lobe: str, top: float, height: float) -> None:
    regions = _regions_of(result, lobe)
    score = result.scores["ct_score_25"].parts.get(lobe)
    points = "" if score is None else f" · {score} of 5 points"
    name = f"{lobe.replace('_', ' ').capitalize()} lobe"
    head = height * _LOBE_HEAD / _height(max(1, len(regions)))
    _box(
        axes,
        (0.0, top - head + 0.008, 1.0, head - 0.014),
        result.lobes[lobe],
        f"{name}: {percent(result.lobes[lobe].lesions.percent)} %{points}",
        bold=True,
    )
    row = (height - head) / max(1, len(regions))
    for place, (title, key) in enumerate(regions):
        bottom = top - head - (place + 1) * row
        points_here = result.scores["ct_severity_score"].parts.get(key)
        text = f"{title}: {percent(result.regions[key].lesions.percent)} %"
        text += "" if points_here is None else f" · {points_here}"
        _box(axes, (0.05, bottom + 0.007, 0.95, row - 0.009), result.regions[key], text)


def _box(
    axes: Axes, place: Sequence[float], part: RegionFigures, text: str, *, bold: bool = False
) -> None:
    share = part.lesions.percent
    colour = _NO_VALUE if share is None else colormaps[SEVERITY_COLOURS](share / 100.0)
    x, y, width, height = place
    axes.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.008",
            facecolor=colour,
            edgecolor="#555555" if bold else "#aaaaaa",
            linewidth=0.9 if bold else 0.5,
        )
    )
    axes.text(
        x + 0.015,
        y + height / 2,
        text,
        va="center",
        fontsize=7.6 if bold else 6.6,
        fontweight="bold" if bold else "normal",
        color="white" if share is not None and share > 60 else "#1c1c1c",
    )
