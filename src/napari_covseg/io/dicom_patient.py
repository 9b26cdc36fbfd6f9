"""Whose a DICOM series is: to tell patients apart, and for reports of a user who asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.identity import Identity
from napari_covseg.io.dicom import list_series
from napari_covseg.io.dicom_files import looks_like_dicom, open_members, quiet_pydicom
from napari_covseg.io.dicom_values import text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_FINDS_SERIES = ("SeriesInstanceUID", "Modality")
_IDENTITY = ("PatientName", "PatientID", "PatientBirthDate", "StudyDate")


def dicom_patient_id(path: Path, series: str | None = None) -> str:
    """The PatientID of a series, empty if it has none; never to be shown or written anywhere.

    Parameters
    ----------
    path
        A DICOM folder, zip or file.
    series
        Series instance UID; without it the series that `read_dicom` would take.

    Raises
    ------
    InputError
        If there is no DICOM image.
    """
    header = _header(path, series, ("PatientID",))
    return "" if header is None else text(header, "PatientID")


def dicom_identity(path: Path, series: str | None = None) -> Identity:
    """Whose series it is; only for a user who asked for it.

    Parameters and errors are those of `dicom_patient_id`.
    """
    header = _header(path, series, _IDENTITY)
    if header is None:
        return Identity()
    name = ", ".join(part for part in text(header, "PatientName").split("^") if part.strip())
    return Identity(
        name=name,
        patient_id=text(header, "PatientID"),
        birth_date=_date(text(header, "PatientBirthDate")),
        study_date=_date(text(header, "StudyDate")),
    )


def _header(path: Path, series: str | None, tags: tuple[str, ...]) -> Dataset | None:
    """These tags of the first file of the series."""
    from pydicom import dcmread

    uid = (series or list_series(path)[0].uid).strip().split("/")[0]
    wanted = [*_FINDS_SERIES, "SpecificCharacterSet", *tags]
    with open_members(path) as members, quiet_pydicom():
        for member in members:
            try:
                if len(members) > 1 and not looks_like_dicom(member):
                    continue
                with member.open_head() as file:
                    header = dcmread(
                        file, force=True, stop_before_pixels=True, specific_tags=wanted
                    )
            except Exception:  # a file that cannot be read was left out of the series too
                continue
            if text(header, "SeriesInstanceUID") == uid:
                return header
    return None


def _date(digits: str) -> str:
    """``19700131`` as ``1970-01-31``; anything else as it is."""
    if len(digits) == 8 and digits.isdecimal():
        return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return digits
