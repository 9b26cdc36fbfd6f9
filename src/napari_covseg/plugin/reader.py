"""Any CT or label map that this project reads, as napari layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import Cancelled, InputError
from napari_covseg.plugin.layers import LayerTuple, ct_layer, label_layers, placement_of

if TYPE_CHECKING:
    from napari_covseg.domain.volume import CTVolume, LabelMap
    from napari_covseg.io.dicom_rtstruct import ScanGrid

Paths = str | Sequence[str]
_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".dicom", ".ima", ".zip")


def get_reader(path: Paths) -> Callable[[Paths], list[LayerTuple]] | None:
    """The reader, if this is a file or folder for it, else None."""
    one = _one_path(path)
    if one is None:
        return None
    if one.is_dir() or not one.name.lower().endswith(_SUFFIXES):
        from napari_covseg.io import is_dicom

        return read if is_dicom(one) else None
    return read


def read(path: Paths) -> list[LayerTuple]:
    """The CT in the lung window, or the labels as lungs and lesions.

    Where several series are in a folder or values are no HU, a dialog asks; without a window the
    best series is taken and values that are no HU are an error.

    Raises
    ------
    InputError
        As `napari_covseg.io.read_volume` and `read_labels` do.
    """
    from napari_covseg.io import is_label_file, read_labels
    from napari_covseg.io.dicom_rtstruct_file import is_rtstruct
    from napari_covseg.plugin.viewing import attach_to_current_viewer

    one = _one_path(path)
    if one is None:
        raise InputError("several files of different folders; open one CT at a time")
    if not one.is_dir() and is_label_file(one):
        labels = _read_contours(one) if is_rtstruct(one) else read_labels(one)
        layers = label_layers(labels, keep_empty=False)
        _tell(labels)
    else:
        volume = _read_ct(one)
        if volume is None:
            return [(None,)]  # type: ignore[list-item]  # napari's way to say: nothing to add
        layers = [ct_layer(volume)]
        _tell(volume)
    attach_to_current_viewer()
    return layers


def _one_path(path: Paths) -> Path | None:
    """The path, or the folder that several files (dropped together) are in."""
    if isinstance(path, str):
        return Path(path)
    paths = [Path(p) for p in path]
    if len(paths) == 1:
        return paths[0]
    folders = {p.parent for p in paths}
    return folders.pop() if len(folders) == 1 else None


def _read_contours(path: Path) -> LabelMap:
    """Contours on the CT in the viewer, or on the one that lies beside the file."""
    from napari_covseg.io.dicom_rtstruct import read_rtstruct
    from napari_covseg.io.dicom_rtstruct_file import load_structures

    case = load_structures(path).case
    shown = _shown_scans()
    scan = shown.get(case)
    if scan is None and len(shown) == 1:
        (scan,) = shown.values()
    if scan is None:
        raise InputError(
            f"{path.name}: contours (RTSTRUCT) have no voxels of their own; open the CT they were "
            "drawn on first" + (": of those open none is theirs" if shown else "")
        )
    return read_rtstruct(path, scan, known_only=True)


def _shown_scans() -> dict[str, ScanGrid]:
    """The CTs in the viewer by their case."""
    from napari import current_viewer
    from napari.layers import Image

    from napari_covseg.io.dicom_rtstruct import ScanGrid

    viewer = current_viewer()
    found = {}
    for layer in () if viewer is None else viewer.layers:
        placement = placement_of(layer)
        if isinstance(layer, Image) and placement is not None:
            path = Path(layer.source.path) if layer.source.path else None
            known = path if path is not None and path.exists() else None
            found[placement.case] = ScanGrid(placement.geometry, known)
    return found


def _read_ct(path: Path) -> CTVolume | None:
    """Read a CT, asking what has to be asked; None if the user closed a dialog."""
    from napari_covseg.io import read_volume

    try:
        series = _choose_series(path)
        try:
            return read_volume(path, series=series)
        except InputError as error:
            window = _ask_window(error)
            if window is None:
                raise
            return read_volume(path, series=series, window=window)
    except Cancelled:
        return None


def _choose_series(path: Path) -> str | None:
    """The series to read, None for the best one.

    Raises
    ------
    Cancelled
        If the user closed the dialog.
    """
    from napari_covseg.io import is_dicom, list_series

    many = path.is_dir() or path.suffix.lower() == ".zip" or path.name.upper() == "DICOMDIR"
    if not (many and is_dicom(path)):
        return None
    if not _can_ask():
        return None
    found = list_series(path)
    if sum(series.loadable for series in found) < 2:
        return None
    from napari_covseg.plugin.widgets.series_dialog import ask_series

    chosen = ask_series(found, path.name)
    if chosen is None:
        raise Cancelled("no series was chosen")
    return chosen


def _ask_window(error: InputError) -> tuple[float, float] | None:
    """Ask for the window of a picture that is not in HU; None where that cannot help."""
    if "--window" not in str(error) or not _can_ask():
        return None
    from napari_covseg.plugin.widgets.window_dialog import ask_window

    window = ask_window(str(error))
    if window is None:
        raise Cancelled("no window was given")
    return window


def _tell(volume: CTVolume | LabelMap) -> None:
    """Show what the reader had to do, once; the Segment widget keeps showing it."""
    from napari import current_viewer

    if volume.warnings and current_viewer() is not None:
        from napari_covseg.plugin.telling import show_info

        show_info("\n".join(f"{volume.case}: {text}" for text in volume.warnings))


def _can_ask() -> bool:
    """Whether there is a person in front of a window."""
    import sys
    import threading

    from napari import current_viewer

    if "qtpy" not in sys.modules or threading.current_thread() is not threading.main_thread():
        return False
    from qtpy.QtWidgets import QApplication

    viewer = current_viewer()
    window = getattr(viewer, "window", None) if viewer is not None else None
    qt_window = getattr(getattr(window, "__wrapped__", window), "_qt_window", None)
    return QApplication.instance() is not None and bool(qt_window and qt_window.isVisible())
