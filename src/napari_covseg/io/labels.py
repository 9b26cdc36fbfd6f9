"""Any label file to a `LabelMap`: NIfTI, NRRD, ``.seg.nrrd``, MetaImage, DICOM SEG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import Label, label_by_name
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.dicom_seg import label_of_segment
from napari_covseg.io.hounsfield import rescale
from napari_covseg.io.inputs import LABEL_ENDINGS, VOLUME_SUFFIXES, case_name
from napari_covseg.io.label_schemes import apply_label_map, dataset_label_map
from napari_covseg.io.raw import RawImage
from napari_covseg.io.read import read_raw
from napari_covseg.io.sniff import Kind, readable, sniff

_LABEL_WORDS = re.compile(r"(^|[_\-. ])(labels?|masks?|seg|segmentation)([_\-. ]|$)")


def read_labels(path: str | Path, *, label_map: Mapping[int, Label] | None = None) -> LabelMap:
    """Read a label file in the scheme of design: mapped by name, or ours already.

    Parameters
    ----------
    path
        A NIfTI, NRRD (also ``.seg.nrrd``) or MetaImage file, or a DICOM SEG file.
    label_map
        What each number means (`parse_label_map`). Without it, the names in a ``.seg.nrrd`` or
        DICOM SEG or in a ``dataset.json`` beside or above the file say so; without these the
        values must be those of `Label`.

    Raises
    ------
    InputError
        If the file cannot be read, is no label map, or holds values without a known meaning.
    """
    path = Path(path)
    kind = sniff(path)
    if kind is Kind.DICOM:
        from napari_covseg.io.dicom_seg import read_dicom_seg

        return read_dicom_seg(path, label_map)
    with readable(path):
        raw = read_raw(path, kind)
        values = raw.values
        if (raw.slope, raw.inter) != (1.0, 0.0):
            values = rescale(values, raw.slope, raw.inter)
        if label_map is None:
            label_map = _segment_labels(raw, path.name) or dataset_label_map(path)
        labels = apply_label_map(values, label_map, path.name)
    warnings = raw.warnings
    if not raw.geometry.orthogonal:
        warnings = (*warnings, "the axes of this label file are not at right angles")
    return LabelMap(
        np.ascontiguousarray(labels), raw.geometry, case_name(path), raw.to_native, warnings
    )


def is_label_file(path: str | Path) -> bool:
    """Whether a file is more likely a label map than a CT: by its name and place, then content.

    Cheap: at most the header is read. False for what is not read at all.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".seg.nrrd"):
        return True
    if name.endswith(VOLUME_SUFFIXES):
        stem = case_name(path).lower()
        in_labels = path.parent.name.lower() in ("labelstr", "labelsts", "labels", "masks")
        return in_labels or bool(_LABEL_WORDS.search(stem))
    try:
        if path.is_dir() or sniff(path) is not Kind.DICOM:
            return False
    except CovsegError:
        return False
    from napari_covseg.io.dicom_seg import is_dicom_seg

    return is_dicom_seg(path)


def label_case_name(path: str | Path) -> str:
    """The case a label file belongs to: `case_name` without ``_labels`` and the like."""
    name = case_name(path)
    for ending in LABEL_ENDINGS:
        name = name.removesuffix(ending) or name
    return name.removesuffix("_0000") or name


def _segment_labels(raw: RawImage, name: str) -> dict[int, Label] | None:
    """The scheme that a ``.seg.nrrd`` (3D Slicer) states by its segments' names, if any."""
    mapping: dict[int, Label] = {}
    unknown: list[str] = []
    for key, title in raw.fields.items():
        found = re.fullmatch(r"segment(\d+)_name", key)
        value = raw.fields.get(f"segment{found[1]}_labelvalue", "") if found else ""
        if not value.isdecimal():
            continue
        label = _label_of(title)
        if label is None:
            unknown.append(f"{value} {title!r}")
        else:
            mapping[int(value)] = label
    if unknown:
        raise InputError(
            f"{name}: not all segments are lungs or lesions: {', '.join(unknown)}; say what they "
            "are with --label-map NAME=ID, such as ggo=1,background=2"
        )
    return mapping or None


def _label_of(title: str) -> Label | None:
    try:
        return label_by_name(title)
    except KeyError:
        return label_of_segment((title,))
