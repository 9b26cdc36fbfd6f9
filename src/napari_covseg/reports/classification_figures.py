"""Figures of classifiers as PNG: calibration, risk over coverage, and a heat map on its picture.

Drawn off screen; matplotlib is imported with this module, so import it only where figures are made.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_covseg.metrics.classification import Calibration, RiskCoverage
from napari_covseg.reports.drawing import png

_DPI = 130
_HEAT = "inferno"
_OPACITY = 0.6


def calibration_figure(of: Mapping[str, Calibration]) -> bytes:
    """How often answers are right against the probability they state, a line each."""
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color="#808080", linewidth=1, linestyle="--")
    for index, (name, one) in enumerate(of.items()):
        label = f"{name}, error {one.error:.2f}"
        axes.plot(one.stated, one.right, marker="o", markersize=3, label=label, color=f"C{index}")
    axes.set(xlabel="stated probability", ylabel="right answers", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(fontsize=7, frameon=False)
    return png(figure, _DPI)


def risk_figure(of: Mapping[str, RiskCoverage]) -> bytes:
    """Wrong answers among the surest pictures, a line for each classifier."""
    figure, axes = _figure()
    for index, (name, one) in enumerate(of.items()):
        label = f"{name}, mean {one.area:.2f}"
        axes.plot(one.coverage, one.risk, label=label, color=f"C{index}", linewidth=1.2)
    axes.set(xlabel="pictures answered, the surest first", ylabel="wrong answers", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False)
    return png(figure, _DPI)


def heat_picture(grey: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A heat map over its picture, both ``(y, x)`` in [0, 1]: RGB ``(y, x, 3)``.

    Where the map is 0 the picture is seen as it is.
    """
    colours = colormaps[_HEAT](heat)[..., :3]
    share = (_OPACITY * heat)[..., None]
    mixed = grey[..., None] * (1 - share) + colours * share
    return np.asarray(np.rint(np.clip(mixed, 0, 1) * 255), np.uint8)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
