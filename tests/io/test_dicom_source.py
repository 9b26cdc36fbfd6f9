"""The series that labels belong to is found by their grid and name, or refused in one line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from dicom_maker import write_series
from label_phantom import PATIENT, label_map, series
from pydicom import dcmread

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.io import write_labels
from napari_covseg.io.dicom import list_series, read_dicom
from napari_covseg.io.dicom_reference import reference_images
from napari_covseg.io.dicom_source import open_source


@pytest.fixture
def scan(tmp_path):
    folder, _ = series(tmp_path / "ct")
    return folder


def test_the_only_series_with_the_grid(scan):
    write_series(scan / "other", [(0, 0, 3.5 * i) for i in range(20)], series="1.2.3.5", **PATIENT)
    volume = read_dicom(scan)
    source = open_source(scan, volume.geometry)
    assert source.case == volume.case
    assert source.notes == ()
    assert source.header.PatientID == PATIENT["PatientID"]
    assert PATIENT["PatientName"] not in repr(source)  # its number may stand in a UID by chance


def test_of_several_the_one_the_labels_are_named_after(scan):
    first = read_dicom(scan)
    series(scan / "again", SeriesInstanceUID="1.2.3.5")
    with pytest.raises(InputError, match="2 series have the grid of the labels; say which"):
        open_source(scan, first.geometry)
    assert open_source(scan, first.geometry, case=first.case).header.SeriesInstanceUID == "1.2.3.4"
    chosen = open_source(scan, first.geometry, series="1.2.3.5", case=first.case)
    assert chosen.header.SeriesInstanceUID == "1.2.3.5"
    assert chosen.notes == (
        f"the labels are named {first.case}, this series is {chosen.case}: are they of this scan?",
    )
    with pytest.raises(InputError, match="no readable series here has that UID"):
        open_source(scan, first.geometry, series="1.2.3.6")
    assert len(list_series(scan)) == 2


def test_other_grids_are_refused(scan):
    geometry = read_dicom(scan).geometry
    smaller = Geometry((12, 20, 20), geometry.affine @ np.diag([2.0, 1, 1, 1]))
    with pytest.raises(InputError, match=r"20 x 20 x 12 voxels of 4 x 2 x 3.5 mm\) is not that"):
        open_source(scan, smaller.reoriented(smaller.to_canonical()))
    moved = np.array(geometry.affine)
    moved[2, 3] += 1.0
    with pytest.raises(InputError, match="the labels lie elsewhere than the slices"):
        open_source(scan, Geometry(geometry.shape, moved))


def test_what_is_not_dicom_is_refused(scan, tmp_path):
    labels = label_map(read_dicom(scan).geometry)
    path = write_labels(labels, tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match=r"ct\.nii\.gz: this is NIfTI, but DICOM SEG, SR"):
        open_source(path, labels.geometry)


@pytest.mark.parametrize("name", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_a_series_that_cannot_be_referred_to_is_refused(tmp_path, name):
    folder, _ = series(tmp_path / "ct", **{name: None})
    with pytest.raises(InputError, match=f"the series has no {name}") as caught:
        open_source(folder, read_dicom(folder).geometry)
    assert "4711" not in str(caught.value)
    assert "Doe" not in str(caught.value)


def test_slices_of_two_frames_of_reference_are_refused(scan):
    one = dcmread(scan / "003.dcm")
    one.FrameOfReferenceUID = "1.2.3.78"
    one.save_as(scan / "003.dcm")
    with pytest.raises(InputError, match="different frames of reference"):
        open_source(scan, read_dicom(scan).geometry)


def test_a_file_named_alike_in_another_folder_is_another(scan):
    """Bare names repeat from folder to folder."""
    (scan / "inner").mkdir()
    for name in ("010.dcm", "011.dcm"):
        shutil.move(scan / name, scan / "inner" / name.replace("01", "00"))
    geometry = read_dicom(scan).geometry
    assert geometry.shape[0] == 12
    source = open_source(scan, geometry)
    assert len({image.SOPInstanceUID for image in reference_images(source)}) == 12
