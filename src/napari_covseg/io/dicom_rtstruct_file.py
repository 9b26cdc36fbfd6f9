"""What an RTSTRUCT file holds: its structures, their names and their contours, as they stand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.io.bounds import check_deflated
from napari_covseg.io.dicom_files import quiet_pydicom
from napari_covseg.io.dicom_values import integer, text
from napari_covseg.io.sniff import readable

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Points = NDArray[np.float64]

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
CLOSED, CLOSED_XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"

_HEAD_BYTES = 1024
_CONTOUR_DATA = 0x30060050


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """A region of interest: its name and what else it calls itself, and its closed contours.

    ``contours`` are ``(n, 3)`` LPS mm, each with its geometric type; ``left_out`` counts those
    that enclose nothing: points and open lines.
    """

    number: int
    texts: tuple[str, ...]
    frame_of_reference: str
    contours: tuple[tuple[str, Points], ...]
    left_out: int


@dataclass(frozen=True, slots=True, eq=False)
class StructureSet:
    """The content of an RTSTRUCT file; ``series`` is the UID of the series it was drawn on."""

    name: str
    series: str
    structures: tuple[Structure, ...]

    @property
    def case(self) -> str:
        """The pseudonym of the series it was drawn on."""
        return f"ct-{hashlib.sha256(self.series.encode()).hexdigest()[:10]}"


def is_rtstruct(path: str | Path) -> bool:
    """Whether ``path`` is an RTSTRUCT file; cheap, reads the first bytes."""
    path = Path(path)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return f"{RTSTRUCT_CLASS}".encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False


def load_structures(path: Path) -> StructureSet:
    """What an RTSTRUCT holds.

    Raises
    ------
    InputError
        If it is damaged or has no structures.
    """
    from pydicom import dcmread

    with readable(path), quiet_pydicom():
        try:
            with path.open("rb") as file:
                check_deflated(file, path.name)
                dataset = dcmread(file, force=True)
            found = _structure_set(dataset, path.name)
        except (InputError, OSError, MemoryError):
            raise
        except Exception:  # pydicom raises many kinds on damaged input, all meaning this
            raise InputError(f"{path.name}: the RTSTRUCT is damaged or cut off") from None
    if not found.structures:
        raise InputError(f"{path.name}: the RTSTRUCT has no structures, or is cut off")
    return found


def _structure_set(dataset: Dataset, name: str) -> StructureSet:
    contours: dict[int | None, list[Dataset]] = {}
    for one in dataset.get("ROIContourSequence") or []:
        own = contours.setdefault(integer(one, "ReferencedROINumber"), [])
        own += one.get("ContourSequence") or []
    seen: dict[int | None, list[str]] = {}
    for one in dataset.get("RTROIObservationsSequence") or []:
        seen.setdefault(integer(one, "ReferencedROINumber"), []).extend(_observed(one))
    frame = next((text(one, "FrameOfReferenceUID") for one in _frames(dataset)), "")
    structures: list[Structure] = []
    for roi in dataset.get("StructureSetROISequence") or []:
        number = integer(roi, "ROINumber")
        if number is None:
            raise InputError(f"{name}: the RTSTRUCT is damaged: a structure has no number")
        if any(one.number == number for one in structures):
            raise InputError(f"{name}: the RTSTRUCT is damaged: two structures are number {number}")
        items = contours.get(number, [])
        kinds = [text(one, "ContourGeometricType").upper() for one in items]
        closed = tuple(
            (kind, _points(one, name))
            for kind, one in zip(kinds, items, strict=True)
            if kind in (CLOSED, CLOSED_XOR)
        )
        structures.append(
            Structure(
                number,
                (text(roi, "ROIName"), *seen.get(number, [])),
                text(roi, "ReferencedFrameOfReferenceUID") or frame,
                closed,
                len(items) - len(closed),
            )
        )
    return StructureSet(name, _series_of(dataset), tuple(structures))


def _frames(dataset: Dataset) -> list[Dataset]:
    return list(dataset.get("ReferencedFrameOfReferenceSequence") or [])


def _series_of(dataset: Dataset) -> str:
    """The UID of the series it refers to first, empty if it tells none."""
    for frame in _frames(dataset):
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                return text(series, "SeriesInstanceUID")
    return ""


def _observed(observation: Dataset) -> list[str]:
    """What else a structure is called: its label there, and its coded type with modifiers."""
    coded = [
        " ".join(
            text(part, "CodeMeaning")
            for part in (code, *(code.get("SegmentedPropertyTypeModifierCodeSequence") or []))
        )
        for code in observation.get("RTROIIdentificationCodeSequence") or []
    ]
    return [text(observation, "ROIObservationLabel"), *coded]


def _points(contour: Dataset, name: str) -> Points:
    # A structure set holds a million numbers: as objects of pydicom they would take minutes.
    raw = contour.get_item(_CONTOUR_DATA)
    value = b"" if raw is None else raw.value
    numbers = value.split(b"\\") if isinstance(value, bytes) else list(value or [])
    try:
        points = np.array(numbers, np.float64).reshape(-1, 3)
    except ValueError:
        raise InputError(f"{name}: the RTSTRUCT is damaged: a contour is no list of points") from (
            None
        )
    if not np.isfinite(points).all() or not len(points):
        raise InputError(f"{name}: the RTSTRUCT is damaged: a contour has no place")
    return points
