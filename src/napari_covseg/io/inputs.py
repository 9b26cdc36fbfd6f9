"""Which inputs a user's paths name, and the case name of each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from napari_covseg.domain.errors import InputError
from napari_covseg.io.sniff import readable

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
LABEL_ENDINGS = ("_labels", "_label", "_seg", "_mask", "_rtstruct")
"""How the names of label files end; ``_labels`` is what is written."""
LABEL_FOLDERS = ("labelstr", "labelsts", "labels", "masks")
"""What folders of label files are called, in lower case."""
_NOT_TEXT = re.compile("[\ud800-\udfff]")
_OTHER_SUFFIXES = (".gz", ".dcm", ".dicom", ".ima", ".zip")


def case_name(path: str | Path) -> str:
    """The name results are filed under: the file's name without suffix and ``_0000``.

    Not for DICOM, whose case is a pseudonym. Bytes that are not UTF-8 become ``_``: the name is
    written to other files, as text.
    """
    name = _NOT_TEXT.sub("_", Path(path).name)
    for suffix in (*VOLUME_SUFFIXES, *_OTHER_SUFFIXES):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
            break
    return name.removesuffix("_0000") or name


def is_label_name(path: str | Path) -> bool:
    """Whether the name ends as those of label files do (`LABEL_ENDINGS`, ``.seg.nrrd``)."""
    if Path(path).name.lower().endswith(".seg.nrrd"):
        return True
    return case_name(path).lower().endswith(LABEL_ENDINGS)


def find_inputs(paths: Iterable[str | Path]) -> list[Path]:
    """Expand folders: one of DICOM files is one input, one of volume files is many.

    A folder whose subfolders hold the scans gives each of them: DICOM of one study stays one
    input, of several studies each subfolder is one (`dicom_folders`). Label files in a folder
    (`is_label_name`) are results, not inputs. Files are passed on as they are; the order is that
    of the arguments, names sorted within a folder, each input once.

    Raises
    ------
    InputError
        If a path does not exist, or a folder holds nothing that is read.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        with readable(path):
            if not path.exists():
                raise FileNotFoundError
            found += _expand(path) if path.is_dir() else [path]
    return list(dict.fromkeys(found))


def _expand(folder: Path) -> list[Path]:
    found = _inputs_in(folder)
    if not found:
        raise InputError(
            f"{folder.name}: no CT in this folder; expected DICOM files, .nii, .nii.gz, .nrrd, "
            ".mha or .mhd"
        )
    return found


def _inputs_in(folder: Path) -> list[Path]:
    from napari_covseg.io.dicom import is_dicom
    from napari_covseg.io.dicom_folders import dicom_folders

    dicom = dicom_folders(folder)
    volumes, archives = _files_in(folder)
    if dicom or volumes:
        # Beside scans a zip may be anything (a viewer, say); alone, it is to be told what is wrong.
        archives = [file for file in archives if is_dicom(file)]
    return sorted([*dicom, *volumes, *archives])


def _files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Volume files and zips of a folder; without volume files, those of its subfolders."""
    here = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    volumes = [p for p in here if p.is_file() and _may_be_volume(p)]
    archives = [p for p in here if p.is_file() and p.suffix.lower() == ".zip"]
    if volumes:
        return volumes, archives
    for inner in filter(Path.is_dir, here):
        if inner.name.lower() in LABEL_FOLDERS:
            continue
        try:
            more = _files_in(inner)
        except PermissionError:
            continue
        volumes += more[0]
        archives += more[1]
    return volumes, archives


def _may_be_volume(path: Path) -> bool:
    return path.name.lower().endswith(VOLUME_SUFFIXES) and not is_label_name(path)
