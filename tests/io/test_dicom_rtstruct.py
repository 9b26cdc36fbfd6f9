"""RTSTRUCT out and in: the same voxels on the same slices, holes as holes, only onto its own CT."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from dicom_maker import along, points_of, slice_points, write_series
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
from scipy import ndimage
from skimage.draw import polygon2mask

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import dicom_rtstruct_write, is_label_file, read_labels, write_volume
from napari_covseg.io.dicom import list_series, read_dicom
from napari_covseg.io.dicom_maker import Maker
from napari_covseg.io.dicom_rtstruct import ScanGrid, read_rtstruct
from napari_covseg.io.dicom_rtstruct_write import write_rtstruct
from napari_covseg.io.dicom_source import open_source

MODEL = Maker("automatic", "covseg-default", "2", "ab" * 32)
TILT = np.radians(18)
TILTED = (1, 0, 0, 0, np.cos(TILT), -np.sin(TILT))


def _sides(labels):
    return np.where(points_of(labels.geometry)[..., 0] > 0, np.uint8(1), np.uint8(2))


def _export(folder, path, orientation=ORIENTATIONS["axial"], maker=MODEL, **changes):
    folder, centre = series(folder, orientation, **changes)
    volume = read_dicom(folder)
    labels = label_map(volume.geometry, centre, volume.case)
    source = open_source(folder, labels.geometry)
    write_rtstruct(labels, source, path, maker, _sides(labels))
    return labels, ScanGrid(volume.geometry, folder)


def _edited(path, change):
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


@pytest.fixture
def drawn(tmp_path):
    """A scan's labels, the RTSTRUCT of them, and the scan."""
    labels, scan = _export(tmp_path / "ct", tmp_path / "rt.dcm")
    return labels, tmp_path / "rt.dcm", scan


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_contours_come_back_to_the_same_voxels(tmp_path, name):
    labels, scan = _export(tmp_path / "ct", tmp_path / "rt.dcm", ORIENTATIONS[name])
    back = read_rtstruct(tmp_path / "rt.dcm", scan)
    assert np.array_equal(back.labels, labels.labels)
    assert back.geometry.same_as(labels.geometry)
    assert (back.case, back.warnings) == (labels.case, ())
    onto_nifti = read_rtstruct(tmp_path / "rt.dcm", ScanGrid(labels.geometry))
    assert np.array_equal(onto_nifti.labels, labels.labels)
    assert "not checked" in onto_nifti.warnings[0]
    check_with_dciodvfy(tmp_path / "rt.dcm")


@pytest.mark.parametrize("name", ["axial", "flipped twice", "oblique in two"])
def test_points_lie_around_the_pixels_in_the_patient(tmp_path, name):
    """By pydicom and skimage alone, each contour on the slice that it refers to."""
    orientation = ORIENTATIONS[name]
    _export(tmp_path / "ct", tmp_path / "rt.dcm", orientation)
    read = dcmread(tmp_path / "rt.dcm")
    slices = {one.SOPInstanceUID: one for one in map(dcmread, (tmp_path / "ct").iterdir())}
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    ggo = next(one.ROINumber for one in read.StructureSetROISequence if one.ROIName == "GGO")
    found = 0
    for contour in read.ROIContourSequence[ggo - 1].ContourSequence:
        image = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert len(points) == contour.NumberOfContourPoints
        off = points - np.array(image.ImagePositionPatient, float)
        assert np.abs(off @ np.cross(row, column)).max() < 1e-3
        pixels = np.stack([off @ column / SPACING[0], off @ row / SPACING[1]], axis=1)
        there = labels_at(slice_points(image.ImagePositionPatient, orientation, SHAPE, SPACING))
        assert np.array_equal(polygon2mask(SHAPE, pixels), there == Label.GGO)
        found += 1
    assert found > 2


def test_structures_are_named_coloured_and_coded(drawn):
    _, path, scan = drawn
    read = dcmread(path)
    source = dcmread(next(scan.path.iterdir()))
    names = [(one.ROIName, one.ROIGenerationAlgorithm) for one in read.StructureSetROISequence]
    assert names == [
        ("Left lung", "AUTOMATIC"), ("Right lung", "AUTOMATIC"), ("GGO", "AUTOMATIC"),
        ("Consolidation", "AUTOMATIC"),
    ]  # fmt: skip
    assert [list(one.ROIDisplayColor) for one in read.ROIContourSequence] == [
        [0x7C, 0xC8, 0xFF], [0x2A, 0x83, 0xF0], [0xFF, 0xB0, 0], [0xE0, 0x26, 0x3C],
    ]  # fmt: skip
    codes = [one.RTROIIdentificationCodeSequence[0] for one in read.RTROIObservationsSequence]
    assert [one.CodeValue for one in codes] == ["39607008", "39607008", "1217294009", "95436008"]
    side = codes[1].SegmentedPropertyTypeModifierCodeSequence[0]
    assert side.CodeValue == "24028007"
    frame = read.ReferencedFrameOfReferenceSequence[0]
    study = frame.RTReferencedStudySequence[0]
    referred = study.RTReferencedSeriesSequence[0]
    assert frame.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert study.ReferencedSOPInstanceUID == source.StudyInstanceUID == read.StudyInstanceUID
    assert referred.SeriesInstanceUID == source.SeriesInstanceUID != read.SeriesInstanceUID
    assert {one.ReferencedSOPInstanceUID for one in referred.ContourImageSequence} == {
        dcmread(one).SOPInstanceUID for one in scan.path.iterdir()
    }
    assert (read.PatientID, str(read.PatientName), read.StudyID) == ("4711", "Doe^Jane", "17")
    assert read.SeriesNumber == 3003
    assert "Research use only" in read.StructureSetDescription


def test_lungs_hold_their_lesions_and_holes_are_keyholes(tmp_path):
    folder, centre = series(tmp_path / "ct")
    labels = label_map(read_dicom(folder).geometry, centre)
    source = open_source(folder, labels.geometry)
    for name, sides in (("whole", _sides(labels)), ("cut", None)):
        write_rtstruct(labels, source, tmp_path / f"{name}.dcm", MODEL, sides)
    read = {name: dcmread(tmp_path / f"{name}.dcm") for name in ("whole", "cut")}
    most = {
        name: max(one.NumberOfContourPoints for one in it.ROIContourSequence[0].ContourSequence)
        for name, it in read.items()
    }
    # A box has 8 corners; around a hole there are as many again, and the way there and back.
    assert most == {"whole": 8, "cut": 8 + 8 + 2}
    kinds = {
        contour.ContourGeometricType
        for roi in read["cut"].ROIContourSequence
        for contour in roi.ContourSequence
    }
    assert kinds == {"CLOSED_PLANAR"}
    scan = ScanGrid(labels.geometry, folder)
    for name in read:
        back = read_rtstruct(tmp_path / f"{name}.dcm", scan)
        assert np.array_equal(back.labels, labels.labels)


@pytest.mark.parametrize("kind", ["CLOSEDPLANAR_XOR", "CLOSED_PLANAR"])
def test_a_contour_within_another_is_a_hole(drawn, kind):
    labels, path, scan = drawn

    def nest(dataset):
        for roi in dataset.ROIContourSequence[1:]:
            roi.ContourSequence = []
        outer = dataset.ROIContourSequence[0].ContourSequence[0]
        points = np.array(outer.ContourData, float).reshape(-1, 3)
        inner = points.mean(axis=0) + (points - points.mean(axis=0)) * 0.6
        hole = deepcopy(outer)
        hole.ContourData = list(inner.ravel())
        outer.ContourGeometricType = hole.ContourGeometricType = kind
        dataset.ROIContourSequence[0].ContourSequence = [outer, hole]

    whole = np.flatnonzero((labels.labels == Label.LEFT_LUNG).any(axis=(1, 2)))[0]
    back = read_rtstruct(_edited(path, nest), scan)
    assert np.flatnonzero(back.labels.any(axis=(1, 2))).tolist() == [whole]
    inside = labels.labels[whole] == Label.LEFT_LUNG
    rows, columns = np.nonzero(inside)
    middle = (slice(rows.min() + 2, rows.max() - 1), slice(columns.min() + 2, columns.max() - 1))
    expected = inside.copy()
    expected[middle] = False
    assert np.array_equal(back.labels[whole] == Label.LEFT_LUNG, expected)
    told = any("counts as a hole" in one for one in back.warnings)
    assert told is (kind == "CLOSED_PLANAR")


def test_of_another_frame_of_reference_is_refused(drawn, tmp_path):
    _, path, _ = drawn
    folder, _ = series(tmp_path / "other", FrameOfReferenceUID="1.2.3.78")
    scan = ScanGrid(read_dicom(folder).geometry, folder)
    with pytest.raises(InputError, match=r"rt\.dcm: its contours lie in another frame of refer"):
        read_rtstruct(path, scan)
    # The same patient on the same table: another series, such as another kernel.
    folder, _ = series(tmp_path / "kernel", SeriesInstanceUID="1.2.3.5")
    back = read_rtstruct(path, ScanGrid(read_dicom(folder).geometry, folder))
    assert back.warnings == (
        "the contours were drawn on another series of this frame of reference",
    )


def test_a_scan_without_a_frame_of_reference_is_told(drawn, tmp_path):
    labels, path, _ = drawn
    folder, _ = series(tmp_path / "bare", FrameOfReferenceUID=None)
    back = read_rtstruct(path, ScanGrid(read_dicom(folder).geometry, folder))
    # It is the very series that the contours name.
    assert back.warnings == ()
    assert np.array_equal(back.labels, labels.labels)
    other, _ = series(tmp_path / "other", FrameOfReferenceUID=None, SeriesInstanceUID="1.2.3.5")
    back = read_rtstruct(path, ScanGrid(read_dicom(other).geometry, other))
    assert "no frame of reference is told" in back.warnings[0]


@pytest.mark.parametrize(
    ("count", "step", "start", "said"),
    [
        (5, 3.5, 0.0, "outside the slices"),
        (24, 3.5, 1.0, "between the slices"),
        (12, 3.5, -60.0, "outside the slices"),
    ],
)
def test_contours_off_the_slices_are_refused(drawn, tmp_path, count, step, start, said):
    _, path, scan = drawn
    origin = np.add(scan.geometry.origin_mm, [0, 0, start])
    folder = write_series(
        tmp_path / "off", along((1, 0, 0, 0, 1, 0), count, step, origin), shape=SHAPE,
        spacing=SPACING, **PATIENT,
    )  # fmt: skip
    other = ScanGrid(read_dicom(folder).geometry, folder)
    for onto in (other, ScanGrid(other.geometry)):
        with pytest.raises(InputError, match=rf"structure 1 'Left lung': its contours lie {said}"):
            read_rtstruct(path, onto)


def test_contours_beside_the_pictures_are_refused(drawn, tmp_path):
    _, path, scan = drawn
    origin = np.array(scan.geometry.origin_mm)
    folder = write_series(
        tmp_path / "small", along((1, 0, 0, 0, 1, 0), 12, 3.5, origin), shape=(20, 12),
        spacing=SPACING, **PATIENT,
    )  # fmt: skip
    with pytest.raises(InputError, match="beside the pictures of the scan"):
        read_rtstruct(path, ScanGrid(read_dicom(folder).geometry, folder))


def test_names_follow_the_rules_of_label_maps(drawn):
    labels, path, scan = drawn

    def rename(dataset):
        names = ("Lung_L", "LUNG RT", "Heart", "GTV")
        for roi, seen, name in zip(
            dataset.StructureSetROISequence, dataset.RTROIObservationsSequence, names, strict=True
        ):
            roi.ROIName, seen.ROIObservationLabel = name, ""
            del seen.RTROIIdentificationCodeSequence

    _edited(path, rename)
    with pytest.raises(InputError, match=r"not all structures are lungs or lesions: .*3 'Heart'"):
        read_rtstruct(path, scan)
    told = {1: Label.LEFT_LUNG, 2: Label.RIGHT_LUNG, 4: Label.INFECTION}
    back = read_labels(path, label_map=told, onto=scan)
    assert "structures not in the label map were left out: 3 'Heart'" in back.warnings
    assert np.array_equal(back.labels == Label.INFECTION, labels.labels == Label.CONSOLIDATION)
    with pytest.raises(InputError, match="no structure 9; it has 1 'Lung_L'"):
        read_rtstruct(path, scan, {9: Label.GGO})
    looked_at = read_rtstruct(path, scan, known_only=True)
    assert set(np.unique(looked_at.labels)) == {0, 1, 2}
    assert looked_at.warnings == ("structures left out: 'Heart', 'GTV'",)


def test_a_code_names_a_structure_too(drawn):
    labels, path, scan = drawn

    def rename(dataset):
        for roi, seen in zip(
            dataset.StructureSetROISequence, dataset.RTROIObservationsSequence, strict=True
        ):
            roi.ROIName, seen.ROIObservationLabel = f"s{roi.ROINumber}", ""

    assert np.array_equal(read_rtstruct(_edited(path, rename), scan).labels, labels.labels)


def test_structures_without_contours_and_points_are_left_out(drawn):
    labels, path, scan = drawn

    def change(dataset):
        del dataset.ROIContourSequence[2].ContourSequence
        dataset.StructureSetROISequence[2].ROIName = "Isocentre"
        dataset.RTROIObservationsSequence.pop(2)
        first = dataset.ROIContourSequence[3].ContourSequence[0]
        first.ContourGeometricType, first.NumberOfContourPoints = "POINT", 1
        first.ContourData = first.ContourData[:3]

    back = read_rtstruct(_edited(path, change), scan)
    assert back.warnings == ("1 points or open lines are no contours: left out",)
    assert not (back.labels == Label.GGO).any()
    solid = [
        (one == Label.CONSOLIDATION).any(axis=(1, 2)).sum() for one in (back.labels, labels.labels)
    ]
    assert solid[0] == solid[1] - 1


def test_a_lesion_that_is_named_but_not_drawn_is_told(drawn):
    _, path, scan = drawn

    def change(dataset):
        assert dataset.StructureSetROISequence[2].ROIName == "GGO"
        del dataset.ROIContourSequence[2].ContourSequence

    back = read_rtstruct(_edited(path, change), scan)
    assert back.warnings == ("structures without a closed contour: 'GGO'",)


def test_contours_of_a_structure_in_two_items_are_both_taken(drawn):
    labels, path, scan = drawn

    def change(dataset):
        whole = dataset.ROIContourSequence[3]
        part = deepcopy(whole)
        whole.ContourSequence, part.ContourSequence = (
            whole.ContourSequence[:1],
            whole.ContourSequence[1:],
        )
        dataset.ROIContourSequence.append(part)

    back = read_rtstruct(_edited(path, change), scan)
    assert np.array_equal(back.labels, labels.labels)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: setattr(d.ROIContourSequence[0].ContourSequence[0], "ContourData", [1, 2]),
         "damaged: a contour is no list of points"),
        (lambda d: setattr(d.ROIContourSequence[0].ContourSequence[0], "ContourData", None),
         "damaged: a contour has no place"),
        (lambda d: setattr(d.StructureSetROISequence[1], "ROINumber", 1),
         "damaged: two structures are number 1"),
        (lambda d: delattr(d, "StructureSetROISequence"), "has no structures"),
        (lambda d: delattr(d, "ROIContourSequence"), "none of its structures has a closed contour"),
    ],
)  # fmt: skip
def test_damage_is_said(drawn, damage, said):
    _, path, scan = drawn
    with pytest.raises(InputError, match=said):
        read_rtstruct(_edited(path, damage), scan)


def test_a_cut_file_is_an_error_of_ours(drawn):
    _, path, scan = drawn
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"rt\.dcm: "):
        read_rtstruct(path, scan)


def test_without_its_ct_it_says_so(drawn):
    labels, path, scan = drawn
    assert is_label_file(path)
    assert not is_label_file(next(scan.path.iterdir()))
    with pytest.raises(InputError, match="no voxels of their own: they are read onto the CT"):
        read_labels(path)
    assert np.array_equal(read_labels(path, onto=scan).labels, labels.labels)


def test_a_tilted_series_keeps_its_slices(tmp_path):
    folder = write_series(
        tmp_path / "ct", np.array([-30.0, -20.0, 100.0]) + np.outer(np.arange(8), [0, 0, 5.0]),
        TILTED, SHAPE, SPACING, **PATIENT,
    )  # fmt: skip
    volume = read_dicom(folder)
    labels = label_map(volume.geometry, np.array([0.0, 0.0, 112.0]), volume.case)
    source = open_source(folder, labels.geometry)
    written = write_rtstruct(labels, source, tmp_path / "rt.dcm", MODEL, _sides(labels))
    assert "tilted or uneven" in written.notes[0]
    back = read_rtstruct(tmp_path / "rt.dcm", ScanGrid(volume.geometry, folder))
    again = source.to_slices(back.labels)
    assert np.array_equal(again, source.to_slices(labels.labels))
    check_with_dciodvfy(tmp_path / "rt.dcm")


def test_an_rtstruct_beside_its_slices_is_no_slice(tmp_path):
    labels, scan = _export(tmp_path / "ct", tmp_path / "rt.dcm")
    (tmp_path / "rt.dcm").rename(scan.path / "rt.dcm")
    (one,) = [found for found in list_series(scan.path) if found.loadable]
    assert one.slices == 12
    back = read_rtstruct(scan.path / "rt.dcm", scan)
    assert np.array_equal(back.labels, labels.labels)


def test_what_would_not_read_back_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_rtstruct_write, "outlines", lambda mask: [np.eye(3)[:, :2]])
    with pytest.raises(CovsegError, match="self-test failed"):
        _export(tmp_path / "ct", tmp_path / "rt.dcm")
    assert not (tmp_path / "rt.dcm").exists()


def test_nothing_labelled_is_refused(tmp_path):
    folder, _ = series(tmp_path / "ct")
    volume = read_dicom(folder)
    empty = LabelMap.like(volume, np.zeros(volume.hu.shape, np.uint8))
    source = open_source(folder, volume.geometry)
    with pytest.raises(InputError, match="no lung and no lesion is labelled"):
        write_rtstruct(empty, source, tmp_path / "rt.dcm", MODEL)


def test_who_drew_stands_in_it(tmp_path):
    _export(tmp_path / "ct", tmp_path / "rt.dcm", maker=Maker("manual", person="Roe^Ann"))
    read = dcmread(tmp_path / "rt.dcm")
    assert read.StructureSetROISequence[0].ROIGenerationAlgorithm == "MANUAL"
    assert str(read.RTROIObservationsSequence[0].ROIInterpreter) == "Roe^Ann"
    assert str(read.OperatorsName) == "Roe^Ann"


def test_onto_a_nifti_of_the_scan(drawn, tmp_path):
    labels, path, scan = drawn
    nifti = write_volume(read_dicom(scan.path), tmp_path / "scan.nii.gz")
    back = read_labels(path, onto=ScanGrid(labels.geometry, nifti))
    assert np.array_equal(back.labels, labels.labels)
    assert back.case == labels.case


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["volumes/cip_ct64_dicom", "volumes/dicom_LungDx-A0002_B40f",
             "dicom_edge/gantry_tilt_uneven_GE"],
)  # fmt: skip
def test_real_series(data_dir, tmp_path, name):
    folder = data_dir / name
    volume = read_dicom(folder)
    # Air and a shell of it make shapes as no box has: vessels as holes, specks, the room around.
    air = ndimage.median_filter(volume.hu, (1, 5, 5)) < -400
    values = np.where(air, np.uint8(Label.LUNG), np.uint8(0))
    values[air & ~ndimage.binary_erosion(air, iterations=2)] = Label.GGO
    labels = LabelMap.like(volume, values)
    source = open_source(folder, volume.geometry)
    write_rtstruct(labels, source, tmp_path / "rt.dcm", MODEL)
    back = read_rtstruct(tmp_path / "rt.dcm", ScanGrid(volume.geometry, folder))
    slices = source.to_slices(values)
    assert np.array_equal(back.labels, source.grid.from_slices(slices))
    if source.grid.stacking is None:
        assert np.array_equal(back.labels, values)
    check_with_dciodvfy(tmp_path / "rt.dcm")
