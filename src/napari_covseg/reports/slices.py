"""Slices of a CT, the reference and the prediction side by side, as a radiologist looks at them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import LESION_LABELS, LUNG_LABELS, Label
from napari_covseg.reports.crossval_content import SliceView
from napari_covseg.reports.drawing import grey, letters, paint, png

_OPACITY, _IGNORED = 0.65, 0.45
_WIDTH = 3.6
_DRAWN_LUNG = (Label.LEFT_LUNG, Label.RIGHT_LUNG, Label.LUNG)
_TITLES = ("CT", "Reference", "Prediction")


def slice_pictures(views: Sequence[SliceView]) -> bytes | None:
    """A row for each view: the CT, the reference, the prediction; None without views.

    The patient's right is on the left, anterior on top.
    """
    if not views:
        return None
    heights = [_WIDTH * _height(view) / _width(view) for view in views]
    size = (3 * _WIDTH, sum(heights) + 0.34 * len(views) + 0.7)
    figure = Figure(figsize=size, layout="constrained", facecolor="black")
    FigureCanvasAgg(figure)
    rows = figure.subfigures(
        len(views), 1, height_ratios=[h + 0.34 for h in heights], squeeze=False
    )
    for (row,), view in zip(rows, views, strict=True):
        row.set_facecolor("black")
        row.suptitle(caption(view), color="white", fontsize=10, x=0.01, ha="left")
        for axes, title, labels in zip(
            row.subplots(1, 3), _TITLES, (None, view.reference, view.prediction), strict=True
        ):
            _draw(axes, view, labels)
            axes.set_title(title, color="white", fontsize=9)
    figure.legend(
        handles=_legend(views),
        loc="outside lower center",
        ncols=5,
        frameon=False,
        labelcolor="white",
        fontsize=9,
    )
    return png(figure, dpi=110)


def caption(view: SliceView) -> str:
    """What a row shows, in words."""
    return (
        f"{view.rank.capitalize()} {view.chosen_by} Dice: {view.case}, {view.dice:.3f} over the "
        f"volume (fold {view.fold}, slice {view.slice_number} of {view.slices})"
    )


def painted(view: SliceView, labels: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    """``(y, x, 3)`` from 0 to 1: the CT in the lung window, with lesions in their colours."""
    picture = grey(view.hu)
    if labels is not None:
        paint(picture, labels, LESION_LABELS, _OPACITY)
        paint(picture, labels, (Label.IGNORE,), _IGNORED)
    return picture


def _draw(axes: Axes, view: SliceView, labels: NDArray[np.uint8] | None) -> None:
    y_mm, x_mm = view.spacing_mm
    axes.imshow(painted(view, labels), aspect=y_mm / x_mm, interpolation="nearest")
    if labels is not None:
        lung = np.isin(labels, LUNG_LABELS)
        # Where nobody drew lungs, the border of the lesions is none of theirs.
        if np.isin(labels, _DRAWN_LUNG).any() and not lung.all():
            axes.contour(lung, levels=[0.5], colors=LABEL_COLOURS[Label.LUNG], linewidths=0.9)
    axes.set_axis_off()
    letters(axes, "A", "P")


def _legend(views: Sequence[SliceView]) -> list[Line2D | Patch]:
    shown = set(np.unique(np.concatenate([_both(view) for view in views])).tolist())
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=LABEL_COLOURS[Label.LUNG], label="lungs"),
        Patch(color=LABEL_COLOURS[Label.GGO], label="GGO"),
        Patch(color=LABEL_COLOURS[Label.CONSOLIDATION], label="consolidation"),
    ]
    if Label.INFECTION in shown:
        handles.append(
            Patch(color=LABEL_COLOURS[Label.INFECTION], label="infection, class not stated")
        )
    if Label.IGNORE in shown:
        handles.append(Patch(color=LABEL_COLOURS[Label.IGNORE], label="not annotated"))
    return handles


def _both(view: SliceView) -> NDArray[np.uint8]:
    return np.concatenate([np.unique(view.reference), np.unique(view.prediction)])


def _height(view: SliceView) -> float:
    return float(view.hu.shape[0] * view.spacing_mm[0])


def _width(view: SliceView) -> float:
    return float(view.hu.shape[1] * view.spacing_mm[1])
