"""DICOM SEG written from labels: right pixels on the right slices, coded, checked before it is."""

from __future__ import annotations

import zipfile

import highdicom as hd
import numpy as np
import pytest
from dicom_maker import AXIAL, dataset, field, points_of, slice_points, write_series
from label_phantom import (
    ORIENTATIONS,
    PATIENT,
    SHAPE,
    SPACING,
    check_with_dciodvfy,
    label_map,
    labels_at,
    series,
)
from pydicom import dcmread
from pydicom.dataset import Dataset

from napari_covseg.domain.errors import CovsegError, InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import dicom_seg_write
from napari_covseg.io.dicom import read_dicom
from napari_covseg.io.dicom_maker import Maker
from napari_covseg.io.dicom_seg import read_dicom_seg
from napari_covseg.io.dicom_seg_frames import seg_frames
from napari_covseg.io.dicom_seg_write import write_dicom_seg
from napari_covseg.io.dicom_source import open_source

MODEL = Maker("automatic", "covseg-default", "2", "ab" * 32)
TILT = np.radians(18)
TILTED = (1, 0, 0, 0, np.cos(TILT), -np.sin(TILT))
HALF = 3.4
"""Voxels this near to a border of the phantom may fall on either side of it, in mm."""


def _export(folder, path, orientation=ORIENTATIONS["axial"], sides=None, maker=MODEL, **changes):
    folder, centre = series(folder, orientation, **changes)
    labels = label_map(read_dicom(folder).geometry, centre)
    source = open_source(folder, labels.geometry)
    return labels, source, write_dicom_seg(labels, source, path, maker, sides)


def _sides(labels):
    return np.where(points_of(labels.geometry)[..., 0] > 0, np.uint8(1), np.uint8(2))


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_pixel_is_where_it_is_in_the_patient(tmp_path, name):
    orientation = ORIENTATIONS[name]
    labels, _, written = _export(tmp_path / "ct", tmp_path / "seg.dcm", orientation)
    assert list(written.segments.values()) == [1, 2, 3, 4]
    read = hd.seg.segread(written.path)
    frames = seg_frames(read)
    slices = {one.SOPInstanceUID: one for one in map(dcmread, (tmp_path / "ct").iterdir())}
    pixels = read.pixel_array
    for frame in frames:
        source = slices[frame.source]
        assert list(source.ImagePositionPatient) == pytest.approx(frame.position, abs=1e-6)
        there = slice_points(frame.position, orientation, SHAPE, SPACING)
        label = list(written.segments)[frame.segment - 1]
        assert np.array_equal(pixels[frame.index] == 1, labels_at(there) == label)
        assert pixels[frame.index].any()
    painted = sum(int((labels.labels == label).sum()) for label in written.segments)
    assert painted == int(pixels.sum())
    back = read_dicom_seg(written.path)
    assert np.array_equal(back.labels, label_map(back.geometry).labels)


def test_a_lung_holds_its_lesions_and_the_labels_still_read_back(tmp_path):
    folder, _ = series(tmp_path / "ct")
    labels = label_map(read_dicom(folder).geometry)
    source = open_source(folder, labels.geometry)
    whole = write_dicom_seg(labels, source, tmp_path / "a.dcm", MODEL, _sides(labels))
    cut = write_dicom_seg(labels, source, tmp_path / "b.dcm", MODEL)
    count = {label: int((labels.labels == label).sum()) for label in Label}

    def voxels(seg):
        read, pixels = hd.seg.segread(seg.path), hd.seg.segread(seg.path).pixel_array
        return [
            int(sum(pixels[f.index].sum() for f in seg_frames(read) if f.segment == number))
            for number in (1, 2, 3, 4)
        ]

    left, right, ggo, solid = (count[label] for label in (1, 2, 3, 4))
    assert voxels(whole) == [left + ggo, right + solid, ggo, solid]
    assert voxels(cut) == [left, right, ggo, solid]
    assert np.array_equal(
        source.place(read_dicom_seg(whole.path)).labels,
        source.place(read_dicom_seg(cut.path)).labels,
    )
    assert hd.seg.segread(whole.path).SegmentsOverlap == "YES"


def test_segments_are_coded_with_side_and_algorithm(tmp_path):
    _, _, written = _export(tmp_path / "ct", tmp_path / "seg.dcm")
    read = hd.seg.segread(written.path)
    told = []
    for number in read.segment_numbers:
        one = read.get_segment_description(number)
        kind = one.SegmentedPropertyTypeCodeSequence[0]
        side = kind.get("SegmentedPropertyTypeModifierCodeSequence")
        told.append(
            (
                one.segment_label,
                (one.segmented_property_category.value, one.segmented_property_type.value),
                side[0].CodeValue if side else None,
                [region.value for region in one.anatomic_regions],
            )
        )
        assert one.algorithm_type.value == "AUTOMATIC"
        algorithm = one.algorithm_identification
        assert (algorithm.name, algorithm.version) == ("napari-covseg covseg-default", "2")
        assert algorithm.parameters == {"model_sha256": "ab" * 32}
    assert told == [
        ("Left lung", ("91723000", "39607008"), "7771000", []),
        ("Right lung", ("91723000", "39607008"), "24028007", []),
        ("GGO", ("49755003", "1217294009"), None, ["39607008"]),
        ("Consolidation", ("49755003", "95436008"), None, ["39607008"]),
    ]
    assert str(read.SegmentationType) == "BINARY"
    assert read.SeriesDescription == "covseg segmentation (research use only)"
    assert "research use only" in read.ContentDescription
    assert (read.Manufacturer, read.SeriesNumber) == ("The napari-covseg developers", 1003)


def test_patient_study_and_frame_of_reference_are_the_series_own(tmp_path):
    _, source, written = _export(tmp_path / "ct", tmp_path / "seg.dcm")
    read, header = dcmread(written.path), source.header
    for name in ("StudyInstanceUID", *PATIENT):
        if name not in ("SeriesNumber", "Manufacturer", "BodyPartExamined"):
            assert read[name].value == header[name].value, name
    (referred,) = read.ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == header.SeriesInstanceUID
    uids = {item.ReferencedSOPInstanceUID for item in referred.ReferencedInstanceSequence}
    assert uids == {frame.image.sop_uid for frame in source.frames}
    assert read.SeriesInstanceUID != header.SeriesInstanceUID
    _, _, again = _export(tmp_path / "ct2", tmp_path / "again.dcm")
    assert again.sop_uid != written.sop_uid
    assert "Doe" not in written.path.name


def test_missing_and_broken_patient_values_are_left_empty(tmp_path):
    removed = dict.fromkeys(("PatientName", "PatientID", "StudyTime", "ReferringPhysicianName"))
    _, _, written = _export(
        tmp_path / "ct", tmp_path / "seg.dcm", **removed, PatientSex="X", StudyDate="unknown",
        PatientBirthDate="1950", PatientIdentityRemoved="YES", DeidentificationMethod="",
        SpecificCharacterSet="",
    )  # fmt: skip
    read = dcmread(written.path)
    assert (read.PatientName, read.PatientID, read.PatientSex) == ("", "", "")
    assert (read.StudyDate, read.StudyTime, read.PatientBirthDate) == ("", "", "")
    assert read.DeidentificationMethod == "not stated by the source"
    check_with_dciodvfy(written.path)


@pytest.mark.parametrize(
    ("orientation", "heights"),
    [
        (TILTED, np.arange(12) * 3.5),
        (AXIAL, (0.0, 3.0, 6.0, 13.0, 16.0, 17.5, 20.0, 24.0, 31.0, 38.0)),
    ],
)
def test_tilted_and_uneven_series_get_their_labels_at_their_true_places(
    tmp_path, orientation, heights
):
    start = np.array([-29.0, -19.0, 100.0])
    places = [start + z * np.array([0, 0, 1]) for z in heights]
    folder = write_series(tmp_path / "ct", places, orientation, SHAPE, SPACING, **PATIENT)
    geometry = read_dicom(folder).geometry
    labels = label_map(geometry)
    source = open_source(folder, geometry)
    assert source.grid.stacking is not None
    written = write_dicom_seg(labels, source, tmp_path / "seg.dcm", MODEL)
    assert f"each of the {len(heights)} slices" in written.notes[0]
    read = hd.seg.segread(written.path)
    found = 0
    for frame in seg_frames(read):
        there = slice_points(frame.position, orientation, SHAPE, SPACING)
        wanted = labels_at(there) == list(written.segments)[frame.segment - 1]
        near = np.zeros(SHAPE, bool)
        for step in HALF * np.vstack([np.eye(3), -np.eye(3)]):
            near |= labels_at(there + step) != labels_at(there)
        got = read.get_stored_frame(frame.index + 1) == 1
        assert not ((got != wanted) & ~near).any()
        found += int((got & ~near).sum())
    assert found > 100
    back = read_dicom_seg(written.path)
    assert back.geometry.same_as(geometry)
    agree = back.labels == labels.labels
    assert agree[source.grid.from_slices(np.ones(source.grid.slices, np.uint8)) == 1].mean() > 0.97


def test_only_slices_that_hold_something_are_written(tmp_path):
    folder, _ = series(tmp_path / "ct")
    geometry = read_dicom(folder).geometry
    values = np.zeros(geometry.shape, np.uint8)
    values[3, 4, 5], values[3, 4, 6], values[7, 8, 9] = Label.GGO, Label.IGNORE, Label.INFECTION
    source = open_source(folder, geometry)
    written = write_dicom_seg(LabelMap(values, geometry), source, tmp_path / "seg.dcm", MODEL)
    assert written.notes == ("1 voxels that were not reviewed are left out",)
    frames = seg_frames(dcmread(written.path))
    uids = [source.frames[k].image.sop_uid for k in (3, 7)]
    assert [(frame.segment, frame.source) for frame in frames] == [(1, uids[0]), (2, uids[1])]
    values[3, 4, 6] = 0
    assert np.array_equal(source.place(read_dicom_seg(written.path)).labels, values)


def test_lungs_without_a_side(tmp_path):
    folder, _ = series(tmp_path / "ct")
    geometry = read_dicom(folder).geometry
    values = label_map(geometry).labels.copy()
    values[np.isin(values, (1, 2))] = Label.LUNG
    source = open_source(folder, geometry)
    written = write_dicom_seg(LabelMap(values, geometry), source, tmp_path / "seg.dcm", MODEL)
    assert written.segments == {Label.LUNG: 1, Label.GGO: 2, Label.CONSOLIDATION: 3}
    read = hd.seg.segread(written.path)
    pixels = read.pixel_array
    lung = sum(int(pixels[f.index].sum()) for f in seg_frames(read) if f.segment == 1)
    assert lung == int((values > 0).sum())
    assert np.array_equal(source.place(read_dicom_seg(written.path)).labels, values)


def test_a_multi_frame_file(tmp_path):
    positions = [(-29.0, -19.0, 100 + 3.5 * i) for i in (3, 0, 4, 1, 2, 5, 6, 7, 8, 9, 11, 10)]
    _enhanced(positions).save_as(tmp_path / "ct.dcm")
    geometry = read_dicom(tmp_path / "ct.dcm").geometry
    labels = label_map(geometry)
    source = open_source(tmp_path / "ct.dcm", geometry)
    written = write_dicom_seg(labels, source, tmp_path / "seg.dcm", MODEL)
    read = hd.seg.segread(written.path)
    for frame in seg_frames(read):
        assert frame.position == pytest.approx(positions[frame.source_frame - 1])
        there = slice_points(frame.position, AXIAL, SHAPE, SPACING)
        label = list(written.segments)[frame.segment - 1]
        got = read.get_stored_frame(frame.index + 1) == 1
        assert np.array_equal(got, labels_at(there) == label)


def test_an_enhanced_file_of_one_frame(tmp_path):
    _enhanced([(-29.0, -19.0, 110.0)]).save_as(tmp_path / "ct.dcm")
    geometry = read_dicom(tmp_path / "ct.dcm").geometry
    labels = label_map(geometry)
    source = open_source(tmp_path / "ct.dcm", geometry)
    written = write_dicom_seg(labels, source, tmp_path / "seg.dcm", MODEL)
    assert {frame.source_frame for frame in seg_frames(dcmread(written.path))} == {1}
    assert np.array_equal(source.place(read_dicom_seg(written.path)).labels, labels.labels)


def test_slices_that_are_files_of_a_multi_frame_class_are_refused(tmp_path):
    for i in range(3):
        _enhanced([(-29.0, -19.0, 110.0 + 3.5 * i)]).save_as(tmp_path / f"{i}.dcm")
    with pytest.raises(InputError, match="need one file with all of them"):
        open_source(tmp_path, read_dicom(tmp_path).geometry)


def _enhanced(positions):
    """An Enhanced CT whose frames are in any order."""
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(SPACING), 3.5
    plane.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    groups, frames = [], []
    for position in positions:
        group, place, values = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = list(position)
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
        group.PlanePositionSequence = [place]
        group.PixelValueTransformationSequence = [values]
        groups.append(group)
        hu = field(slice_points(position, AXIAL, SHAPE, SPACING))
        frames.append(np.rint(hu + 1024).astype(np.int16))
    made = dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=len(positions), Rows=SHAPE[0],
        Columns=SHAPE[1], RescaleSlope=None, RescaleIntercept=None, SliceThickness=None, **PATIENT,
    )  # fmt: skip
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = groups
    made.PixelData = np.stack(frames).tobytes()
    return made


def test_a_zip_and_labels_on_a_part_of_the_grid(tmp_path):
    folder, _ = series(tmp_path / "ct")
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"inner/{file.name}")
    geometry = read_dicom(folder).geometry
    whole = label_map(geometry)
    source = open_source(tmp_path / "ct.zip", geometry)
    written = write_dicom_seg(whole, source, tmp_path / "seg.dcm", MODEL)
    part = read_dicom_seg(written.path)
    assert part.geometry.shape != geometry.shape
    again = open_source(folder, part.geometry)
    assert np.array_equal(again.place(part).labels, whole.labels)


def test_the_self_test_finds_a_shifted_slice_and_writes_nothing(tmp_path, monkeypatch):
    honest = dicom_seg_write._dataset

    def shifted(planes, *rest):
        return honest(np.roll(planes, 1, axis=0), *rest)

    monkeypatch.setattr(dicom_seg_write, "_dataset", shifted)
    with pytest.raises(CovsegError, match=r"seg\.dcm: the self-test failed"):
        _export(tmp_path / "ct", tmp_path / "seg.dcm")
    assert {path.name for path in tmp_path.iterdir()} == {"ct"}


def test_our_reader_is_part_of_the_self_test(tmp_path, monkeypatch):
    def swapped(path):
        read = read_dicom_seg(path)
        return LabelMap(np.array([0, 2, 1, 3, 4], np.uint8)[read.labels], read.geometry)

    monkeypatch.setattr(dicom_seg_write, "read_dicom_seg", swapped)
    with pytest.raises(CovsegError, match="would not read back"):
        _export(tmp_path / "ct", tmp_path / "seg.dcm")


def test_nothing_labelled(tmp_path):
    folder, _ = series(tmp_path / "ct")
    geometry = read_dicom(folder).geometry
    empty = LabelMap(np.zeros(geometry.shape, np.uint8), geometry)
    with pytest.raises(InputError, match="no lung and no lesion is labelled"):
        write_dicom_seg(empty, open_source(folder, geometry), tmp_path / "seg.dcm", MODEL)


def test_a_persons_name_must_be_one_dicom_can_hold(tmp_path):
    assert Maker("manual", person="Doe").person == "Doe^"
    for name in ("J\u00f6rg^A", "a" * 65, "two\nlines"):
        with pytest.raises(UsageError, match=r"Family\^Given"):
            Maker("manual", person=name)
    _, _, written = _export(
        tmp_path / "ct", tmp_path / "seg.dcm", maker=Maker("manual", person="Roe^Ann")
    )
    read = hd.seg.segread(written.path)
    assert read.ContentCreatorName == "Roe^Ann"
    assert read.get_segment_description(1).algorithm_type.value == "MANUAL"


@pytest.mark.parametrize("name", ["oblique in two", "flipped twice"])
def test_dciodvfy_finds_no_error(tmp_path, name):
    _, _, written = _export(tmp_path / "ct", tmp_path / "seg.dcm", ORIENTATIONS[name])
    check_with_dciodvfy(written.path)
