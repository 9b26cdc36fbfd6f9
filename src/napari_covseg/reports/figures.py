"""Figures of a cross-validation as PNG: fitting curves, box plots, reference beside prediction.

Drawn off screen; matplotlib is imported with this module, so import it only where figures are made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.special import stdtrit

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import Label
from napari_covseg.io.atomic import atomic_file
from napari_covseg.reports.crossval_content import MEASURED, CrossvalContent
from napari_covseg.reports.drawing import png
from napari_covseg.reports.tables import case_dice

CLASS_COLOURS = {
    "lung": LABEL_COLOURS[Label.RIGHT_LUNG],
    "infection": LABEL_COLOURS[Label.INFECTION],
    "ggo": LABEL_COLOURS[Label.GGO],
    "consolidation": LABEL_COLOURS[Label.CONSOLIDATION],
}
_LOSS_COLOUR = "#404040"
_DPI = 130
_SHORT = {name: title.split(" (")[0] for name, title in MEASURED.items()}


def fitting_curves(content: CrossvalContent) -> bytes | None:
    """Training loss and validation Dice over epochs, or None if there is no curve.

    Thin lines are folds, the thick line their mean where all folds have a value, the band its 95 %
    interval by Student's t over folds.
    """
    curves = [fold.curve for fold in content.folds if fold.curve is not None and fold.curve.epochs]
    if not curves:
        return None
    names = [name for name in MEASURED if any(_any(one.dice.get(name, ())) for one in curves)]
    figure = _figure((10, 4.2))
    left, right = figure.subplots(1, 2)
    _draw_curves(left, [(one.epochs, one.loss) for one in curves], _LOSS_COLOUR)
    left.set_ylabel("training loss")
    left.set_title("Training loss", fontsize=11)
    for name in names:
        lines = [(one.epochs, one.dice[name]) for one in curves if name in one.dice]
        _draw_curves(right, lines, CLASS_COLOURS[name])
    right.set_ylabel("Dice on the validation cases")
    right.set_ylim(0, 1)
    right.set_title("Validation Dice", fontsize=11)
    if names:
        handles = [Line2D([], [], color=CLASS_COLOURS[n], lw=2.2, label=_SHORT[n]) for n in names]
        figure.legend(handles=handles, loc="outside lower right", ncols=len(names), frameon=False)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _quiet(axes)
    return png(figure, _DPI)


def box_plots(content: CrossvalContent) -> bytes | None:
    """Dice of every case, a box for each class that was measured; None if none was."""
    found = {name: case_dice(content, name) for name in MEASURED}
    found = {name: values for name, values in found.items() if values}
    if not found:
        return None
    figure = _figure((1.6 + 1.9 * len(found), 4.4))
    axes = figure.subplots()
    for place, (name, values) in enumerate(found.items(), start=1):
        dice = [value for value, _ in values.values()]
        colour = CLASS_COLOURS[name]
        axes.boxplot(
            [dice],
            positions=[place],
            widths=0.5,
            showfliers=False,
            whis=(0, 100) if len(dice) < 5 else 1.5,
            patch_artist=True,
            boxprops={"facecolor": colour + "40", "edgecolor": colour, "linewidth": 1.4},
            medianprops={"color": "black", "linewidth": 1.8},
            whiskerprops={"color": colour, "linewidth": 1.4},
            capprops={"color": colour, "linewidth": 1.4},
        )
        axes.scatter(
            place + _beside(len(dice)),
            dice,
            s=16,
            color=colour,
            edgecolors="black",
            lw=0.4,
            zorder=3,
        )
    axes.set_xticks(
        range(1, len(found) + 1),
        [f"{_SHORT[name]}\n{_cases(len(values))}" for name, values in found.items()],
    )
    axes.set_xlim(0.4, len(found) + 0.6)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("Dice of a case")
    _quiet(axes)
    return png(figure, _DPI)


def write_figure(path: Path, png: bytes) -> Path:
    """Write a figure whole or not at all.

    Raises
    ------
    InputError, ResourceError
        If it cannot be written.
    """
    with atomic_file(path) as file:
        file.write(png)
    return path


def mean_and_band(
    lines: Sequence[tuple[Sequence[int], Sequence[float]]],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Epochs at which every fold has a value, the mean there, and half the 95 % interval's width.

    Folds without any value (no validation case has the class) are left out. The interval is that
    of the mean over folds by Student's t; 0 wide for fewer than three, whose interval says nothing.
    """
    tables = [
        table
        for line in lines
        if (table := {e: value for e, value in zip(*line, strict=True) if math.isfinite(value)})
    ]
    shared = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    values = np.array([[table[epoch] for epoch in shared] for table in tables], np.float64)
    n = len(tables)
    if n < 3:
        mean = values.mean(axis=0) if n else np.zeros(0)
        return np.array(shared, np.int64), mean, np.zeros(len(shared))
    half = stdtrit(n - 1, 0.975) * values.std(axis=0, ddof=1) / math.sqrt(n)
    return np.array(shared, np.int64), values.mean(axis=0), np.asarray(half)


def _draw_curves(
    axes: Axes, lines: Sequence[tuple[Sequence[int], Sequence[float]]], colour: str
) -> None:
    for epochs, values in lines:
        there = [(e, v) for e, v in zip(epochs, values, strict=True) if math.isfinite(v)]
        if there:
            marker = "." if len(there) == 1 else None
            axes.plot(*zip(*there, strict=True), color=colour, lw=0.7, alpha=0.45, marker=marker)
    shared, mean, half = mean_and_band(lines)
    if len(shared):
        axes.fill_between(shared, mean - half, mean + half, color=colour, alpha=0.2, lw=0)
        axes.plot(shared, mean, color=colour, lw=2.2)


def _any(values: Sequence[float]) -> bool:
    return any(math.isfinite(value) for value in values)


def _beside(count: int) -> NDArray[np.float64]:
    """Places of points beside one another; the same every time."""
    return np.asarray(np.random.default_rng(0).uniform(-0.16, 0.16, count))


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


def _figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _quiet(axes: Axes) -> None:
    axes.grid(axis="y", color="#dddddd", lw=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
