"""Which series is read, and that slices of different volumes are never mixed."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_maker import AXIAL, along, dataset, expected, field, slice_points, write_series
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from napari_covseg.domain.errors import InputError
from napari_covseg.io.dicom import list_series, read_dicom

SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
MPR = {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}
CORONAL = (1, 0, 0, 0, 0, -1)


def test_the_largest_original_axial_series_is_read(tmp_path):
    write_series(
        tmp_path / "scout", along(CORONAL, 1, 1.0), CORONAL, (40, 40), series="1.1", **SCOUT
    )
    write_series(tmp_path / "thick", along(AXIAL, 3, 5.0), series="1.2")
    write_series(tmp_path / "deep" / "thin", along(AXIAL, 9, 1.0), series="1.3")
    write_series(tmp_path / "mpr", along(AXIAL, 20, 1.0), series="1.4", **MPR)
    write_series(tmp_path / "coronal", along(CORONAL, 30, 1.0), CORONAL, series="1.5")
    assert [info.uid for info in list_series(tmp_path)] == ["1.3", "1.2", "1.4", "1.5", "1.1"]
    volume = read_dicom(tmp_path)
    assert volume.hu.shape[0] == 9
    assert "2 axial CT series" in volume.warnings[0]
    assert read_dicom(tmp_path, series="1.2").geometry.spacing_mm[0] == pytest.approx(5.0)
    assert read_dicom(tmp_path, series="1.4").hu.shape[0] == 20
    assert "coronal" in read_dicom(tmp_path / "coronal").warnings[0]


def test_what_a_person_sees_of_a_series(tmp_path):
    write_series(tmp_path, along(AXIAL, 3, 5.0), SeriesNumber=4, SeriesDescription="Lung 5.0")
    (info,) = list_series(tmp_path)
    assert (info.uid, info.number, info.description) == ("1.2.3.4", 4, "Lung 5.0")
    assert (info.modality, info.slices, info.plane) == ("CT", 3, "axial")
    assert info.spacing_mm == pytest.approx((5.0, 2.0, 1.0))
    assert info.loadable
    assert info.reason == ""


def test_unknown_or_unreadable_choices_are_refused(tmp_path):
    write_series(tmp_path / "a", along(AXIAL, 3, 5.0), series="1.2")
    write_series(tmp_path / "b", along(CORONAL, 1, 1.0), CORONAL, series="1.1", **SCOUT)
    with pytest.raises(InputError, match="no series with that UID"):
        read_dicom(tmp_path, series="9.9")
    with pytest.raises(InputError, match="localizer"):
        read_dicom(tmp_path, series="1.1")


@pytest.mark.parametrize("key", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_time_points_are_parted(tmp_path, key):
    places = along(AXIAL, 6, 2.0)
    write_series(tmp_path / "1", places, each=lambda i: {key: 1})
    write_series(tmp_path / "2", places, hu=lambda p: field(p) + 50, each=lambda i: {key: 2})
    assert [info.uid for info in list_series(tmp_path)] == ["1.2.3.4", "1.2.3.4/2"]
    first, second = read_dicom(tmp_path), read_dicom(tmp_path, series="1.2.3.4/2")
    assert "2 volumes" in first.warnings[0]
    assert np.array_equal(first.hu, np.rint(expected(first.geometry)))
    assert np.array_equal(second.hu, first.hu + 50)
    assert first.case != second.case


def test_slice_wise_acquisitions_with_one_double_stay_one_stack(tmp_path):
    places = along(AXIAL, 6, 2.0)
    write_series(tmp_path / "a", places, each=lambda i: {"AcquisitionNumber": i + 1})
    write_series(
        tmp_path / "b",
        places[2:3],
        hu=lambda p: field(p) + 50,
        AcquisitionNumber=9,
        InstanceNumber=99,
    )
    volume = read_dicom(tmp_path)
    assert volume.hu.shape[0] == 6
    assert np.array_equal(volume.hu, np.rint(expected(volume.geometry)))
    assert "2 volumes" in volume.warnings[0]


def test_copies_of_a_file_are_left_out(tmp_path):
    write_series(tmp_path / "a", along(AXIAL, 4, 2.0))
    (tmp_path / "b").mkdir()
    for file in (tmp_path / "a").iterdir():
        (tmp_path / "b" / file.name).write_bytes(file.read_bytes())
    volume = read_dicom(tmp_path)
    assert volume.hu.shape[0] == 4
    assert volume.warnings == ("4 slices are copies: left out",)


def test_slices_of_other_sizes_are_left_out_with_a_warning(tmp_path):
    write_series(tmp_path / "a", along(AXIAL, 5, 2.0))
    write_series(tmp_path / "b", along(AXIAL, 2, 2.0, origin=(-8, -12, 40)), shape=(6, 6))
    volume = read_dicom(tmp_path)
    assert volume.hu.shape == (5, 12, 16)
    assert "2 volumes" in volume.warnings[0]
    assert read_dicom(tmp_path, series="1.2.3.4/2").hu.shape == (2, 6, 6)


def test_a_hole_of_centimetres_parts_a_series(tmp_path):
    write_series(tmp_path, [(0, 0, z) for z in (0, 2, 4, 6, 8, 210, 212, 214)])
    volume = read_dicom(tmp_path)
    assert volume.hu.shape[0] == 5
    assert "2 volumes" in volume.warnings[0]
    assert read_dicom(tmp_path, series="1.2.3.4/2").geometry.origin_mm[2] == pytest.approx(210)


def test_an_undecodable_series_is_named_but_not_chosen(tmp_path):
    write_series(tmp_path / "a", along(AXIAL, 3, 2.0), series="1.2")
    write_series(tmp_path / "b", along(AXIAL, 5, 2.0), series="1.3")
    from pydicom import dcmread

    for file in (tmp_path / "b").iterdir():
        made = dcmread(file)
        made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.55"
        made.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
        made["PixelData"].is_undefined_length = True
        made.save_as(file)
    volume = read_dicom(tmp_path)
    assert volume.hu.shape[0] == 3
    assert "larger CT series was left out" in volume.warnings[0]
    assert "1.2.840.10008.1.2.4.55" in volume.warnings[0]


def _enhanced(positions, order, slopes):
    """An Enhanced CT: frames in any order, spacing shared, position and slope for each frame."""
    shape, spacing = (12, 16), (2.0, 1.0)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(spacing), 2.0
    plane.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([plane])
    groups, frames = [], []
    for i in order:
        group, place, values = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [float(p) for p in positions[i]]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slopes[i], -1024, "HU"
        group.PlanePositionSequence = Sequence([place])
        group.PixelValueTransformationSequence = Sequence([values])
        groups.append(group)
        hu = field(slice_points(positions[i], AXIAL, shape, spacing))
        frames.append(np.rint((hu + 1024) / slopes[i]).astype(np.int16))
    made = dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=len(order), Rows=12, Columns=16,
        RescaleSlope=None, RescaleIntercept=None, SliceThickness=None,
    )  # fmt: skip
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    made.PixelData = np.stack(frames).tobytes()
    return made


def test_enhanced_multiframe(tmp_path):
    positions = along(AXIAL, 5, 3.0)
    _enhanced(positions, [3, 0, 4, 1, 2], [1, 2, 1, 2, 1]).save_as(tmp_path / "e.dcm")
    volume = read_dicom(tmp_path / "e.dcm")
    assert volume.geometry.shape == (5, 12, 16)
    assert volume.geometry.spacing_mm == pytest.approx((3.0, 2.0, 1.0))
    assert volume.geometry.origin_mm == pytest.approx(positions[0])
    assert np.abs(volume.hu - expected(volume.geometry)).max() <= 1
    assert volume.hu.dtype == np.int16
    assert volume.warnings == ()
