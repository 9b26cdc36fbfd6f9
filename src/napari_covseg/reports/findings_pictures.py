"""Slices of a case with the outlines of lungs and lesions: key pictures and lightboxes.

matplotlib is imported with this module, so import it only where pictures are made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import LUNG_LABELS, Label
from napari_covseg.reports.drawing import black_figure, grey, jpeg, letters, paint, write
from napari_covseg.reports.planes import Plane, Planes, Projection

SEVERITY_COLOURS = "YlOrRd"
"""matplotlib's colours for shares of lesion, light to dark: told apart by lightness alone too."""
_HEALTHY = "#5a5a5a"
"""Lung without lesion; the lightest of those colours would look like some."""
_WIDTH = 7.1
"""Inches: the width of a page between its margins."""
_DPI, _KEY_DPI = 190, 220
_GAP, _FOOT = 0.04, 0.26
_OUTLINED = (Label.GGO, Label.CONSOLIDATION, Label.INFECTION)
_NAMES = {
    Label.LUNG: "lungs",
    Label.GGO: "ground-glass opacity (GGO)",
    Label.CONSOLIDATION: "consolidation",
    Label.INFECTION: "infection, class unknown",
    Label.IGNORE: "not reviewed",
}
_WITHOUT_CT = 0.75


def key_pictures(planes: Planes) -> bytes:
    """JPEG, two by two: the axial slice with most lesion as it is and outlined, the coronal one
    outlined, and the lungs from the front by their share of lesion.
    """
    axial, coronal = planes.key_axial, planes.key_coronal
    half = (_WIDTH - _GAP) / 2
    top, below = half * _ratio(axial), half * _ratio(coronal)
    # Tall or flat lungs (few thick slices) must not push the page apart.
    top, below = min(top, 0.95 * half), min(below, 0.95 * half)
    height = top + below + _GAP + _FOOT
    figure = black_figure(_WIDTH, height)

    def box(column: int, row: int) -> Axes:
        bottom = _FOOT + (below + _GAP if row == 0 else 0)
        size = top if row == 0 else below
        left = column * (half + _GAP)
        return figure.add_axes((left / _WIDTH, bottom / height, half / _WIDTH, size / height))

    _draw(box(0, 0), axial, outlined=False, size=8)
    _draw(box(1, 0), axial, outlined=True, size=8)
    _draw(box(0, 1), coronal, outlined=True, size=8)
    _draw_projection(figure, box(1, 1), planes.projection)
    _legend(figure, (axial, coronal), height)
    return jpeg(figure, _KEY_DPI)


def lightbox(planes: Sequence[Plane], columns: int) -> bytes:
    """JPEG of slices with outlines, row by row."""
    rows = math.ceil(len(planes) / columns)
    wide = (_WIDTH - (columns - 1) * _GAP) / columns
    tall = wide * min(1.6, _ratio(planes[0]))
    height = rows * tall + (rows - 1) * _GAP + _FOOT
    figure = black_figure(_WIDTH, height)
    for place, plane in enumerate(planes):
        row, column = divmod(place, columns)
        bottom = _FOOT + (rows - 1 - row) * (tall + _GAP)
        left = column * (wide + _GAP)
        axes = figure.add_axes((left / _WIDTH, bottom / height, wide / _WIDTH, tall / height))
        _draw(axes, plane, outlined=True, size=6)
    _legend(figure, planes, height)
    return jpeg(figure, _DPI)


def _draw(axes: Axes, plane: Plane, *, outlined: bool, size: float) -> None:
    rows_mm, columns_mm = plane.spacing_mm
    hu = plane.hu
    picture = np.zeros((*plane.labels.shape, 3), np.float32) if hu is None else grey(hu)
    if hu is None:
        paint(picture, plane.labels, (*LUNG_LABELS,), _WITHOUT_CT)
    axes.imshow(picture, aspect=rows_mm / columns_mm, interpolation="bilinear")
    # What fills the axes: the picture is wider or taller than its place, never stretched.
    axes.set_facecolor("black")
    if outlined and hu is not None:
        _outline(axes, plane, 0.11 * size)
    axes.set_axis_off()
    letters(axes, *(("A", "P") if plane.kind == "axial" else ("S", "I")), size=size)
    write(
        axes, f"{plane.kind} {plane.number}/{plane.of}", 0.02, _title_at(axes, size), size, "left"
    )


def _outline(axes: Axes, plane: Plane, thick: float) -> None:
    lung = np.isin(plane.labels, LUNG_LABELS)
    for mask, label in (
        (lung, Label.LUNG),
        *((plane.labels == label, label) for label in (*_OUTLINED, Label.IGNORE)),
    ):
        if mask.any() and not mask.all():
            # A rim of nothing, so that outlines close at the edge of the picture.
            rim = np.pad(mask, 1).astype(np.float32)
            rows, columns = (np.arange(-1, n + 1) for n in mask.shape)
            width = thick if label is not Label.LUNG else 0.85 * thick
            axes.contour(
                columns, rows, rim, levels=[0.5], colors=LABEL_COLOURS[label], linewidths=width
            )
    height, width = lung.shape
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _draw_projection(figure: Figure, axes: Axes, projection: Projection) -> None:
    rows_mm, columns_mm = projection.spacing_mm
    scale = ScalarMappable(Normalize(0, 100), SEVERITY_COLOURS)
    lungs = np.ma.masked_invalid(projection.percent)
    placed: dict[str, Any] = {"aspect": rows_mm / columns_mm, "interpolation": "nearest"}
    axes.imshow(0.0 * lungs, cmap=ListedColormap([_HEALTHY]), **placed)
    shown = np.ma.masked_equal(lungs, 0.0)
    axes.imshow(shown, cmap=SEVERITY_COLOURS, vmin=0, vmax=100, **placed)
    axes.set_axis_off()
    letters(axes, "S", "I", size=8)
    write(axes, "share of lesion, %", 0.02, 0.96, 8, "left")
    place = axes.get_position()
    width = 0.1 * place.width
    axes.set_position((place.x0, place.y0, place.width - width, place.height))
    bar = figure.add_axes(
        (place.x1 - 0.3 * width, place.y0 + 0.2 * place.height, 0.18 * width, 0.6 * place.height)
    )
    colours = figure.colorbar(scale, cax=bar, ticks=[0, 50, 100])
    colours.ax.tick_params(colors="white", labelsize=6.5, length=2, left=True, right=False)
    colours.ax.yaxis.set_ticks_position("left")
    colours.outline.set_edgecolor("white")


def _legend(figure: Figure, planes: Sequence[Plane], height: float) -> None:
    found: set[int] = set()
    for plane in planes:
        found |= set(np.unique(plane.labels).tolist())
    always = (Label.LUNG, Label.GGO, Label.CONSOLIDATION)
    shown = [*always, *(label for label in (Label.INFECTION, Label.IGNORE) if label in found)]
    figure.legend(
        handles=[
            Line2D([], [], color=LABEL_COLOURS[one], lw=1.8, label=_NAMES[one]) for one in shown
        ],
        loc="center",
        bbox_to_anchor=(0.5, 0.5 * _FOOT / height),
        ncols=len(shown),
        frameon=False,
        labelcolor="white",
        fontsize=7.5,
        handlelength=1.6,
        columnspacing=1.6,
    )


def _title_at(axes: Axes, size: float) -> float:
    """How far up, from 0 to 1, a line at the upper edge of the axes stands."""
    inches = axes.bbox.height / axes.figure.dpi
    return float(1 - 0.9 * size / 72 / inches)


def _ratio(plane: Plane) -> float:
    """Height over width, in mm."""
    rows, columns = plane.labels.shape
    return float(rows * plane.spacing_mm[0] / (columns * plane.spacing_mm[1]))
