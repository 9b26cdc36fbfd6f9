"""The volume that everything is measured on: the phantom at 512x512, as NIfTI and as DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_covseg.domain.volume import CTVolume
from napari_covseg.io import make_phantom, write_volume


def make_inputs(folder: Path, slices: int) -> tuple[Path, Path]:
    """Write ``scan.nii.gz`` and ``dicom/``; returns both paths. What is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    path, series = folder / f"scan{slices}.nii.gz", folder / f"dicom{slices}"
    if not path.exists() or not series.exists():
        volume = make_phantom((slices, 512, 512), (300.0 / slices, 0.7, 0.7)).volume
        write_volume(volume, path)
        series.mkdir(exist_ok=True)
        write_dicom(volume, series)
    return path, series


def write_dicom(volume: CTVolume, folder: Path) -> None:
    """An uncompressed axial CT series, one file a slice."""
    study, series, frame = (generate_uid() for _ in range(3))
    z_mm, y_mm, x_mm = volume.geometry.spacing_mm
    x0, y0, z0 = volume.geometry.origin_mm
    for index, plane in enumerate(volume.hu):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{index:04d}.dcm"
        ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.ImageType, ds.PatientPosition = (
            "CT",
            ["ORIGINAL", "PRIMARY", "AXIAL"],
            "HFS",
        )
        ds.PatientName, ds.PatientID = "Phantom", "phantom"
        ds.SeriesNumber, ds.InstanceNumber = 1, index + 1
        ds.ImagePositionPatient = [x0, y0, z0 + index * z_mm]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [y_mm, x_mm], z_mm
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.PixelData = (plane.astype(np.int32) + 1024).astype("<i2").tobytes()
        ds.save_as(path, enforce_file_format=True)
