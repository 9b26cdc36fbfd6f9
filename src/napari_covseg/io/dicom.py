"""DICOM to a `CTVolume`: a folder (with subfolders), a zip, one file; multi-frame or slices."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.volume import CTVolume
from napari_covseg.io.dicom_files import (
    Member,
    is_dicom,
    looks_like_dicom,
    open_members,
    quiet_pydicom,
)
from napari_covseg.io.dicom_header import Frame, read_header
from napari_covseg.io.dicom_series import Series, SeriesInfo, find_series
from napari_covseg.io.dicom_volume import read_series

_REASONS_TOLD = 3

__all__ = ["SeriesInfo", "is_dicom", "list_series", "read_dicom"]


def read_dicom(
    path: str | Path, *, series: str | None = None, window: tuple[float, float] | None = None
) -> CTVolume:
    """The CT in a DICOM folder, zip or file, in HU and canonical orientation.

    Slices are ordered by their position along the normal and rescaled one by one. Padding becomes
    air (-1024 HU), also where the header is wrong about it (`read_hounsfield`). Slices that are
    tilted, shifted or unevenly spaced are resampled onto a true grid; ``to_native`` is then the
    identity and a warning says what was done.

    Parameters
    ----------
    path
        A folder (read with its subfolders), a zip, an image file, or a DICOMDIR, which stands
        for its folder.
    series
        The ``uid`` of the series wanted (`list_series`); else the largest axial CT series.
        Localizers are never read, derived and non-axial series only if there is nothing else.
    window
        ``(low, high)`` in HU, what black and white stand for where the values are not HU.

    Raises
    ------
    InputError
        If nothing there can be read as a CT. Nothing is ever written.
    ResourceError
        If memory does not suffice.
    """
    path = Path(path)
    with open_members(path) as members, quiet_pydicom():
        found, notes = scan_series(members, path.name)
        chosen = _choose(found, series, path.name)
        try:
            volume = read_series(chosen, path.name, window)
        except MemoryError:
            raise ResourceError(f"{path.name}: not enough memory to read it") from None
    notes = (*_choice_notes(found, chosen, series), *notes)
    return replace(volume, warnings=(*notes, *volume.warnings))


def list_series(path: str | Path) -> list[SeriesInfo]:
    """The series in a DICOM folder, zip or file, the one `read_dicom` would choose first.

    Raises
    ------
    InputError
        If there is no DICOM image.
    """
    path = Path(path)
    with open_members(path) as members, quiet_pydicom():
        found, _ = scan_series(members, path.name)
    return [series.info for series in found]


def scan_series(members: list[Member], name: str) -> tuple[list[Series], tuple[str, ...]]:
    """The series among files, the one to read first, and notes on files that could not be read.

    Raises
    ------
    InputError
        If there is no DICOM image.
    """
    frames: list[Frame] = []
    damaged: list[tuple[str, str]] = []
    forbidden: list[str] = []
    alone = len(members) == 1
    for member in members:
        try:
            if alone or looks_like_dicom(member):
                frames += read_header(member)
        except PermissionError:
            forbidden.append(member.name)
        except InputError as error:
            damaged.append((member.name, str(error).removeprefix(f"{member.name}: ")))
        except OSError as error:
            reason = f"could not be read ({error.strerror or 'disk error'})"
            damaged.append((member.name, reason))
    images = [frame for frame in frames if frame.image.modality != "SEG"]
    frames = images or frames
    if not frames:
        _refuse(name, damaged, forbidden)
    left_out = len(damaged) + len(forbidden)
    if not left_out:
        return find_series(frames), ()
    files = "1 file was" if left_out == 1 else f"{left_out} files were"
    # Without names: those of DICOM files may be a patient's, and notes are kept with the results.
    reasons = Counter([*(reason for _, reason in damaged), *["permission denied"] * len(forbidden)])
    why = "; ".join(reason for reason, _ in reasons.most_common(_REASONS_TOLD))
    return find_series(frames), (f"{files} left out, not readable: {why}",)


def _refuse(name: str, damaged: list[tuple[str, str]], forbidden: list[str]) -> None:
    if forbidden:
        raise InputError(f"{forbidden[0]}: permission denied, it may not be read")
    if damaged:
        more = f" (and {len(damaged) - 1} more files)" if len(damaged) > 1 else ""
        raise InputError(": ".join(damaged[0]) + more)
    raise InputError(f"{name}: no DICOM image here; expected a CT series")


def _choose(found: list[Series], uid: str | None, name: str) -> Series:
    if uid is not None:
        wanted = [series for series in found if series.uid == uid.strip()]
        if not wanted:
            count = "1 other" if len(found) == 1 else f"{len(found)} others"
            raise InputError(
                f"{name}: no series with that UID is here, but {count}; list them first"
            )
        if wanted[0].problem:
            raise InputError(f"{name}: that series cannot be read: {wanted[0].problem}")
        return wanted[0]
    if found[0].problem:
        raise InputError(f"{name}: {_why_none(found)}; expected a CT series")
    return found[0]


def _why_none(found: list[Series]) -> str:
    problems = Counter[str]()
    for series in found:
        problems[series.problem] += len(series.frames)
    (first, count), *others = problems.most_common()
    if not others:
        return first
    rest = ", ".join(f"{n} of: {problem}" for problem, n in others[:3])
    return f"no slice can be read as a CT: {count} of: {first}, {rest}"


def _slices(series: Series) -> str:
    count = len(series.frames)
    return "1 slice" if count == 1 else f"{count} slices"


def _choice_notes(found: list[Series], chosen: Series, asked: str | None) -> tuple[str, ...]:
    """What the user should know about a choice that was made for them."""
    if asked is not None:
        return ()
    notes = []
    alike = [s for s in found if not s.problem and s.plane == "axial" and not s.image.is_derived]
    if len({s.uid.split("/")[0] for s in alike}) > 1 and chosen in alike:
        studies = len({s.image.study_uid for s in alike})
        where = f" of {studies} studies" if studies > 1 else ""
        notes.append(
            f"{len(alike)} axial CT series{where} are here: the largest was read "
            f"({_slices(chosen)}); choose another by its series UID"
        )
    larger = [
        s for s in found
        if s.problem and s.image.is_ct and not s.image.is_localizer
        and len(s.frames) > len(chosen.frames)
    ]  # fmt: skip
    if larger:
        notes.append(f"a larger CT series was left out: {larger[0].problem}")
    if chosen.image.is_derived:
        notes.append("the series is derived (reformatted or captured), not the original slices")
    if chosen.plane != "axial":
        notes.append(f"the slices are {chosen.plane}: no axial series is here")
    return tuple(notes)
