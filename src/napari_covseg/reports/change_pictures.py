"""Slices of two scans of one patient beside what changed: prior, current, change.

matplotlib is imported with this module, so import it only where figures are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from numpy.typing import NDArray

from napari_covseg.domain.change import CHANGE_COLOURS, ChangeLabel
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.quantify.mapping import Mapping, carry_slice
from napari_covseg.reports.drawing import black_figure, grey, jpeg, letters, paint, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY = 3
POOR = "LUNGS DO NOT FIT"
APART_MM = 15.0
_CHANGED = tuple(label for label in ChangeLabel if label not in (0, ChangeLabel.PERSISTENT))
_MARGIN_MM = 10.0
_OPACITY = 0.6
_WIDTH = 3.1
_TITLES = ("Prior, laid over the current lungs", "Current", "Change")
_SHOWN = (Label.GGO, Label.CONSOLIDATION, Label.INFECTION)


@dataclass(frozen=True, eq=False)
class ChangeView:
    """An axial slice of the current grid, cropped to the lungs: HU, labels and change.

    ``number`` counts from the lowest slice, 1; arrays are ``(rows, columns)``.
    """

    number: int
    of: int
    hu: NDArray
    prior_hu: NDArray[np.float32]
    labels: NDArray[np.uint8]
    change: NDArray[np.uint8]
    spacing_mm: tuple[float, float]


def views_of(
    current: LabelMap,
    current_ct: CTVolume,
    prior_ct: CTVolume,
    mapping: Mapping,
    change: NDArray[np.uint8],
) -> tuple[ChangeView, ...]:
    """The slices with most change, `APART_MM` apart at least, the highest first.

    Parameters
    ----------
    current, current_ct, prior_ct
        The current scan's labels and both CTs.
    mapping
        Current to prior.
    change
        The map of change, ``(z, y, x)`` on the current grid.
    """
    rows, columns = _window(current)
    chosen = _slices(current, change)
    _, y_mm, x_mm = current.geometry.spacing_mm
    views = []
    for z in sorted(chosen, reverse=True):
        before = carry_slice(
            prior_ct.hu, prior_ct.geometry, current.geometry, mapping, z, fill=-1024
        )
        views.append(
            ChangeView(
                number=z + 1,
                of=current.geometry.shape[0],
                hu=current_ct.hu[z, rows, columns],
                prior_hu=before[rows, columns],
                labels=current.labels[z, rows, columns],
                change=change[z, rows, columns],
                spacing_mm=(y_mm, x_mm),
            )
        )
    return tuple(views)


def _slices(current: LabelMap, change: NDArray[np.uint8]) -> list[int]:
    lung = (current.labels > Label.BACKGROUND.value) & (current.labels < Label.IGNORE.value)
    for amount in (
        np.isin(change, _CHANGED).sum(axis=(1, 2)),
        (change > 0).sum(axis=(1, 2)),
        lung.sum(axis=(1, 2)),
    ):
        if amount.any():
            break
    apart = APART_MM / current.geometry.spacing_mm[0]
    chosen: list[int] = []
    for z in np.argsort(-amount, kind="stable"):
        if amount[z] and len(chosen) < MANY and all(abs(z - one) >= apart for one in chosen):
            chosen.append(int(z))
    return chosen


def _window(current: LabelMap) -> tuple[slice, slice]:
    sides = []
    for axis in (1, 2):
        others = tuple(a for a in range(3) if a != axis)
        where = np.flatnonzero((current.labels > 0).any(axis=others))
        more = round(_MARGIN_MM / current.geometry.spacing_mm[axis])
        size = current.labels.shape[axis]
        first, last = (int(where[0]), int(where[-1])) if len(where) else (0, size - 1)
        sides.append(slice(max(0, first - more), min(size, last + more + 1)))
    return sides[0], sides[1]


def change_picture(views: Sequence[ChangeView], *, poor: bool = False) -> bytes | None:
    """A row for each view as JPEG; None without views. The patient's right is on the left.

    ``poor``: the lungs do not fit. It is written into what rests on that, for pictures travel.
    """
    if not views:
        return None
    view = views[0]
    height = (
        _WIDTH * (view.hu.shape[0] * view.spacing_mm[0]) / (view.hu.shape[1] * view.spacing_mm[1])
    )
    top, foot = 0.24, 0.3
    total = len(views) * (height + top) + foot
    figure = black_figure(3 * _WIDTH, total)
    for row, one in enumerate(views):
        for column, title in enumerate(_TITLES):
            bottom = total - (row + 1) * (height + top)
            place = (
                (column / 3) + 0.002,
                bottom / total,
                1 / 3 - 0.004,
                height / total,
            )
            axes = figure.add_axes(place)
            axes.imshow(_drawn(one, column), aspect=one.spacing_mm[0] / one.spacing_mm[1])
            axes.set_axis_off()
            letters(axes, "A", "P")
            if poor and column != 1:
                write(axes, POOR, 0.5, 0.12, 9, "center")
            shown = f"{title}, slice {one.number} of {one.of}" if column == 1 else title
            axes.set_title(shown, color="white", fontsize=8, pad=3)
    _legend(figure.axes[-1], views, foot / total)
    return jpeg(figure, 120)


def _drawn(view: ChangeView, column: int) -> NDArray[np.float32]:
    picture = grey(view.prior_hu if column == 0 else view.hu)
    if column == 2:
        for label, colour in CHANGE_COLOURS.items():
            where = view.change == label
            picture[where] = (1 - _OPACITY) * picture[where] + _OPACITY * np.asarray(to_rgb(colour))
    elif column == 1:
        paint(picture, view.labels, _SHOWN, 0.35)
    return picture


def _legend(axes: Axes, views: Sequence[ChangeView], height: float) -> None:
    shown = {int(value) for view in views for value in np.unique(view.change)}
    handles = [
        Patch(color=colour, label=label.title)
        for label, colour in CHANGE_COLOURS.items()
        if int(label) in shown
    ]
    figure = axes.figure
    if handles:
        figure.legend(
            handles=handles,
            loc="center",
            bbox_to_anchor=(0.5, height / 2),
            ncols=len(handles),
            frameon=False,
            labelcolor="white",
            fontsize=8,
        )
    else:
        write(axes, "no lesion in either scan", 0.5, 0.04, 8, "center")
