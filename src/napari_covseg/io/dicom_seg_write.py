"""A label map to a DICOM Segmentation that refers, slice by slice, to the series it was made from.

BINARY, one segment for each label present. The lungs' segments hold the lesions that lie in them,
as the lungs' volumes do, so segments overlap; `read_dicom_seg` reads the same labels back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.dicom_codes import SEGMENTS
from napari_covseg.io.dicom_labels_write import (
    LabelsOnSlices,
    Planes,
    Tables,
    Words,
    write_tested,
    written_notes,
)
from napari_covseg.io.dicom_maker import Maker
from napari_covseg.io.dicom_reference import reference_images
from napari_covseg.io.dicom_seg import read_dicom_seg
from napari_covseg.io.dicom_seg_frames import seg_frames
from napari_covseg.io.dicom_source import SourceSeries

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SERIES_OFFSET = 1000
_SAME_PLACE_MM = 1e-3


@dataclass(frozen=True, slots=True)
class WrittenSeg:
    """A SEG on disk: its UIDs, and the number of each label's segment."""

    path: Path
    sop_class: str
    sop_uid: str
    series_uid: str
    segments: Mapping[Label, int]
    notes: tuple[str, ...] = ()


def write_dicom_seg(
    labels: LabelMap,
    source: SourceSeries,
    path: str | Path,
    maker: Maker,
    sides: NDArray[np.uint8] | None = None,
) -> WrittenSeg:
    """Write labels as a DICOM SEG, after what would be written was read back and compared.

    Labels to be ignored are left out. Where the series is tilted or uneven, each of its slices
    takes the labels of the nearest voxels, and empty slices are kept: without them nobody could
    tell a gap from a slice without labels.

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
        If nothing is labelled, or the headers of the series do not allow a SEG.
    ResourceError
        If memory or disk do not suffice.
    CovsegError
        If what would be written does not read back as the labels: nothing is written then.
    """
    path = Path(path)

    def reads(back: Path, planes: Planes, tables: Tables) -> bool:
        return _frames_match(back, planes, tables, source) and _reads(back, planes, source)

    dataset, numbers = write_tested(
        LabelsOnSlices(labels, source, sides),
        path,
        Words("DICOM SEG", "segment"),
        lambda planes, tables: _dataset(planes, tables, source, maker),
        reads,
    )
    return WrittenSeg(
        path,
        str(dataset.SOPClassUID),
        str(dataset.SOPInstanceUID),
        str(dataset.SeriesInstanceUID),
        numbers,
        written_notes(labels.labels, source),
    )


def _dataset(planes: Planes, tables: Tables, source: SourceSeries, maker: Maker) -> Any:
    from highdicom import UID
    from highdicom.seg import Segmentation

    in_order = planes
    if source.is_multiframe:
        in_order = planes[np.argsort([frame.index for frame in source.frames])]
    pixels = np.stack([table[in_order] for table in tables.values()], axis=-1).view(np.uint8)
    try:
        return Segmentation(
            source_images=reference_images(source),
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=_descriptions(tables, maker),
            series_instance_uid=UID(),
            series_number=source.number + _SERIES_OFFSET,
            sop_instance_uid=UID(),
            instance_number=1,
            omit_empty_frames=_is_regular(source),
            content_label="COVSEG",
            content_description="Lungs, GGO and consolidation; research use only",
            content_creator_name=maker.person or None,
            series_description="covseg segmentation (research use only)",
            **maker.equipment,
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        # Without the cause: highdicom quotes what it refuses, patient data included.
        raise InputError(
            f"{source.name}: the headers of the series break the standard, so no DICOM SEG can "
            "refer to it; export as nifti, nrrd or seg-nrrd"
        ) from None


def _is_regular(source: SourceSeries) -> bool:
    """Whether others take the slices for a regular grid too, which tells where one is left out."""
    from highdicom.spatial import get_volume_positions

    if len(source.frames) == 1:
        return True
    positions = [frame.position for frame in source.frames]
    return get_volume_positions(positions, source.frames[0].orientation)[0] is not None


def _descriptions(tables: Tables, maker: Maker) -> list[Any]:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    made = []
    for number, label in enumerate(tables, start=1):
        terms = SEGMENTS[label]
        red, green, blue = bytes.fromhex(LABEL_COLOURS[label][1:])
        one = SegmentDescription(
            segment_number=number,
            segment_label=label.title,
            segmented_property_category=terms.category.coded(),
            segmented_property_type=terms.kind.coded(),
            algorithm_type=maker.algorithm_type,
            algorithm_identification=maker.algorithm(),
            anatomic_regions=[terms.region.coded()] if terms.region else None,
            display_color=CIELabColor.from_rgb(red, green, blue),
        )
        if terms.side is not None:
            kind = one.SegmentedPropertyTypeCodeSequence[0]
            kind.SegmentedPropertyTypeModifierCodeSequence = [terms.side.coded()]
        made.append(one)
    return made


def _frames_match(
    path: Path,
    planes: Planes,
    tables: Tables,
    source: SourceSeries,
) -> bool:
    """Whether every frame of the file holds the pixels and the place of the slice it refers to.

    Read with pydicom alone, so that a mistake of the writer is not made twice.
    """
    from pydicom import dcmread
    from pydicom.pixels import iter_pixels

    dataset: Dataset = dcmread(path)
    slices = {
        (frame.image.sop_uid, frame.index + 1 if source.is_multiframe else None): i
        for i, frame in enumerate(source.frames)
    }
    inside = list(tables.values())
    missing = {
        (number, i)
        for i, plane in enumerate(planes)
        for number, table in enumerate(inside, start=1)
        if table[plane].any()
    }
    for frame, pixels in zip(seg_frames(dataset), iter_pixels(path), strict=True):
        i = slices.get((frame.source, frame.source_frame))
        if i is None or frame.position is None:
            return False
        off = np.subtract(frame.position, source.frames[i].position or ())
        expected = inside[frame.segment - 1][planes[i]]
        if np.abs(off).max() > _SAME_PLACE_MM or not np.array_equal(pixels != 0, expected):
            return False
        missing.discard((frame.segment, i))
    return not missing


def _reads(path: Path, planes: Planes, source: SourceSeries) -> bool:
    """Whether our reader gets the labels back, each at its place in the patient."""
    labels = source.grid.from_slices(planes % np.uint8(len(Label)))
    return np.array_equal(source.place(read_dicom_seg(path)).labels, labels)
