"""Which inputs a user's paths name, and the case name of each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_covseg.domain.errors import InputError
from napari_covseg.io.sniff import readable

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
LABEL_ENDINGS = ("_labels", "_label", "_seg", "_mask")
"""How the names of label files end; ``_labels`` is what is written."""
_OTHER_SUFFIXES = (".gz", ".dcm", ".dicom", ".ima", ".zip")


def case_name(path: str | Path) -> str:
    """The name results are filed under: the file's name without suffix and ``_0000``.

    Not for DICOM, whose case is a pseudonym.
    """
    name = Path(path).name
    for suffix in (*VOLUME_SUFFIXES, *_OTHER_SUFFIXES):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
            break
    return name.removesuffix("_0000") or name


def find_inputs(paths: Iterable[str | Path]) -> list[Path]:
    """Expand folders: one of DICOM files is one input, one of volume files is many.

    A folder whose subfolders hold the scans gives each of them; ``*_labels`` and ``.seg.nrrd``
    files in it are results, not inputs. Files are passed on as they are;
    the order is that of the arguments, names sorted within a folder, each input once.

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
    from napari_covseg.io.dicom import is_dicom

    files = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    volumes = [p for p in files if p.is_file() and _may_be_volume(p)]
    if volumes:
        return volumes
    if is_dicom(folder):
        return [folder]
    inner = [found for p in files if p.is_dir() for found in _expand_quietly(p)]
    archives = [p for p in files if p.suffix.lower() == ".zip"]
    if not inner and not archives:
        raise InputError(
            f"{folder.name}: no CT in this folder; expected DICOM files, .nii, .nii.gz, .nrrd, "
            ".mha or .mhd"
        )
    return archives + inner


def _may_be_volume(path: Path) -> bool:
    """A volume file by its name, label files (earlier results, say) left out."""
    name = path.name.lower()
    if not name.endswith(VOLUME_SUFFIXES) or name.endswith(".seg.nrrd"):
        return False
    return not case_name(path).endswith(LABEL_ENDINGS[0])


def _expand_quietly(folder: Path) -> list[Path]:
    try:
        return _expand(folder)
    except InputError:
        return []
