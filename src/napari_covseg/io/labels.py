"""Any label file to a `LabelMap`: NIfTI, NRRD, ``.seg.nrrd``, MetaImage, DICOM SEG, RTSTRUCT."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.dicom_rtstruct import ScanGrid, read_rtstruct
from napari_covseg.io.dicom_rtstruct_file import is_rtstruct
from napari_covseg.io.dicom_seg import is_dicom_seg
from napari_covseg.io.hounsfield import rescale
from napari_covseg.io.inputs import LABEL_ENDINGS, LABEL_FOLDERS, VOLUME_SUFFIXES, case_name
from napari_covseg.io.label_schemes import apply_label_map, dataset_label_map
from napari_covseg.io.read import read_raw
from napari_covseg.io.slicer_seg import is_slicer_seg, read_slicer_seg
from napari_covseg.io.sniff import Kind, head_of, readable, sniff

__all__ = ["ScanGrid", "is_label_file", "label_case_name", "read_labels"]

_TEXT_8BIT = re.compile(
    rb"^(type: *(uchar|unsigned char|uint8(_t)?)|ElementType *= *MET_UCHAR)\s", re.M
)
_LABEL_WORDS = re.compile(r"(^|[_\-. ])(labels?|masks?|seg|segmentation)([_\-. ]|$)")


def read_labels(
    path: str | Path,
    *,
    label_map: Mapping[int, Label] | None = None,
    onto: ScanGrid | None = None,
) -> LabelMap:
    """Read a label file in the scheme of design: mapped by name, or ours already.

    Parameters
    ----------
    path
        A NIfTI, NRRD (also ``.seg.nrrd``) or MetaImage file, a DICOM SEG or RTSTRUCT file.
    label_map
        What each number means (`parse_label_map`). Without it, the names in a ``.seg.nrrd``,
        DICOM SEG or RTSTRUCT or in a ``dataset.json`` beside or above the file say so; without
        these the values must be those of `Label`.
    onto
        The CT, which the contours of an RTSTRUCT are filled on; other labels have voxels of their
        own and take no notice of it.

    Raises
    ------
    InputError
        If the file cannot be read, is no label map, or holds values without a known meaning;
        of an RTSTRUCT also if it does not belong to the CT, or none is given.
    """
    path = Path(path)
    kind = sniff(path)
    if kind is Kind.DICOM:
        if is_rtstruct(path):
            return _contours(path, label_map, onto)
        from napari_covseg.io.dicom_seg import read_dicom_seg

        return read_dicom_seg(path, label_map)
    with readable(path):
        if kind is Kind.NRRD and is_slicer_seg(path):
            return replace(read_slicer_seg(path, label_map=label_map), case=label_case_name(path))
        raw = read_raw(path, kind)
        values = raw.values
        if (raw.slope, raw.inter) != (1.0, 0.0):
            values = rescale(values, raw.slope, raw.inter)
        if label_map is None:
            label_map = dataset_label_map(path)
        labels, notes = apply_label_map(values, label_map, path.name)
    warnings = (*raw.warnings, *notes)
    if not raw.geometry.orthogonal:
        warnings = (*warnings, "the axes of this label file are not at right angles")
    return LabelMap(
        np.ascontiguousarray(labels), raw.geometry, label_case_name(path), raw.to_native, warnings
    )


def _contours(path: Path, label_map: Mapping[int, Label] | None, onto: ScanGrid | None) -> LabelMap:
    if onto is None:
        raise InputError(
            f"{path.name}: contours (RTSTRUCT) have no voxels of their own: they are read onto the "
            "CT they were drawn on; name that too"
        )
    return read_rtstruct(path, onto, label_map)


def is_label_file(path: str | Path) -> bool:
    """Whether a file holds labels rather than a CT: by name and place, else by its content.

    Cheap: voxels are looked at only where the header says unscaled 8-bit numbers, which no CT in
    HU has. False for what is not read at all.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".seg.nrrd"):
        return True
    if name.endswith(VOLUME_SUFFIXES):
        in_labels = path.parent.name.lower() in LABEL_FOLDERS
        if in_labels or _LABEL_WORDS.search(case_name(path).lower()):
            return True
    try:
        if path.is_dir():
            return False
        kind = sniff(path)
        if kind is Kind.DICOM:
            return is_dicom_seg(path) or is_rtstruct(path)
        if not _is_8bit(head_of(path), kind):
            return False
        raw = read_raw(path, kind)
    except (CovsegError, OSError):
        return False
    return (raw.slope, raw.inter) == (1.0, 0.0) and int(raw.values.max()) < len(Label)


def _is_8bit(head: bytes, kind: Kind) -> bool:
    """Whether the header says unsigned 8-bit voxels."""
    if kind is Kind.NIFTI:
        at = 12 if head[4:6] in (b"n+", b"ni") else 70
        return head[at : at + 2] in (b"\x02\x00", b"\x00\x02")
    return bool(_TEXT_8BIT.search(head))


def label_case_name(path: str | Path) -> str:
    """The case a label file belongs to: `case_name` without ``_labels`` and the like."""
    name = case_name(path)
    for ending in LABEL_ENDINGS:
        name = name.removesuffix(ending) or name
    return name.removesuffix("_0000") or name
