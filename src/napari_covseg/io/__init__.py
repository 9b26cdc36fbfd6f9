"""Any path to a `CTVolume` or `LabelMap`, and label maps back to files.

Names are imported when they are first used: importing this package loads no reader.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_covseg.io.dicom import SeriesInfo, is_dicom, list_series
    from napari_covseg.io.inputs import case_name, find_inputs
    from napari_covseg.io.label_schemes import parse_label_map
    from napari_covseg.io.labels import ScanGrid, is_label_file, read_labels
    from napari_covseg.io.phantom import Phantom, make_phantom
    from napari_covseg.io.read import read_volume
    from napari_covseg.io.write import write_labels, write_volume

__all__ = [
    "Phantom",
    "ScanGrid",
    "SeriesInfo",
    "case_name",
    "find_inputs",
    "is_dicom",
    "is_label_file",
    "list_series",
    "make_phantom",
    "parse_label_map",
    "read_labels",
    "read_volume",
    "write_labels",
    "write_volume",
]

_HOMES = {
    "Phantom": "phantom",
    "ScanGrid": "labels",
    "SeriesInfo": "dicom",
    "case_name": "inputs",
    "find_inputs": "inputs",
    "is_dicom": "dicom",
    "is_label_file": "labels",
    "list_series": "dicom",
    "make_phantom": "phantom",
    "parse_label_map": "label_schemes",
    "read_labels": "labels",
    "read_volume": "read",
    "write_labels": "write",
    "write_volume": "write",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{home}"), name)
