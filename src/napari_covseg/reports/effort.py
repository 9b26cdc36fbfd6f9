"""What correcting cost, drawn case by case: minutes, edited ml, Dice of the prediction.

Drawn on any figure, so that a panel and a file show the same. matplotlib is imported with this
module, so import it only where figures are made.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from napari_covseg.cases.effort_records import CaseEffort, Effort
from napari_covseg.domain.errors import UsageError
from napari_covseg.io.atomic import atomic_file

KINDS = (".png", ".svg")
_DPI = 130
_COLOURS = ("#3f8fe0", "#e08a1e", "#2a9d8f", "#c77dba")  # dark and light, colour-blind
_NO_PREDICTION = "#8a8f98"
_SMALL = 7.5
_DICE = "infection"

Value = Callable[[CaseEffort], float | None]
_ROWS: tuple[tuple[str, Value], ...] = (
    ("Minutes", lambda one: one.minutes),
    ("Edited ml", lambda one: one.edited_ml),
    ("Dice of\nprediction", lambda one: one.dice.get(_DICE)),
)


def draw_effort(figure: Figure, effort: Effort, ink: str = "#202020") -> None:
    """Draw on an empty figure: a dot for each case, a line for the mean of each model's cases.

    Cases stand in the order of their acceptance; Dice is that of all lesions. A case of which a
    value is not known has no dot. ``ink`` is the colour of words and axes.
    """
    rows = figure.subplots(len(_ROWS), 1, sharex=True)
    for axes, (title, value) in zip(rows, _ROWS, strict=True):
        _draw(axes, effort, value)
        _dress(axes, title, ink)
    rows[-1].set_ylim(-0.04, 1.04)
    for axes in rows[:-1]:
        axes.set_ylim(bottom=0)
    rows[-1].set_xlabel("accepted cases, in their order", color=ink, fontsize=_SMALL)
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    rows[-1].set_xlim(0.5, max(1, len(effort.cases)) + 0.5)
    handles, names = rows[0].get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            names,
            loc="outside upper center",
            ncols=min(3, len(handles)),
            frameon=False,
            fontsize=_SMALL,
            labelcolor=ink,
        )


def write_effort_plot(effort: Effort, path: Path) -> Path:
    """Write the figure as PNG or SVG, by the file's ending, whole or not at all.

    Raises
    ------
    UsageError
        If the ending is another.
    InputError, ResourceError
        If it cannot be written.
    """
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"{path.name}: expected a plot that ends in {' or '.join(KINDS)}")
    figure = Figure(figsize=(6.4, 5.6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    draw_effort(figure, effort)
    svg = path.suffix.lower() == ".svg"
    made = io.BytesIO()
    # Nothing in it says when it was made, or by what.
    with rc_context({"svg.hashsalt": "effort"}):
        figure.savefig(
            made,
            format="svg" if svg else "png",
            dpi=_DPI,
            metadata={"Date": None, "Creator": None} if svg else {"Software": None},
        )
    with atomic_file(path) as file:
        file.write(made.getvalue())
    return path


def _draw(axes: Axes, effort: Effort, value: Value) -> None:
    generation = 0
    for one in effort.generations:
        colour = _NO_PREDICTION
        if one.model is not None:
            colour, generation = _COLOURS[generation % len(_COLOURS)], generation + 1
        mine = [(x, c) for x, c in enumerate(effort.cases, 1) if c.model == one.model]
        known = [(x, y) for x, case in mine if (y := value(case)) is not None]
        axes.scatter(*_columns(known), s=16, color=colour, alpha=0.75, lw=0, label=one.name)
        if known:
            mean = sum(y for _, y in known) / len(known)
            axes.plot([known[0][0] - 0.4, known[-1][0] + 0.4], [mean, mean], color=colour, lw=1.6)


def _dress(axes: Axes, title: str, ink: str) -> None:
    axes.set_facecolor("none")
    axes.set_ylabel(title, color=ink, fontsize=_SMALL)
    axes.tick_params(labelsize=_SMALL, colors=ink, length=2)
    axes.locator_params(axis="y", nbins=4)
    axes.grid(axis="y", color=ink, alpha=0.15, lw=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side not in ("top", "right"))
        spine.set_color(ink)
        spine.set_alpha(0.4)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
