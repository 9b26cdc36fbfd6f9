"""What the header of a DICOM image says: one `Image` a file, one `Frame` a slice."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, BinaryIO

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.io.bounds import check_deflated
from napari_covseg.io.dicom_files import Member, starts_as_dicom
from napari_covseg.io.dicom_values import (
    Vector,
    day,
    first,
    first_number,
    first_text,
    integer,
    numbers,
    text,
    words,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE_SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)

_CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DERIVED_KINDS = {
    "SECONDARY", "MPR", "REFORMATTED", "PROJECTION", "PROJECTION IMAGE", "MIP", "MINIP",
    "MAX_IP", "MIN_IP", "AVERAGE", "VRT", "CSAMPLE", "CSAMANIP", "CSAPARALLEL", "CURVED",
}  # fmt: skip
_HU_UNITS = (
    "",
    "1",
    "HU",
    "HU_MOD",
    "[HNSF'U]",
    "US",
    "HOUNSFIELD",
    "HOUNDSFIELD",
    "HOUNSFIELD UNIT",
)
_SEQUENCES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_VOLUME_KEYS = (
    "TemporalPositionIdentifier", "AcquisitionNumber", "AcquisitionTime", "TriggerTime",
    "NominalPercentageOfCardiacPhase", "ConvolutionKernel", "ImageType",
)  # fmt: skip
_MOST_FRAMES = 65_536
_DAYS = ("AcquisitionDate", "StudyDate")
_FRAME_KEYS = ("StackID", "TemporalPositionIndex", "FrameAcquisitionNumber")
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "Modality", "InstanceNumber", "NumberOfFrames", "SamplesPerPixel",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
    "SliceThickness", "SpacingBetweenSlices", "GantryDetectorTilt", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "RealWorldValueMappingSequence", *_DAYS, *_SEQUENCES, *_VOLUME_KEYS,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Image:
    """A DICOM file that holds an image; no patient's data but the day, which is never written.

    ``pixel_offset`` is where uncompressed voxels start in the file, None where they have to be
    decoded. ``kind`` holds the values of ImageType.
    """

    member: Member
    modality: str
    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
    series_number: int | None
    description: str
    kind: tuple[str, ...]
    syntax: str
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    padding: tuple[int, int] | None
    tilt_degrees: float
    has_pixels: bool
    pixel_offset: int | None
    taken: date | None = field(default=None, repr=False)

    @property
    def is_multiframe(self) -> bool:
        """Whether the slices are frames of one file."""
        return self.frames > 1

    @property
    def is_ct(self) -> bool:
        """Whether it says it is a CT; where the modality was removed, its class tells."""
        return self.modality == "CT" or (not self.modality and self.sop_class in _CT_CLASSES)

    @property
    def is_localizer(self) -> bool:
        """Whether it is a scout: a projection, not a slice."""
        return "LOCALIZER" in self.kind or "SCOUT" in self.kind

    @property
    def is_derived(self) -> bool:
        """Whether it was computed from other images or captured from a screen."""
        secondary = self.sop_class.startswith(_SECONDARY_CAPTURE)
        return secondary or bool(_DERIVED_KINDS.intersection(self.kind))


@dataclass(frozen=True, slots=True)
class Frame:
    """A slice: ``index`` of its file's frames, where it lies, and its rescaling to HU.

    ``position`` and ``orientation`` (row and column cosines) are LPS, ``spacing`` is
    ``(between rows, between columns)`` in mm; each is None if the header lacks it. ``keys`` are
    values that tell time points and reconstructions of one series apart. ``unit`` names what the
    rescaled values are, empty for HU.
    """

    image: Image
    index: int
    number: int
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    thickness: float | None
    slope: float
    intercept: float
    unit: str
    keys: tuple[str, ...] = field(default=())


def read_header(member: Member) -> list[Frame]:
    """The slices a file holds; none if it is not an image (a report, a directory, a plan).

    Raises
    ------
    InputError
        If the file is not DICOM or its header is damaged.
    """
    dataset, syntax, offset, has_pixels = _parse(member)
    if "Rows" not in dataset and not has_pixels and text(dataset, "Modality") != "CT":
        return []
    try:
        image = _image(dataset, member, syntax, offset, has_pixels)
        if image.frames > _MOST_FRAMES:
            raise ValueError
        return list(_frames(dataset, image))
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError):
        raise InputError(f"{member.name}: the DICOM header is damaged") from None


def _parse(member: Member) -> tuple[Dataset, str, int | None, bool]:
    """The header, the transfer syntax, where voxels start, and whether there are any."""
    from pydicom import dcmread

    if member.size == 0:
        raise InputError(f"{member.name}: the file is empty (0 bytes)")
    if not starts_as_dicom(member):
        raise InputError(
            f"{member.name}: not DICOM, or damaged: neither the DICM mark nor a DICOM element at "
            "its start; export the scan again"
        )
    file = member.open_head()
    try:
        check_deflated(file, member.name)
        dataset, offset = _read_to_pixels(dcmread, file)
        if offset is None and member.zipped and file.seek(0, os.SEEK_END) < member.size:
            file = member.open_whole()
            check_deflated(file, member.name)
            dataset, offset = _read_to_pixels(dcmread, file)
    except CovsegError:
        raise
    except Exception:  # pydicom raises many kinds on damaged input, all meaning this
        raise InputError(f"{member.name}: the DICOM header is damaged or cut off") from None
    finally:
        file.close()
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) or _guessed_syntax(dataset)
    if syntax == DEFLATED:
        return dataset, syntax, None, True
    return dataset, syntax, offset if syntax in NATIVE_SYNTAXES else None, offset is not None


def _read_to_pixels(dcmread: Any, file: BinaryIO) -> tuple[Dataset, int | None]:
    dataset = dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
    implicit, little = dataset.original_encoding
    start = file.tell()
    head = file.read(12)
    if len(head) < 8 or head[:2] != (b"\xe0\x7f" if little else b"\x7f\xe0"):
        return dataset, None
    return dataset, start + (8 if implicit else 12)


def _guessed_syntax(dataset: Dataset) -> str:
    implicit, little = dataset.original_encoding
    if not little:
        return EXPLICIT_BIG
    return IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE


def _image(
    dataset: Dataset, member: Member, syntax: str, offset: int | None, has_pixels: bool
) -> Image:
    padding = integer(dataset, "PixelPaddingValue")
    limit = integer(dataset, "PixelPaddingRangeLimit")
    bits = integer(dataset, "BitsAllocated") or 16
    tilt = numbers(dataset, "GantryDetectorTilt", 1)
    return Image(
        member=member,
        modality=text(dataset, "Modality").upper(),
        sop_class=text(dataset, "SOPClassUID"),
        sop_uid=text(dataset, "SOPInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        series_number=integer(dataset, "SeriesNumber"),
        description=text(dataset, "SeriesDescription"),
        kind=words(dataset, "ImageType"),
        syntax=syntax,
        rows=integer(dataset, "Rows") or 0,
        columns=integer(dataset, "Columns") or 0,
        frames=max(1, integer(dataset, "NumberOfFrames") or 1),
        samples=integer(dataset, "SamplesPerPixel") or 1,
        bits_allocated=bits,
        bits_stored=integer(dataset, "BitsStored") or bits,
        signed=integer(dataset, "PixelRepresentation") == 1,
        padding=None if padding is None else _ordered(padding, padding if limit is None else limit),
        tilt_degrees=tilt[0] if tilt else 0.0,
        has_pixels=has_pixels,
        pixel_offset=offset,
        taken=day(dataset, *_DAYS),
    )


def _frames(dataset: Dataset, image: Image) -> Iterator[Frame]:
    shared, per_frame = (list(dataset.get(name) or []) for name in _SEQUENCES)
    # A segmentation is only named here, not read: its many frames need not be looked at.
    for index in range(1 if image.modality == "SEG" else image.frames):
        groups = [*per_frame[index : index + 1], *shared[:1]]
        yield _frame(dataset, groups, image, index)


def _frame(dataset: Dataset, groups: Sequence[Dataset], image: Image, index: int) -> Frame:
    measures = _layers(dataset, groups, "PixelMeasuresSequence")
    values = _layers(dataset, groups, "PixelValueTransformationSequence")
    slope = first_number(values, "RescaleSlope")
    intercept = first_number(values, "RescaleIntercept")
    content = _layers(dataset, groups, "FrameContentSequence")
    thickness = first_number(measures, "SliceThickness") or first_number(
        measures, "SpacingBetweenSlices"
    )
    keys = [text(dataset, name) for name in _VOLUME_KEYS]
    keys += [first_text(content, name) for name in _FRAME_KEYS]
    return Frame(
        image=image,
        index=index,
        number=integer(dataset, "InstanceNumber") or 0,
        position=first(
            _layers(dataset, groups, "PlanePositionSequence"), "ImagePositionPatient", 3
        ),
        orientation=first(
            _layers(dataset, groups, "PlaneOrientationSequence"), "ImageOrientationPatient", 6
        ),
        spacing=first(measures, "PixelSpacing", 2),
        thickness=abs(thickness) if thickness else None,
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        unit=_unit(dataset, groups, values),
        keys=tuple(keys),
    )


def _layers(dataset: Dataset, groups: Sequence[Dataset], name: str) -> list[Dataset]:
    """Where to look for a value, first hit counts: the frame's group, the shared one, the root."""
    items = [group[name].value[0] for group in groups if group.get(name)]
    return [*items, dataset]


def _unit(dataset: Dataset, groups: Sequence[Dataset], values: list[Dataset]) -> str:
    """The unit the header declares for rescaled values, empty for HU or if it declares none."""
    for layer in (*groups, dataset):
        for mapping in layer.get("RealWorldValueMappingSequence") or []:
            for code in mapping.get("MeasurementUnitsCodeSequence") or []:
                value = text(code, "CodeValue")
                if value.upper() not in _HU_UNITS:
                    return value
    unit = first_text(values, "RescaleType").upper()
    return "" if unit in _HU_UNITS or unit.startswith("HOUN") else unit


def _ordered(first: int, second: int) -> tuple[int, int]:
    return min(first, second), max(first, second)
