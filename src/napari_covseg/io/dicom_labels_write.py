"""Labels on the slices of a series, and the frame in which a DICOM object of them is written.

Labels go onto the slices with the lung that lesions lie in: each object holds one part for each
label present, and a lung's part holds the lesions that lie in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import CovsegError, InputError, ResourceError
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.atomic import atomic_file
from napari_covseg.io.dicom_codes import SEGMENTS
from napari_covseg.io.dicom_files import quiet_pydicom
from napari_covseg.io.dicom_source import SourceSeries

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Planes = NDArray[np.uint8]
"""``(n, rows, columns)``: on each slice of a series the numbers of `with_sides`."""
Tables = Mapping[Label, NDArray[np.bool_]]
"""For each label present, which of the numbers of `with_sides` are in its part."""

_SIDES = {Label.LEFT_LUNG: 1, Label.RIGHT_LUNG: 2}
_CODES = 3 * len(Label)


@dataclass(frozen=True, eq=False, slots=True)
class LabelsOnSlices:
    """Labels, the series they belong to, and the lung ``(z, y, x)`` that each lesion lies in."""

    labels: LabelMap
    source: SourceSeries
    sides: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class Words:
    """What errors call the object, and one of its parts."""

    what: str
    part: str


def write_tested(
    given: LabelsOnSlices,
    path: Path,
    words: Words,
    make: Callable[[Planes, Tables], Dataset],
    reads: Callable[[Path, Planes, Tables], bool],
) -> tuple[Dataset, dict[Label, int]]:
    """Write what ``make`` makes, if it ``reads`` back as the labels before it gets its name.

    Returns the object, and the number of each label's part.

    Raises
    ------
    InputError
        If nothing is labelled.
    ResourceError
        If memory or disk do not suffice.
    CovsegError
        If it does not read back: nothing is written then.
    """
    labels = given.labels
    if given.source.geometry.shape != labels.geometry.shape:
        raise ValueError("the labels are not on the grid of the series")
    tables = segment_tables(labels.labels)
    if not tables:
        raise InputError(
            f"{path.name}: no lung and no lesion is labelled, so there is no {words.part}"
        )
    try:
        with quiet_pydicom():
            planes = given.source.to_slices(with_sides(labels.labels, given.sides))
            dataset = make(planes, tables)
            with atomic_file(path) as file:
                dataset.save_as(file, enforce_file_format=True)
                file.flush()
                if not reads(Path(file.name), planes, tables):
                    raise CovsegError(
                        f"{path.name}: the self-test failed, the {words.what} would not read back "
                        "as the labels: nothing was written; please report it"
                    )
    except MemoryError:
        raise ResourceError(f"{path.name}: not enough memory to write the {words.what}") from None
    return dataset, {label: number for number, label in enumerate(tables, start=1)}


def with_sides(labels: NDArray[np.uint8], sides: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Label and, for lesions, the side as one number, so that both go to the slices together."""
    coded = np.where(labels == Label.IGNORE.value, np.uint8(0), labels)
    if sides is not None:
        lesion = np.isin(labels, LESION_LABELS)
        coded[lesion] += sides[lesion] * np.uint8(len(Label))
    return coded


def segment_tables(labels: NDArray[np.uint8]) -> dict[Label, NDArray[np.bool_]]:
    """For each label present, which of the numbers of `with_sides` are in its segment."""
    present = np.bincount(labels.ravel(), minlength=len(Label)) > 0
    sided = present[Label.LEFT_LUNG] or present[Label.RIGHT_LUNG]
    tables = {}
    for label in SEGMENTS:
        if not present[label]:
            continue
        table = np.zeros(_CODES, np.bool_)
        table[label] = True
        lesion_sides: tuple[int, ...] = (_SIDES[label],) if label in _SIDES else ()
        if label in LESION_LABELS or (label is Label.LUNG and not sided):
            lesion_sides = (0, 1, 2)
        held = (label,) if label in LESION_LABELS else LESION_LABELS
        for side in lesion_sides:
            table[[lesion + side * len(Label) for lesion in held]] = True
        tables[label] = table
    return tables


def written_notes(labels: NDArray[np.uint8], source: SourceSeries) -> tuple[str, ...]:
    """What did not go onto the slices as it was."""
    notes = list(source.notes)
    if ignored := int(np.count_nonzero(labels == Label.IGNORE.value)):
        notes.append(f"{ignored} voxels that were not reviewed are left out")
    if source.grid.stacking is not None:
        notes.append(
            "the labels lie on a resampled grid, since the slices are tilted or uneven: each of "
            f"the {len(source.frames)} slices took the labels of the nearest voxels"
        )
    return tuple(notes)
