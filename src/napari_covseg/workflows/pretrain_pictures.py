"""Pictures and figures of the coach's masks as they get harder, of the same slices every epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_covseg.io.atomic import atomic_file
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.coach import CoachedLearner, Glimpse
from napari_covseg.training.job import LOGS
from napari_covseg.training.logs import read_rows
from napari_covseg.training.schedules import Preset
from napari_covseg.training.state import make_folder

COLUMNS = ("epoch", "hidden_percent", "error_hidden", "error_left", "coach_loss")
TABLE, PICTURES = "masks.csv", "masks"
_SHOWN = 4


def examples(cases: Sequence[TrainingCase], preset: Preset) -> Tensor:
    """Middle slices of some of the cases, their middle, ``(n, 1, h, w)`` in [-1, 1]."""
    places = np.linspace(0, len(cases) - 1, min(_SHOWN, len(cases))).round().astype(int)
    slices = [cases[place].image[len(cases[place].image) // 2] for place in places]
    cut = np.stack([_middle(np.asarray(one), preset.patch) for one in slices])
    return torch.from_numpy(cut.astype(np.float32) / 127.5 - 1)[:, None]


def _middle(plane: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.uint8]:
    """The middle ``size`` of a slice; what it does not fill is black."""
    spare = [max(0, wanted - n) for wanted, n in zip(size, plane.shape, strict=True)]
    plane = np.pad(plane, [(extra // 2, extra - extra // 2) for extra in spare])
    y, x = ((n - wanted) // 2 for wanted, n in zip(size, plane.shape, strict=True))
    return plane[y : y + size[0], x : x + size[1]]


class MaskPictures:
    """Writes ``logs/masks/epoch_NNNN.png`` and a row of ``logs/masks.csv`` at the end of epochs.

    A row of a picture is a slice: as it is, its mask (white stays), what is left of it, and what
    the network paints. Errors in the table are mean differences of grey levels in percent of white,
    where the mask hides and where it does not.
    """

    def __init__(self, learner: CoachedLearner, folder: Path, images: Tensor) -> None:
        self._learner, self._images = learner, images
        self._logs = folder / LOGS

    def write(self, epoch: int) -> None:
        """The picture and the row of this epoch; rows of later ones, of a run that went on, go.

        Raises
        ------
        ResourceError
            If they cannot be written.
        """
        glimpse = self._learner.look(self._images)
        make_folder(self._logs / PICTURES)
        with atomic_file(self._logs / PICTURES / f"epoch_{epoch:04d}.png") as file:
            file.write(_png(_picture(glimpse)))
        rows = [row for row in read_rows(self._logs / TABLE) if int(row["epoch"]) < epoch]
        rows.append({"epoch": str(epoch), **_figures(glimpse, self._learner.coach_loss)})
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        with atomic_file(self._logs / TABLE) as file:
            file.write(text.getvalue().encode())


def _figures(glimpse: Glimpse, coach_loss: float) -> dict[str, str]:
    hidden = glimpse.mask < 0.5
    error = 100 * (glimpse.painted - glimpse.image).abs()
    values: dict[str, Tensor | float] = {
        "hidden_percent": 100 * hidden.float().mean(),
        "error_hidden": error[hidden].mean(),
        "error_left": error[~hidden].mean(),
        "coach_loss": coach_loss,
    }
    return {name: f"{float(value):.4f}" for name, value in values.items()}


def _picture(glimpse: Glimpse) -> NDArray[np.uint8]:
    columns = (glimpse.image, glimpse.mask, glimpse.seen, glimpse.painted)
    rows = torch.cat(columns, dim=2).reshape(-1, 4 * glimpse.image.shape[2])
    return (rows.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _png(grey: NDArray[np.uint8]) -> bytes:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, grey, format="png", cmap="gray", vmin=0, vmax=255)
    return buffer.getvalue()
