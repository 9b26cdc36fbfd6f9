"""The logs of a training: ``steps.csv``, ``epochs.csv``, and TensorBoard's where it is installed.

A resumed training takes back the rows after the step it goes on from, so that a log never holds a
step twice.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from napari_covseg.domain.errors import ResourceError
from napari_covseg.io.atomic import atomic_file
from napari_covseg.training.state import make_folder

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

STEP_COLUMNS = ("step", "epoch", "loss", "learning_rate", "gradient_norm")
EPOCH_COLUMNS = (
    *("epoch", "step", "loss", "learning_rate", "seconds", "images_per_second"),
    *("waited_percent", "gpu_percent", "gpu_memory_gb", "validation_patients"),
    *("dice_lung", "dice_infection", "dice_ggo", "dice_consolidation"),
)
NO_TENSORBOARD = (
    "TensorBoard is not installed, so the logs are CSV only: pip install 'napari-covseg[train]'"
)


class TrainingLog:
    """Rows for each step and each epoch, in ``folder``.

    Raises
    ------
    ResourceError
        If a log cannot be written.
    """

    def __init__(self, folder: Path, step: int, epoch: int, tensorboard: bool = True) -> None:
        make_folder(folder)
        self.notes: tuple[str, ...] = ()
        self._steps = _Table(folder / "steps.csv", STEP_COLUMNS, "step", step)
        self._epochs = _Table(folder / "epochs.csv", EPOCH_COLUMNS, "epoch", epoch)
        self._board: SummaryWriter | None = None
        if tensorboard:
            try:
                from torch.utils.tensorboard.writer import SummaryWriter

                self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)  # type: ignore[no-untyped-call]
            except ImportError:
                self.notes = (NO_TENSORBOARD,)

    def step(self, row: Mapping[str, Any]) -> None:
        """Write a row of `STEP_COLUMNS`."""
        self._steps.add(row)
        self._show("step", row, row["step"])

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Write a row of `EPOCH_COLUMNS`; a figure that is not there is left empty."""
        self._epochs.add(row)
        self._epochs.flush()
        self._show("epoch", row, row["step"])

    def flush(self) -> None:
        """Put on disk what was written so far."""
        self._steps.flush()
        self._epochs.flush()
        if self._board is not None:
            self._board.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Flush and close; what cannot be written any more is given up."""
        self._steps.close()
        self._epochs.close()
        if self._board is not None:
            self._board.close()  # type: ignore[no-untyped-call]

    def _show(self, group: str, row: Mapping[str, Any], step: int) -> None:
        if self._board is None:
            return
        for name, value in row.items():
            if isinstance(value, float):
                self._board.add_scalar(f"{group}/{name}", value, step)  # type: ignore[no-untyped-call]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a log, as text; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class _Table:
    """A CSV file that rows are added to; rows whose ``counter`` is beyond ``done`` are dropped."""

    def __init__(self, path: Path, columns: tuple[str, ...], counter: str, done: int) -> None:
        self._path, self._columns = path, columns
        kept = [row for row in read_rows(path) if _count(row, counter) <= done]
        with atomic_file(path) as file:
            lines = [",".join(columns), *(",".join(row[c] or "" for c in columns) for row in kept)]
            file.write(("\n".join(lines) + "\n").encode())
        self._file: TextIO = path.open("a", newline="", encoding="utf-8")

    def add(self, row: Mapping[str, Any]) -> None:
        cells = (row.get(column) for column in self._columns)
        text = ",".join("" if cell is None else str(cell) for cell in cells)
        try:
            self._file.write(text + "\n")
        except OSError as error:
            raise self._full(error) from error

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise self._full(error) from error

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            return

    def _full(self, error: OSError) -> ResourceError:
        return ResourceError(
            f"{self._path.name}: cannot be written ({error.strerror}); make room and resume: the "
            "training state is as it was last saved"
        )


def _count(row: Mapping[str, str | None], counter: str) -> int:
    """A row's number; a row that was cut off counts as later than all."""
    text = row.get(counter)
    complete = None not in row and None not in row.values()
    return int(text) if complete and text and text.isdecimal() else 2**62
