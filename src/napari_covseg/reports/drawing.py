"""How slices are drawn in every report: the lung window, labels in their colours, letters.

matplotlib is imported with this module, so import it only where figures are made.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import Label

LUNG_WINDOW = (-1350.0, 150.0)
"""HU of black and white: width 1500, level -600."""
_JPEG_QUALITY = 90


def grey(hu: NDArray) -> NDArray[np.float32]:
    """``(rows, columns, 3)`` from 0 to 1: HU in the lung window."""
    low, high = LUNG_WINDOW
    values = np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1)
    return np.repeat(values[..., None], 3, axis=2)


def paint(
    picture: NDArray[np.float32], labels: NDArray[np.uint8], which: Iterable[Label], opacity: float
) -> None:
    """Lay labels over a picture in their colours."""
    for label in which:
        where = labels == label
        colour = np.asarray(to_rgb(LABEL_COLOURS[label]), np.float32)
        picture[where] = (1 - opacity) * picture[where] + opacity * colour


def letters(axes: Axes, top: str, bottom: str, size: float = 8) -> None:
    """R on the left, L on the right, and what is at the top and at the bottom."""
    for letter, x, y in (
        ("R", 0.03, 0.5),
        ("L", 0.97, 0.5),
        (top, 0.5, 0.95),
        (bottom, 0.5, 0.05),
    ):
        write(axes, letter, x, y, size, "center")


def write(axes: Axes, text: str, x: float, y: float, size: float, align: str) -> None:
    """White text with a dark edge, at a place from 0 to 1 in the axes."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        color="white",
        ha=align,
        va="center",
        fontsize=size,
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )


def black_figure(width: float, height: float) -> Figure:
    """A black figure, in inches, whose axes are placed by hand."""
    figure = Figure(figsize=(width, height), facecolor="black")
    FigureCanvasAgg(figure)
    return figure


def jpeg(figure: Figure, dpi: int) -> bytes:
    """A figure of CT slices: noise makes PNG several times larger, and shows no better."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="jpeg",
        dpi=dpi,
        facecolor=figure.get_facecolor(),
        pil_kwargs={"quality": _JPEG_QUALITY, "subsampling": 0},
    )
    return buffer.getvalue()


def png(figure: Figure, dpi: int) -> bytes:
    """A figure as PNG; nothing in it says when it was made, or by what."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor(), metadata={"Software": None}
    )
    return buffer.getvalue()
