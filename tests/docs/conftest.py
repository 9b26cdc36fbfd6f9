"""The inputs that commands in the docs name, made from the phantom."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_covseg.io import make_phantom, write_labels, write_volume
from napari_covseg.io.phantom import Phantom


@pytest.fixture(scope="session")
def docs_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every input that the docs name."""
    folder = tmp_path_factory.mktemp("docs-inputs")
    phantom = make_phantom(shape=(40, 128, 128), spacing_mm=(7.5, 2.8, 2.8))
    write_volume(phantom.volume, folder / "scan.nii.gz")
    (folder / "folder-of-scans").mkdir()
    write_volume(phantom.volume, folder / "folder-of-scans" / "first.nrrd")
    for name in ("predictions", "other-predictions", "references"):
        (folder / name).mkdir()
        write_labels(phantom.labels, folder / name / "scan_labels.nii.gz")
    _write_raw_dataset(phantom, folder / "raw-dataset")
    _write_windowed(phantom, folder / "windowed.nii.gz")
    _write_dicom(phantom, folder / "dicom-folder")
    return folder


@pytest.fixture
def docs_workspace(docs_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the inputs, and the current folder."""
    workspace = tmp_path / "workspace"
    shutil.copytree(docs_inputs, workspace)
    monkeypatch.chdir(workspace)
    return workspace


def _write_raw_dataset(phantom: Phantom, folder: Path) -> None:
    for inner in ("imagesTr", "labelsTr"):
        (folder / inner).mkdir(parents=True)
    for case in ("first", "second", "third"):
        write_volume(phantom.volume, folder / "imagesTr" / f"{case}_0000.nii.gz")
        write_labels(phantom.labels, folder / "labelsTr" / f"{case}.nii.gz")
    names = ("background", "left lung", "right lung", "ggo", "consolidation")
    about = {
        "channel_names": {"0": "CT"},
        "labels": {name: value for value, name in enumerate(names)},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(about))


def _write_windowed(phantom: Phantom, path: Path) -> None:
    grey = np.clip((phantom.volume.hu.astype(np.float32) + 1350) / 1500, 0, 1) * 255
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ phantom.volume.geometry.affine
    nib.save(nib.Nifti1Image(grey.round().astype(np.uint8).transpose(2, 1, 0), affine), path)


def _write_dicom(phantom: Phantom, folder: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    geometry = phantom.volume.geometry
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for index, plane in enumerate(phantom.volume.hu):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.SeriesInstanceUID, one.StudyInstanceUID = series, study
        one.FrameOfReferenceUID = frame
        one.Modality, one.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.InstanceNumber = index + 1
        position = geometry.affine @ [0, 0, index, 1]
        one.ImagePositionPatient = [float(v) for v in position[:3]]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.PixelSpacing = [geometry.spacing_mm[1], geometry.spacing_mm[2]]
        one.SliceThickness = geometry.spacing_mm[0]
        one.Rows, one.Columns = plane.shape
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = np.ascontiguousarray(plane).tobytes()
        one.save_as(folder / f"{index:03d}.dcm", enforce_file_format=True)
