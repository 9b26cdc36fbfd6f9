"""A picture of a result: one axial and one coronal slice with lungs outlined, lesions coloured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.io.atomic import atomic_file
from napari_covseg.quantify.volumes import lesion_sides
from napari_covseg.reports.drawing import grey, letters, paint

OPACITY = 0.65


def write_overlay(volume: CTVolume, labels: LabelMap, path: Path) -> Path:
    """Write a PNG of the slices with most lesion (or most lung), right side of the patient left.

    The coronal slice shows superior up. The file appears whole or not at all.
    """
    z, y = _slice_to_show(labels.labels, 0), _slice_to_show(labels.labels, 1)
    spacing_z, spacing_y, spacing_x = volume.geometry.spacing_mm
    figure = Figure(figsize=(11, 5.4), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axial, coronal = figure.subplots(1, 2)
    sides = lesion_sides(labels)
    for axes, index, aspect in (
        (axial, np.s_[z], spacing_y / spacing_x),
        (coronal, np.s_[::-1, y], spacing_z / spacing_x),
    ):
        _draw(axes, volume.hu[index], labels.labels[index], sides[index], aspect)
    axial.set_title(f"axial, slice {z + 1} of {len(volume.hu)}", color="white", fontsize=10)
    coronal.set_title("coronal", color="white", fontsize=10)
    letters(axial, "A", "P", size=10)
    letters(coronal, "S", "I", size=10)
    figure.legend(
        handles=[
            Line2D([], [], color=LABEL_COLOURS[Label.RIGHT_LUNG], label="right lung"),
            Line2D([], [], color=LABEL_COLOURS[Label.LEFT_LUNG], label="left lung"),
            Patch(color=LABEL_COLOURS[Label.GGO], label="ground-glass opacity"),
            Patch(color=LABEL_COLOURS[Label.CONSOLIDATION], label="consolidation"),
        ],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        labelcolor="white",
    )
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=110, facecolor="black")
    return path


def _slice_to_show(labels: NDArray[np.uint8], axis: int) -> int:
    others = tuple(i for i in range(3) if i != axis)
    lesions = np.isin(labels, LESION_LABELS).sum(axis=others)
    return int((lesions if lesions.any() else (labels > 0).sum(axis=others)).argmax())


def _draw(
    axes: Axes,
    hu: NDArray,
    labels: NDArray[np.uint8],
    sides: NDArray[np.uint8],
    aspect: float,
) -> None:
    picture = grey(hu)
    paint(picture, labels, LESION_LABELS, OPACITY)
    axes.imshow(picture, aspect=aspect, interpolation="nearest")
    for label in (Label.LEFT_LUNG, Label.RIGHT_LUNG):
        mask = (labels == label) | (sides == label)
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=LABEL_COLOURS[label], linewidths=1.0)
    axes.set_axis_off()
