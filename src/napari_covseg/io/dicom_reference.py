"""The images of a series as highdicom wants to know them: clean headers, one orientation."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from napari_covseg.io.dicom_grid import thickness_of
from napari_covseg.io.dicom_header import Frame
from napari_covseg.io.dicom_source import SourceSeries

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


def reference_images(source: SourceSeries) -> list[Dataset]:
    """One data set for each slice, or one for a multi-frame file; the first has the patient.

    Patient and study are cleaned of what breaks the standard, and no private element is kept.
    """
    if source.is_multiframe:
        return [_multiframe(source)]
    first = _clean_copy(source.header)
    return [
        _with_place(first if i == 0 else _reference(source.header, frame), frame, source)
        for i, frame in enumerate(source.frames)
    ]


def _clean_copy(header: Dataset) -> Dataset:
    """Without private and empty elements, and without values that highdicom refuses.

    What the standard wants even if nothing is known is there, empty.
    """
    clean = deepcopy(header)
    clean.remove_private_tags()
    for element in list(clean):
        if element.is_empty:
            del clean[element.tag]
    for name in _MAY_BE_EMPTY:
        value = clean.get(name)
        if value is None or not _is_valid(name, value):
            setattr(clean, name, "")
    _state_deidentification(clean)
    _state_character_set(clean)
    return clean


def _state_deidentification(clean: Dataset) -> None:
    """Who says that identity was removed must say how."""
    told = {"DeidentificationMethod", "DeidentificationMethodCodeSequence"}
    if clean.get("PatientIdentityRemoved") == "YES" and not any(name in clean for name in told):
        clean.DeidentificationMethod = "not stated by the source"


def _state_character_set(clean: Dataset) -> None:
    """Texts in a character set that is not a standard one go on as Unicode."""
    from highdicom.enum import SpecificCharacterSetValues

    known = {value.value for value in SpecificCharacterSetValues}
    named = clean.get("SpecificCharacterSet")
    sets = [named] if isinstance(named, str) else list(named or [])
    if not set(sets) <= known:
        clean.decode()
        clean.SpecificCharacterSet = "ISO_IR 192"


def _is_valid(name: str, value: Any) -> bool:
    from pydicom.valuerep import DA, TM

    if name == "PatientSex":
        return value in ("", "M", "F", "O")
    try:
        if name.endswith("Date"):
            DA(value)
        elif name.endswith("Time"):
            TM(value)
    except (ValueError, TypeError):
        return False
    return True


def _reference(header: Dataset, frame: Frame) -> Dataset:
    from pydicom.dataset import Dataset

    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = frame.image.sop_class, frame.image.sop_uid
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"):
        setattr(made, name, header.get(name))
    return made


def _with_place(made: Dataset, frame: Frame, source: SourceSeries) -> Dataset:
    """The slice's place; all slices get the orientation of the first, which theirs are near to."""
    image = frame.image
    made.Rows, made.Columns = image.rows, image.columns
    made.ImagePositionPatient = _decimals(frame.position)
    made.ImageOrientationPatient = _decimals(source.frames[0].orientation)
    for name, value in _measures(source).items():
        setattr(made, name, value)
    return made


def _multiframe(source: SourceSeries) -> Dataset:
    from pydicom.dataset import Dataset

    made = _clean_copy(source.header)
    image = source.frames[0].image
    made.Rows, made.Columns, made.NumberOfFrames = image.rows, image.columns, image.frames
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = _decimals(source.frames[0].orientation)
    for name, value in _measures(source).items():
        setattr(measures, name, value)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    made.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame in sorted(source.frames, key=lambda frame: frame.index):
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = _decimals(frame.position)
        group.PlanePositionSequence = [place]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    return made


def _measures(source: SourceSeries) -> dict[str, Any]:
    """Pixel size and thickness; the distance of slices only where it is one and the same."""
    first = source.frames[0]
    measures = {
        "PixelSpacing": _decimals(first.spacing),
        "SliceThickness": _decimals((thickness_of(first),))[0],
    }
    if len(source.frames) > 1 and source.grid.stacking is None:
        measures["SpacingBetweenSlices"] = _decimals((source.grid.native.spacing_mm[0],))[0]
    return measures


def _decimals(values: tuple[float, ...] | None) -> list[Any]:
    """Decimal strings of 16 characters at most."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(value, auto_format=True) for value in values or ()]
