"""A folder of pictures or CTs, classified into rows: the most doubtful first, and as CSV. No Qt."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.classifying import answered_steps, loaded
from napari_covseg.workflows.classify_settings import ClassifySettings

if TYPE_CHECKING:
    from napari_covseg.models.image_classifier import ImageClassifier

_STEP = "classifying files"


@dataclass(frozen=True, eq=False, slots=True)
class FileRow:
    """What was said of a file; ``error`` instead where it could not be read."""

    name: str
    path: Path
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    entropy: float = math.nan
    unsure: bool = False
    warnings: tuple[str, ...] = ()
    model: str = ""
    error: str = ""

    @property
    def label(self) -> str:
        """The class with the greatest probability, empty where nothing was said."""
        return self.classes[self.probabilities.index(self.probability)] if self.classes else ""

    @property
    def probability(self) -> float:
        """Of that class."""
        return max(self.probabilities, default=math.nan)


def folder_steps(folder: Path, settings: ClassifySettings, rows: list[FileRow]) -> Steps[None]:
    """Classify every file of a folder into ``rows``, which keep what was done if it is stopped.

    Runs in a worker's thread. A file that cannot be read is a row with its error.

    Raises
    ------
    InputError, ModelError
        If the folder holds neither picture nor CT; if the classifier cannot be used.
    """
    from napari_covseg.workflows.classify import find_sources

    yield Progress(0, 1, "looking for pictures")
    paths = find_sources([folder])
    yield Progress(0, 1, "loading the classifier")
    classifier = loaded(settings)
    # A map of every file would take its time, and nobody see it.
    settings = replace(settings, explain=False)
    for done, path in enumerate(paths):
        yield Progress(done, len(paths), _STEP)
        try:
            row = yield from _row_steps(path, folder, settings, classifier, done, len(paths))
        except Exception as error:
            row = FileRow(_place(path, folder), path, error=_one_line(error))
        rows.append(row)


def _row_steps(
    path: Path,
    folder: Path,
    settings: ClassifySettings,
    classifier: ImageClassifier,
    done: int,
    total: int,
) -> Steps[FileRow]:
    from napari_covseg.io import is_dicom
    from napari_covseg.workflows.classify import read_source
    from napari_covseg.workflows.classify_files import case_of

    source = read_source(path)
    # Names of DICOM files may be those of people.
    dicom = path.is_dir() or is_dicom(path)
    name = case_of(path, source) if dicom else _place(path, folder)
    steps = answered_steps(source, settings, classifier)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result = end.value.result
            break
        # A CT takes long: Cancel must not wait for it.
        yield Progress(done, total, _STEP)
    return FileRow(
        name,
        path,
        result.classes,
        result.probabilities,
        result.entropy,
        result.unsure,
        result.warnings,
        f"{classifier.name} {classifier.version}",
    )


@dataclass(frozen=True, slots=True)
class Order:
    """How rows are sorted: by a column of the table, at first by doubt; unread files come last."""

    column: int = 3
    turned: bool = False

    def clicked(self, column: int) -> Order:
        """After a click on a column's head."""
        return Order(column, column == self.column and not self.turned)

    def of(self, rows: Iterable[FileRow]) -> list[FileRow]:
        """The rows in this order."""
        rows = list(rows)
        read = [row for row in rows if not row.error]
        read.sort(key=self._key, reverse=self.turned)
        return [*read, *(row for row in rows if row.error)]

    def _key(self, row: FileRow) -> tuple[Any, ...]:
        keys: tuple[tuple[Any, ...], ...] = (
            (row.name.casefold(),),
            (row.label, -row.probability),
            (-row.probability,),
            # Unsure without much entropy: unlike all that the model was trained on.
            (not row.unsure, -row.entropy),
        )
        return keys[self.column]


def write_rows(rows: Sequence[FileRow], path: Path) -> Path:
    """Write a CSV, in the order given; no text in it can run as a formula.

    Raises
    ------
    InputError, ResourceError
        If the file cannot be written; if the disk is full.
    """
    from napari_covseg.io.atomic import atomic_file
    from napari_covseg.io.csv_cells import csv_cell

    classes = next((row.classes for row in rows if row.classes), ())
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    chances = [f"probability_{name}" for name in classes]
    writer.writerow(["file", "label", *chances, "entropy", "unsure", "warnings", "model", "error"])
    for row in rows:
        writer.writerow(map(csv_cell, _cells(row, len(classes))))
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())
    return path


def _cells(row: FileRow, classes: int) -> list[Any]:
    if row.error:
        return [row.name, "", *[""] * classes, "", "", "", "", row.error]
    chances = [f"{chance:.4f}" for chance in row.probabilities]
    unsure = "yes" if row.unsure else "no"
    told = " ".join(row.warnings)
    return [row.name, row.label, *chances, f"{row.entropy:.4f}", unsure, told, row.model, ""]


def _place(path: Path, folder: Path) -> str:
    """Where in the folder a file is."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _one_line(error: Exception) -> str:
    if isinstance(error, CovsegError):
        return str(error)
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'}"
