"""Synthetic DICOM series whose every voxel says where it is: HU = 3x + 5y + 7z, in LPS mm.

A linear field survives linear interpolation exactly, and a swapped or flipped axis breaks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_covseg.domain.geometry import Geometry

SLOPES = np.array([3.0, 5.0, 7.0])
AXIAL = (1, 0, 0, 0, 1, 0)


def field(points: np.ndarray) -> np.ndarray:
    """HU at LPS points, shape (..., 3)."""
    return points @ SLOPES


def points_of(geometry: Geometry) -> np.ndarray:
    """LPS position of every voxel, shape (z, y, x, 3)."""
    z, y, x = np.indices(geometry.shape)
    index = np.stack([x, y, z, np.ones_like(x)], axis=-1)
    return (index @ geometry.affine.T)[..., :3]


def expected(geometry: Geometry) -> np.ndarray:
    return field(points_of(geometry))


def slice_points(position, orientation, shape, spacing) -> np.ndarray:
    """LPS position of every pixel of a slice, after the standard's own equation C.7.6.2.1-1."""
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    r, c = np.indices(shape)
    steps = c[..., None] * row * spacing[1] + r[..., None] * column * spacing[0]
    return np.array(position, float) + steps


def dataset(series: str = "", **tags) -> FileDataset:
    """A CT image without pixels; keyword arguments are attributes, None removes one."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": series or "1.2.3.4",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "SliceThickness": 2.0,
    }
    for name, value in {**values, **tags}.items():
        if value is not None:
            setattr(made, name, value)
    return made


def image(
    hu: np.ndarray, position=(0, 0, 0), orientation=AXIAL, spacing=(2.0, 1.0), **tags
) -> FileDataset:
    """A CT slice with these HU."""
    place = {
        "ImagePositionPatient": None if position is None else [float(p) for p in position],
        "ImageOrientationPatient": None if orientation is None else [float(c) for c in orientation],
        "PixelSpacing": None if spacing is None else list(spacing),
        "Rows": hu.shape[0],
        "Columns": hu.shape[1],
    }
    made = dataset(**{**place, **tags})
    slope = float(made.get("RescaleSlope", 1))
    intercept = float(made.get("RescaleIntercept", 0))
    kind = "i" if made.PixelRepresentation else "u"
    stored = np.rint((hu - intercept) / slope).astype(f"{kind}{made.BitsAllocated // 8}")
    made.PixelData = stored.tobytes()
    return made


def write_series(
    folder: Path,
    positions: Sequence[Sequence[float]],
    orientation=AXIAL,
    shape=(12, 16),
    spacing=(2.0, 1.0),
    hu: Callable[[np.ndarray], np.ndarray] = field,
    each: Callable[[int], dict] = lambda i: {},
    name: Callable[[int], str] = lambda i: f"{i:03d}.dcm",
    **tags,
) -> Path:
    """One slice a position; names and instance numbers as told, else in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, position in enumerate(positions):
        values = hu(slice_points(position, orientation, shape, spacing))
        made = image(
            values,
            position,
            orientation,
            spacing,
            **{"InstanceNumber": i + 1, **tags, **each(i)},
        )
        made.save_as(folder / name(i))
    return folder


def along(orientation, count: int, step: float, origin=(-8.0, -12.0, 30.0)) -> np.ndarray:
    """Positions of slices stacked along their normal."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.array(origin) + np.arange(count)[:, None] * step * normal
