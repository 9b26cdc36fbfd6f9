"""Which folders of a tree are a DICOM input each: a study, or what lies in one subfolder."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from napari_covseg.io.dicom_files import file_member, is_dicomdir, looks_like_dicom, quiet_pydicom

_PROBE_FILES = 500


def dicom_folders(folder: Path) -> list[Path]:
    """The inputs in a folder: itself where its DICOM is of one study, else its subfolders'.

    A folder with images of its own is one input with all below it. Studies are told by the header
    of one file of each subfolder. Of links to folders only those right in ``folder`` are followed,
    each as an input of its own.
    """
    linked = [link for link in sorted(folder.iterdir()) if link.is_symlink() and link.is_dir()]
    visible = [link for link in linked if not link.name.startswith(".")]
    return [part for top in (folder, *visible) for part in _inputs_below(top)]


def _inputs_below(folder: Path) -> list[Path]:
    found: dict[Path, Path] = {}
    for here, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        image = _first_image(Path(here), files)
        if image is not None:
            found[Path(here)] = image
    if len(found) < 2 or folder in found:
        return [folder] if found else []
    with quiet_pydicom():
        studies = {here: _study_of(image) for here, image in found.items()}
    return _parts(folder, studies)


def _parts(folder: Path, studies: dict[Path, str]) -> list[Path]:
    """Split until each part is of one study or has images of its own."""
    inside = {here: study for here, study in studies.items() if here.is_relative_to(folder)}
    if folder in inside or len(set(inside.values())) < 2:
        return [folder]
    depth = len(folder.parts)
    children = dict.fromkeys(folder / here.parts[depth] for here in inside)
    return [part for child in children for part in _parts(child, inside)]


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
        header = dcmread(file, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        return str(header.get("StudyInstanceUID", ""))
    except Exception:  # pydicom raises many kinds on damaged input; reading it will tell which
        return ""
