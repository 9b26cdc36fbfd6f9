"""A label map to a DICOM RT Structure Set: contours on the slices of the series it was made from.

One structure for each label present, lungs with the lesions that lie in them, as in a SEG. Holes
are keyholes, and `read_rtstruct` reads the same labels back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.contours import outlines
from napari_covseg.io.dicom_codes import SEGMENTS
from napari_covseg.io.dicom_labels_write import (
    LabelsOnSlices,
    Tables,
    Words,
    write_tested,
    written_notes,
)
from napari_covseg.io.dicom_labels_write import Planes as LabelPlanes
from napari_covseg.io.dicom_maker import RESEARCH_USE, Maker
from napari_covseg.io.dicom_reference import reference_images
from napari_covseg.io.dicom_rtstruct import structure_masks
from napari_covseg.io.dicom_rtstruct_file import CLOSED, RTSTRUCT_CLASS, load_structures
from napari_covseg.io.dicom_rtstruct_planes import Planes
from napari_covseg.io.dicom_source import SourceSeries

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SERIES_OFFSET = 3000
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: retired, and still what the standard refers to a study by."""
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_DIGITS = 4
"""Of mm: a hundred thousandth of a pixel, in the 16 characters that a number may have."""

_IDENTITY = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "accession_number": "AccessionNumber",
    "study_id": "StudyID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "referring_physician_name": "ReferringPhysicianName",
}


@dataclass(frozen=True, slots=True)
class WrittenRtstruct:
    """An RTSTRUCT on disk: the number of each label's structure, and notes."""

    path: Path
    structures: Mapping[Label, int]
    notes: tuple[str, ...] = ()


def write_rtstruct(
    labels: LabelMap,
    source: SourceSeries,
    path: str | Path,
    maker: Maker,
    sides: NDArray[np.uint8] | None = None,
) -> WrittenRtstruct:
    """Write labels as a DICOM RTSTRUCT, after what would be written was read back and compared.

    The contours read back to the very pixels they were drawn around, on every slice of the
    series. Labels to be ignored are left out.

    Parameters
    ----------
    labels
        On the grid of ``source`` (`SourceSeries.place`).
    source
        The series to refer to.
    path
        The file; it appears whole or not at all.
    maker
        How the labels were made.
    sides
        ``(z, y, x)``, the lung that a lesion lies in (1 left, 2 right); without it, lesions are
        cut out of the left and right lung.

    Raises
    ------
    InputError
        If nothing is labelled, or the headers of the series do not allow an RTSTRUCT.
    ResourceError
        If memory or disk do not suffice.
    CovsegError
        If what would be written does not read back as the labels: nothing is written then.
    """
    path = Path(path)
    _, numbers = write_tested(
        LabelsOnSlices(labels, source, sides),
        path,
        Words("RTSTRUCT", "contour"),
        lambda planes, tables: _dataset(planes, tables, source, maker),
        lambda back, planes, tables: _reads(back, planes, tables, source),
    )
    return WrittenRtstruct(path, numbers, written_notes(labels.labels, source))


def _reads(
    path: Path,
    planes: LabelPlanes,
    tables: Tables,
    source: SourceSeries,
) -> bool:
    """Whether every structure, read back, has the pixels of its label on every slice."""
    found = load_structures(path)
    where = Planes.of_series(source)
    if len(found.structures) != len(tables):
        return False
    for structure, table in zip(found.structures, tables.values(), strict=True):
        masks, overlaps = structure_masks(found.name, structure, where)
        if overlaps:
            return False
        for k, plane in enumerate(planes):
            expected = table[plane]
            if not np.array_equal(masks.get(k, np.zeros_like(expected)), expected):
                return False
    return True


def _dataset(
    planes: LabelPlanes,
    tables: Tables,
    source: SourceSeries,
    maker: Maker,
) -> Dataset:
    made = _start(source, maker)
    _add_structure_set(made, tables, source, maker)
    where = Planes.of_series(source)
    made.ROIContourSequence = []
    made.RTROIObservationsSequence = []
    for number, (label, table) in enumerate(tables.items(), start=1):
        made.ROIContourSequence.append(_contours(number, label, table[planes], where, source))
        made.RTROIObservationsSequence.append(_observation(number, label, maker))
    return made


def _start(source: SourceSeries, maker: Maker) -> Dataset:
    """The object with its patient, study, series and equipment, nothing in it yet."""
    from highdicom import UID
    from highdicom.base import SOPClass

    first = reference_images(source)[0]
    try:
        made = SOPClass(
            study_instance_uid=str(first.StudyInstanceUID),
            series_instance_uid=UID(),
            series_number=source.number + _SERIES_OFFSET,
            sop_instance_uid=UID(),
            sop_class_uid=RTSTRUCT_CLASS,
            instance_number=1,
            modality="RTSTRUCT",
            transfer_syntax_uid=_IMPLICIT_LITTLE,
            series_description="covseg contours (research use only)",
            specific_character_set=first.get("SpecificCharacterSet"),
            **{name: first.get(tag) for name, tag in _IDENTITY.items()},
            **maker.equipment,
        )
        made.copy_patient_and_study_information(first)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        # Without the cause: highdicom quotes what it refuses, patient data included.
        raise InputError(
            f"{source.name}: the headers of the series break the standard, so no RTSTRUCT can "
            "refer to it; export as nifti, nrrd or seg-nrrd"
        ) from None
    made.OperatorsName = maker.person
    made.FrameOfReferenceUID = first.FrameOfReferenceUID
    made.PositionReferenceIndicator = first.get("PositionReferenceIndicator", "")
    return made


def _add_structure_set(made: Dataset, tables: Tables, source: SourceSeries, maker: Maker) -> None:
    now = datetime.now()
    made.StructureSetLabel = "COVSEG"
    made.StructureSetDescription = f"Lungs, GGO and consolidation. {RESEARCH_USE}"
    made.StructureSetDate = now.strftime("%Y%m%d")
    made.StructureSetTime = now.strftime("%H%M%S")
    series = _item(
        SeriesInstanceUID=source.header.SeriesInstanceUID,
        ContourImageSequence=[_image(source, i) for i in range(len(source.frames))],
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=source.header.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    made.ReferencedFrameOfReferenceSequence = [
        _item(
            FrameOfReferenceUID=source.header.FrameOfReferenceUID,
            RTReferencedStudySequence=[study],
        )
    ]
    algorithm = " ".join(filter(None, ("napari-covseg", maker.model, maker.version)))
    made.StructureSetROISequence = [
        _item(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=source.header.FrameOfReferenceUID,
            ROIName=label.title,
            ROIGenerationAlgorithm=maker.algorithm_type,
            **({} if maker.way == "manual" else {"ROIGenerationDescription": algorithm[:64]}),
        )
        for number, label in enumerate(tables, start=1)
    ]


def _contours(
    number: int, label: Label, mask: NDArray[np.bool_], where: Planes, source: SourceSeries
) -> Dataset:
    """A structure's contours, slice by slice; ``mask`` is ``(n, rows, columns)``."""
    found: list[Dataset] = []
    for k, plane in enumerate(mask):
        for pixels in outlines(plane):
            points = where.origins[k] + pixels @ where.steps
            found.append(
                _item(
                    ContourNumber=len(found) + 1,
                    ContourImageSequence=[_image(source, k)],
                    ContourGeometricType=CLOSED,
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{value:.{_DIGITS}f}" for value in points.ravel()],
                )
            )
    colour = bytes.fromhex(LABEL_COLOURS[label][1:])
    return _item(ReferencedROINumber=number, ROIDisplayColor=list(colour), ContourSequence=found)


def _observation(number: int, label: Label, maker: Maker) -> Dataset:
    """What a structure is, coded as the segment of a SEG is."""
    terms = SEGMENTS[label]
    kind = terms.kind.coded()
    if terms.side is not None:
        kind.SegmentedPropertyTypeModifierCodeSequence = [terms.side.coded()]
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=label.title,
        RTROIIdentificationCodeSequence=[kind],
        RTROIInterpretedType="" if terms.region else "ORGAN",
        ROIInterpreter=maker.person,
    )


def _image(source: SourceSeries, k: int) -> Dataset:
    """The reference to a slice."""
    frame = source.frames[k]
    made = _item(
        ReferencedSOPClassUID=frame.image.sop_class, ReferencedSOPInstanceUID=frame.image.sop_uid
    )
    if source.is_multiframe:
        made.ReferencedFrameNumber = frame.index + 1
    return made


def _item(**elements: Any) -> Dataset:
    from pydicom.dataset import Dataset

    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made
