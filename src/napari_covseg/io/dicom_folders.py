"""Which folders of a tree are a DICOM input each: a study, or what lies in one subfolder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from napari_covseg.io.dicom_files import file_member, is_dicomdir, looks_like_dicom, quiet_pydicom

_PROBE_FILES = 500


def is_one_input(folder: Path) -> bool | None:
    """Whether the DICOM in and below a folder is one input; None where there is none.

    A folder with images of its own is one input with all below it, and so is one whose subfolders
    hold images of one study. Studies are told by the header of one file of each subfolder, and the
    second one ends the search. Links to folders are not followed.
    """
    studies: set[str] = set()
    for here, image in _images_below(folder):
        if here == folder:
            return True
        studies.add(_study_of(image))
        if len(studies) > 1:
            return False
    return True if studies else None


def _images_below(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Each folder that holds DICOM itself, and the first file of it."""
    for here, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        image = _first_image(Path(here), files)
        if image is not None:
            yield Path(here), image


def _first_image(folder: Path, names: list[str]) -> Path | None:
    """The first DICOM file of a folder, its table of contents (DICOMDIR) left aside."""
    files = (folder / name for name in sorted(names) if not name.startswith("."))
    for file in islice(files, _PROBE_FILES):
        try:
            member = file_member(file) if file.is_file() else None
            if member and looks_like_dicom(member) and not is_dicomdir(file):
                return file
        except OSError:
            continue
    return None


def _study_of(file: Path) -> str:
    from pydicom import dcmread

    try:
        with quiet_pydicom():
            header = dcmread(file, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        return str(header.get("StudyInstanceUID", ""))
    except Exception:  # pydicom raises many kinds on damaged input; reading it will tell which
        return ""
