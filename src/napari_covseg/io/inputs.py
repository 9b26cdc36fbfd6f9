"""Which inputs a user's paths name, and the case name of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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
    """All that `iter_inputs` finds, each input once.

    Raises
    ------
    InputError
        If a path does not exist, or a folder holds nothing that is read.
    """
    return list(dict.fromkeys(one for path in paths for one in iter_inputs(path)))


def iter_inputs(path: str | Path) -> Iterator[Path]:
    """Expand a folder: one of DICOM files is one input, one of volume files is many.

    A folder whose subfolders hold the scans gives each of them: DICOM of one study stays one
    input, of several studies each subfolder is one (`is_one_input`). Label files in a folder
    (`is_label_name`) are results, not inputs. Beside scans a zip that is not DICOM may be anything
    (a viewer, say); alone, it is given, so that reading it tells what is wrong. A file is passed on
    as it is. Sorted by name; inputs come while folders further on have not been looked at yet, so
    that the first of thousands is there at once.

    Raises
    ------
    InputError
        If the path does not exist, or a folder holds nothing that is read.
    """
    path = Path(path)
    with readable(path):
        if not path.exists():
            raise FileNotFoundError
        if not path.is_dir():
            yield path
            return
        unsure: list[Path] = []
        found = scans = False
        for one in _below(path, path, True, True, unsure):
            found = True
            scans = scans or one.is_dir() or one.suffix.lower() != ".zip"
            yield one
    if not scans:
        yield from unsure
    if not found and not unsure:
        raise InputError(
            f"{path.name}: no CT in this folder; expected DICOM files, .nii, .nii.gz, .nrrd, "
            ".mha or .mhd"
        )


def _below(top: Path, here: Path, dicom: bool, files: bool, unsure: list[Path]) -> Iterator[Path]:
    """Inputs in and below ``here``: DICOM, and volume files and zips, where they are looked for.

    Where a folder has volume files, none are looked for below it. Of links to folders with DICOM
    only those right in ``top`` are followed, each as an input of its own. ``unsure`` gets zips that
    are not DICOM.
    """
    from napari_covseg.io.dicom_folders import is_one_input

    whole = is_one_input(here) if dicom else None
    if whole:
        yield here
    try:
        entries = [p for p in sorted(here.iterdir()) if not p.name.startswith(".")]
    except PermissionError:
        if here == top:
            raise
        return
    deeper = files and not any(p.is_file() and _may_be_volume(p) for p in entries)
    for entry in entries:
        if entry.is_dir():
            linked = entry.is_symlink()
            seek_dicom = here == top if linked else whole is False
            seek_files = deeper and entry.name.lower() not in LABEL_FOLDERS
            if seek_dicom or seek_files:
                yield from _below(top, entry, seek_dicom, seek_files, unsure)
        elif files and entry.is_file():
            yield from _file_input(entry, unsure)


def _file_input(file: Path, unsure: list[Path]) -> Iterator[Path]:
    from napari_covseg.io.dicom import is_dicom

    if _may_be_volume(file):
        yield file
    elif file.suffix.lower() == ".zip":
        if is_dicom(file):
            yield file
        else:
            unsure.append(file)


def _may_be_volume(path: Path) -> bool:
    return path.name.lower().endswith(VOLUME_SUFFIXES) and not is_label_name(path)
