"""DICOM Segmentation objects to a `LabelMap`.

Segments are told by their names and codes (lungs, GGO, consolidation, infection), or by a map
given for the file at hand; with ``raw=True`` any SEG opens, labelled by its segment numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.bounds import check_deflated
from napari_covseg.io.dicom_files import Member, open_members, quiet_pydicom, starts_as_dicom
from napari_covseg.io.dicom_seg_frames import SlicedSeg
from napari_covseg.io.dicom_syntax import syntax_name
from napari_covseg.io.dicom_values import integer
from napari_covseg.io.raw import native_geometry, to_canonical
from napari_covseg.io.segments import general_first, labels_of_segments, overlap_note, paint

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PRESENT_FROM = 0.5
"""The fraction from which a voxel of a fractional segment counts as inside."""

_SEG_CLASSES = (b"1.2.840.10008.5.1.4.1.1.66.4", b"1.2.840.10008.5.1.4.1.1.66.7")
_HEAD_BYTES = 1024


def is_dicom_seg(path: str | Path) -> bool:
    """Whether ``path`` is a DICOM Segmentation file; cheap, reads the first bytes."""
    path = Path(path)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return _is_seg_head(file.read(_HEAD_BYTES))
    except OSError:
        return False


def read_dicom_seg(
    path: str | Path, label_map: Mapping[int, Label] | None = None, *, raw: bool = False
) -> LabelMap:
    """The segments of a DICOM SEG as labels on its own grid, in canonical orientation.

    Fractional segments count from `PRESENT_FROM`, with a warning. Lesions win over the lungs they
    lie in, a side over both lungs, GGO and consolidation over infection. Where segments contradict
    each other the later one wins, with a warning that counts the voxels. Slices the SEG leaves out
    are background. The case is the pseudonym of the CT series the SEG was made for.

    Parameters
    ----------
    path
        A SEG file, or a folder or zip that holds exactly one.
    label_map
        Segment number to label. Segments it does not name are left out, with a warning. Without
        it segments are told by label, coded type and side.
    raw
        Label voxels by segment number, whatever the segments are (`segment_names` tells); for
        looking at a SEG, not for measuring lungs.

    Raises
    ------
    InputError
        If there is no readable SEG, its grid is not regular, or a segment has no label here.
    """
    path = Path(path)
    with quiet_pydicom():
        dataset = _load(path)
        names = _names(dataset)
        values, notes = _values(dataset, names, label_map, raw, path.name)
        segmentation = _as_segmentation(dataset, path.name)
        return _painted(segmentation, values, notes, path.name, raw)


def segment_names(path: str | Path) -> dict[int, str]:
    """Segment number to the name its SEG gives it.

    Raises
    ------
    InputError
        If there is no readable SEG.
    """
    with quiet_pydicom():
        return _names(_load(Path(path)))


def _is_seg_head(head: bytes) -> bool:
    return any(uid in head for uid in _SEG_CLASSES)


def _load(path: Path) -> Dataset:
    from pydicom import dcmread

    with open_members(path) as members:
        found = [member for member in members if _is_seg(member)]
        if len(found) != 1:
            raise InputError(
                f"{path.name}: expected one DICOM segmentation (SEG), found {len(found) or 'none'}"
            )
        try:
            with found[0].open_whole() as file:
                check_deflated(file, found[0].name)
                return dcmread(file, force=True)
        except CovsegError:
            raise
        except Exception:  # pydicom raises many kinds on damaged input, all meaning this
            raise InputError(f"{found[0].name}: the DICOM file is damaged or cut off") from None


def _is_seg(member: Member) -> bool:
    if not starts_as_dicom(member):
        return False
    with member.open() as file:
        return _is_seg_head(file.read(_HEAD_BYTES))


def _names(dataset: Dataset) -> dict[int, str]:
    segments = dataset.get("SegmentSequence") or []
    return {_number(s): str(s.get("SegmentLabel", "")).strip() for s in segments}


def _number(segment: Dataset) -> int:
    return integer(segment, "SegmentNumber") or 0


def _texts(segment: Dataset) -> tuple[str, ...]:
    """What a segment calls itself: its label, then its coded type with modifiers and region."""
    kinds = segment.get("SegmentedPropertyTypeCodeSequence") or []
    regions = segment.get("AnatomicRegionSequence") or []
    coded = [
        " ".join([str(code.get("CodeMeaning", "")), *_modifiers(code)])
        for code in (*kinds, *regions)
    ]
    return (str(segment.get("SegmentLabel", "")).strip(), *coded)


def _modifiers(code: Dataset) -> list[str]:
    names = ("SegmentedPropertyTypeModifierCodeSequence", "AnatomicRegionModifierSequence")
    return [str(item.get("CodeMeaning", "")) for name in names for item in code.get(name) or []]


def _values(
    dataset: Dataset,
    names: Mapping[int, str],
    label_map: Mapping[int, Label] | None,
    raw: bool,
    name: str,
) -> tuple[dict[int, int], list[str]]:
    """Segment number to the value its voxels get, and notes."""
    if not names:
        raise InputError(f"{name}: the segmentation has no segments, or is cut off")
    if raw:
        if max(names) > 255:
            raise InputError(f"{name}: {max(names)} segments, at most 255 can be shown")
        return {number: number for number in names}, []
    told = {_number(segment): _texts(segment) for segment in dataset.SegmentSequence}
    return labels_of_segments(told, label_map, name)


def _as_segmentation(dataset: Dataset, name: str) -> Any:
    from highdicom.seg import Segmentation

    try:
        return Segmentation.from_dataset(dataset, copy=False)
    except Exception:  # highdicom raises many kinds on objects that break the standard
        raise InputError(f"{name}: the segmentation is damaged or incomplete") from None


def _painted(
    segmentation: Any, values: Mapping[int, int], notes: list[str], name: str, raw: bool
) -> LabelMap:
    labels: NDArray[np.uint8] | None = None
    affine = np.eye(4)
    overlap = 0
    sliced = SlicedSeg.of(segmentation)
    for number in sorted(values) if raw else general_first(values):
        mask, affine = _mask(segmentation, sliced, number, name)
        if labels is None:
            labels = np.zeros(mask.shape, dtype=np.uint8)
        if raw:
            overlap += int(np.count_nonzero(labels[mask]))
            labels[mask] = values[number]
        else:
            overlap += paint(labels, mask, values[number])
    if labels is None:
        raise InputError(f"{name}: no segment was chosen")
    if str(segmentation.SegmentationType) == "FRACTIONAL":
        notes.append(f"the segments are fractional: voxels from {PRESENT_FROM:g} on count")
    if overlap:
        notes.append(overlap_note(overlap))
    return _label_map(segmentation, labels, native_geometry(name, labels.shape, affine), notes)


def _label_map(
    segmentation: Any, labels: NDArray[np.uint8], native: Geometry, notes: list[str]
) -> LabelMap:
    turned, geometry, to_native = to_canonical(labels, native)
    series = segmentation.get("ReferencedSeriesSequence") or []
    uid = str(series[0].get("SeriesInstanceUID", "")) if series else ""
    uid = uid or str(segmentation.get("SeriesInstanceUID", ""))
    case = f"ct-{hashlib.sha256(uid.encode()).hexdigest()[:10]}"
    return LabelMap(turned, geometry, case, to_native, tuple(notes))


def _mask(
    segmentation: Any, sliced: SlicedSeg | None, number: int, name: str
) -> tuple[NDArray[np.bool_], NDArray]:
    """Where a segment is, ``(z, y, x)`` as stored, and the affine of that grid."""
    try:
        if sliced is not None:
            return sliced.mask(number), sliced.grid.affine
        volume = segmentation.get_volume(segment_numbers=[number], combine_segments=False)
    except Exception as error:  # highdicom raises many kinds: by its grid, codec or damage
        syntax = str(segmentation.file_meta.get("TransferSyntaxUID", ""))
        cause = "its slices make no regular grid"
        if sliced is not None or "volume" not in str(error).lower():
            cause = f"its voxels ({syntax_name(syntax)}) cannot be decoded"
        raise InputError(f"{name}: the segmentation cannot be opened: {cause}") from None
    affine = np.array(volume.affine, dtype=np.float64)
    affine = affine[:, [2, 1, 0, 3]]
    return np.asarray(volume.array[..., 0] >= PRESENT_FROM), affine
