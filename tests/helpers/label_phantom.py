"""A CT series with labels whose every voxel says where it is in the patient: left is left.

Two boxes for lungs; ground glass in the upper left, consolidation in the lower right, and nothing
where they are in the other lung, so that any swap or flip shows.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dicom_maker import along, points_of, write_series

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap

ORIGIN = (-30.0, -20.0, 100.0)
SHAPE, SPACING = (20, 30), (2.0, 2.0)
CENTRE = np.array([0.0, 0.0, 118.0])
"""Of what axial slices from `ORIGIN` on cover."""

ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "head last": (-1, 0, 0, 0, 1, 0),
    "flipped twice": (-1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (np.cos(0.2), np.sin(0.2), 0, -np.sin(0.2), np.cos(0.2), 0),
    "oblique in two": (
        np.cos(0.2), 0.0, np.sin(0.2),
        np.sin(0.2) * np.sin(0.1), np.cos(0.1), -np.cos(0.2) * np.sin(0.1),
    ),
}  # fmt: skip

PATIENT = {
    "PatientName": "Doe^Jane", "PatientID": "4711", "PatientBirthDate": "19500101",
    "PatientSex": "F", "StudyID": "17", "StudyDate": "20200102", "StudyTime": "030405",
    "AccessionNumber": "A1", "ReferringPhysicianName": "House^G", "StudyDescription": "Thorax",
    "FrameOfReferenceUID": "1.2.3.77", "PositionReferenceIndicator": "", "SeriesNumber": 3,
    "Manufacturer": "m", "BodyPartExamined": "CHEST",
}  # fmt: skip


def labels_at(points: np.ndarray, centre: np.ndarray = CENTRE) -> np.ndarray:
    """The label at LPS points ``(..., 3)``: x to the left, y to posterior, z to superior."""
    x, y, z = np.moveaxis(points - centre, -1, 0)
    labels = np.zeros(points.shape[:-1], np.uint8)
    inside = (np.abs(y) < 12) & (np.abs(z) < 16)
    labels[inside & (x > 4) & (x < 24)] = Label.LEFT_LUNG
    labels[inside & (x < -4) & (x > -24)] = Label.RIGHT_LUNG
    labels[(np.abs(y) < 6) & (x > 10) & (x < 20) & (z > 4) & (z < 14)] = Label.GGO
    labels[(np.abs(y + 4) < 5) & (x > -20) & (x < -8) & (z > -14) & (z < -2)] = Label.CONSOLIDATION
    return labels


def label_map(geometry: Geometry, centre: np.ndarray = CENTRE, case: str = "") -> LabelMap:
    """The labels on a grid."""
    return LabelMap(labels_at(points_of(geometry), centre), geometry, case)


def series(folder: Path, orientation=ORIENTATIONS["axial"], **changes) -> tuple[Path, np.ndarray]:
    """A series of 12 slices that covers the phantom, and the phantom's centre."""
    normal = np.cross(orientation[:3], orientation[3:])
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    centre = CENTRE
    half = row * SPACING[1] * (SHAPE[1] - 1) / 2 + column * SPACING[0] * (SHAPE[0] - 1) / 2
    steps = {"coronal": (24, 2.5)}.get(
        next((name for name, o in ORIENTATIONS.items() if o is orientation), ""), (12, 3.5)
    )
    count, step = steps
    origin = centre - half - normal * step * (count - 1) / 2
    write_series(
        folder, along(orientation, count, step, origin), orientation, SHAPE, SPACING,
        **{**PATIENT, **changes},
    )  # fmt: skip
    return folder, centre


def check_with_dciodvfy(path: Path) -> None:
    """No error of dicom3tools' verifier; skipped where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    errors = [line for line in said.stderr.splitlines() if line.startswith("Error")]
    assert errors == []
