"""Whose a DICOM series is: to tell scans of one patient from others', and for nothing else."""

from __future__ import annotations

from pathlib import Path

from napari_covseg.io.dicom import list_series
from napari_covseg.io.dicom_files import looks_like_dicom, open_members, quiet_pydicom
from napari_covseg.io.dicom_values import text

_TAGS = ("SeriesInstanceUID", "PatientID", "Modality")


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
    from pydicom import dcmread

    uid = (series or list_series(path)[0].uid).strip().split("/")[0]
    with open_members(path) as members, quiet_pydicom():
        for member in members:
            try:
                if len(members) > 1 and not looks_like_dicom(member):
                    continue
                with member.open_head() as file:
                    header = dcmread(
                        file, force=True, stop_before_pixels=True, specific_tags=list(_TAGS)
                    )
            except Exception:  # a file that cannot be read was left out of the series too
                continue
            if text(header, "SeriesInstanceUID") == uid:
                return text(header, "PatientID")
    return ""
