"""DICOM SEG opens as labels, in the patient's space, by name, by map or as it is."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from dicom_maker import along, image, points_of, slice_points

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.io.dicom import read_dicom
from napari_covseg.io.dicom_seg import (
    is_dicom_seg,
    read_dicom_seg,
    segment_names,
)


def _source(orientation, count=4):
    """Slices of a CT with every attribute a SEG copies."""
    positions = along(orientation, count, 3.0)
    made = []
    for i, position in enumerate(positions):
        one = image(
            np.zeros((10, 14)), position, orientation, (1.5, 1.0),
            FrameOfReferenceUID="1.9", InstanceNumber=i + 1, SeriesNumber=1, StudyID="1",
            StudyDate="20200101", StudyTime="000000", AccessionNumber="", PatientBirthDate="",
            PatientSex="", ReferringPhysicianName="", Manufacturer="m",
        )  # fmt: skip
        made.append(one)
    return positions, made


def _segmentation(folder, orientation, titles, painted):
    """Write a SEG of ``painted(points, segment)`` masks; returns its path."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    positions, source = _source(orientation)
    points = np.stack([slice_points(p, orientation, (10, 14), (1.5, 1.0)) for p in positions])
    masks = np.stack([painted(points, i) for i in range(len(titles))], axis=-1).astype(np.uint8)
    described = [
        hd.seg.SegmentDescription(
            segment_number=i + 1,
            segment_label=title,
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="MANUAL",
        )
        for i, title in enumerate(titles)
    ]
    made = hd.seg.Segmentation(
        source, masks, "BINARY", described, "1.2.3.9", 9, "1.2.3.9.1", 1, "m", "m", "1", "1"
    )
    path = folder / "seg.dcm"
    made.save_as(path)
    return path


ORIENTATIONS = [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_left_and_right_stay(tmp_path, orientation):
    middle = slice_points(along(orientation, 4, 3.0)[2], orientation, (10, 14), (1.5, 1.0))
    centre = middle.mean(axis=(0, 1))

    def painted(points, segment):
        left = points[..., 0] > centre[0]
        low = points[..., 2] < centre[2] + 0.1
        return (left if segment == 0 else ~left) & (low | (segment == 1))

    labels = read_dicom_seg(
        _segmentation(tmp_path, orientation, ["Left lung", "Right lung"], painted)
    )
    where = points_of(labels.geometry)
    assert labels.geometry.is_canonical
    assert set(np.unique(labels.labels)) <= {0, 1, 2}
    inside = where[labels.labels == Label.LEFT_LUNG]
    assert len(inside)
    assert (inside[:, 0] > centre[0]).all()
    assert (inside[:, 2] < centre[2] + 0.1).all()
    assert (where[labels.labels == Label.RIGHT_LUNG][:, 0] <= centre[0]).all()
    assert labels.warnings == ()


def test_case_is_that_of_its_ct(tmp_path):
    path = _segmentation(tmp_path, ORIENTATIONS[0], ["GGO"], lambda p, s: p[..., 0] > 0)
    _, source = _source(ORIENTATIONS[0])
    for i, one in enumerate(source):
        (tmp_path / "ct").mkdir(exist_ok=True)
        one.save_as(tmp_path / "ct" / f"{i}.dcm")
    volume, labels = read_dicom(tmp_path / "ct"), read_dicom_seg(path)
    assert labels.case == volume.case
    assert labels.geometry.same_as(volume.geometry)
    assert set(np.unique(labels.labels)) == {0, int(Label.GGO)}


def test_a_label_map_says_what_segments_are(tmp_path):
    path = _segmentation(
        tmp_path, ORIENTATIONS[0], ["a", "b"], lambda p, s: (p[..., 0] > 0) == (s == 0)
    )
    assert segment_names(path) == {1: "a", 2: "b"}
    both = read_dicom_seg(path, {1: Label.GGO, 2: Label.CONSOLIDATION})
    assert set(np.unique(both.labels)) == {3, 4}
    one = read_dicom_seg(path, {2: Label.CONSOLIDATION})
    assert set(np.unique(one.labels)) == {0, 4}
    assert np.array_equal(one.labels == 4, both.labels == 4)
    assert one.warnings == ("segments not in the label map were left out: 1 'a'",)
    with pytest.raises(InputError, match="no segment 7; it has 1 'a', 2 'b'"):
        read_dicom_seg(path, {7: Label.GGO})
    with pytest.raises(InputError, match=r"1 'a', 2 'b'; say what they are with --label-map"):
        read_dicom_seg(path)
    assert set(np.unique(read_dicom_seg(path, raw=True).labels)) == {1, 2}


def test_lesions_stay_on_lungs_whatever_their_numbers(tmp_path):
    # In x: 0..13 mm; each segment from its start on, so that all overlap.
    starts = {"Consolidation": 10, "GGO": 7, "Infection": 5, "Left lung": 2, "Lungs": 0}
    for order in (list(starts), list(reversed(starts))):
        x = [starts[title] for title in order]
        path = _segmentation(
            tmp_path, ORIENTATIONS[0], order, lambda p, s, x=x: p[..., 0] >= p[..., 0].min() + x[s]
        )
        labels = read_dicom_seg(path)
        row = labels.labels[0, 0].tolist()
        assert row[:10] == [6, 6, 1, 1, 1, 5, 5, 3, 3, 3]
        # GGO and consolidation contradict each other: the later number stays, and it is told.
        later = Label.GGO if order[-1] == "Lungs" else Label.CONSOLIDATION
        assert row[10:] == [int(later)] * 4
        voxels = 4 * labels.labels[:, :, 0].size
        assert labels.warnings == (
            f"segments overlap in {voxels} voxels: the later segment was kept there",
        )


def test_only_contradictions_are_warned_of(tmp_path):
    def whole(points, segment):
        return np.ones(points.shape[:-1], bool)

    agreeing = _segmentation(tmp_path, ORIENTATIONS[0], ["GGO", "Left lung", "Lungs"], whole)
    labels = read_dicom_seg(agreeing)
    assert (labels.labels == Label.GGO).all()
    assert labels.warnings == ()
    both = _segmentation(tmp_path, ORIENTATIONS[0], ["Right lung", "Left lung"], whole)
    labels = read_dicom_seg(both)
    assert (labels.labels == Label.LEFT_LUNG).all()
    assert "segments overlap in 560 voxels" in labels.warnings[0]
    assert "segments overlap in 560 voxels" in read_dicom_seg(both, raw=True).warnings[0]


def test_a_zip_with_one_segmentation(tmp_path):
    path = _segmentation(tmp_path, ORIENTATIONS[0], ["GGO"], lambda p, s: p[..., 0] > 0)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "s/seg.dcm")
    assert np.array_equal(read_dicom_seg(tmp_path / "a.zip").labels, read_dicom_seg(path).labels)


def test_what_is_no_segmentation(tmp_path):
    image(np.zeros((4, 4))).save_as(tmp_path / "ct.dcm")
    assert not is_dicom_seg(tmp_path / "ct.dcm")
    assert not is_dicom_seg(tmp_path)
    with pytest.raises(InputError, match=r"expected one DICOM segmentation \(SEG\), found none"):
        read_dicom_seg(tmp_path / "ct.dcm")
    path = _segmentation(tmp_path, ORIENTATIONS[0], ["GGO"], lambda p, s: p[..., 0] > 0)
    assert is_dicom_seg(path)
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match="or is cut off"):
        read_dicom_seg(tmp_path / "cut.dcm")


@pytest.mark.real_data
def test_liver(data_dir):
    path = data_dir / "dicom_edge/seg_ct3slice/liver.dcm"
    with pytest.raises(InputError, match="not all segments are lungs or lesions: 1 'Liver'"):
        read_dicom_seg(path)
    labels = read_dicom_seg(path, raw=True)
    volume = read_dicom(path.parent)
    assert labels.geometry.same_as(volume.geometry)
    assert labels.case == volume.case
    assert np.count_nonzero(labels.labels) == 107_098
    assert -50 < np.median(volume.hu[labels.labels == 1]) < 200


@pytest.mark.real_data
def test_liver_agrees_with_its_nrrd(data_dir):
    import SimpleITK as sitk

    folder = data_dir / "dicom_edge/seg_ct3slice"
    labels = read_dicom_seg(folder / "liver.dcm", raw=True)
    reference = sitk.ReadImage(str(folder / "liver_seg.nrrd"))
    filled = sitk.GetArrayFromImage(reference) > 0
    index = np.argwhere(filled)[:: max(1, int(filled.sum()) // 500)]
    inverse = np.linalg.inv(labels.geometry.affine)
    for z, y, x in index:
        place = reference.TransformIndexToPhysicalPoint((int(x), int(y), int(z)))
        i, j, k = np.rint(inverse @ [*place, 1])[:3].astype(int)
        assert labels.labels[k, j, i] == 1


@pytest.mark.real_data
def test_overlapping_segments(data_dir):
    labels = read_dicom_seg(data_dir / "dicom_edge/seg_ct3slice/partial_overlaps.dcm", raw=True)
    assert np.bincount(labels.labels.ravel())[1:].tolist() == [6518, 11838, 10743, 6693, 4713]
    assert labels.warnings == ("segments overlap in 3134 voxels: the later segment was kept there",)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["binary", "binary_fractional", "true_fractional"])
def test_fractional_segments(data_dir, name):
    folder = data_dir / "dicom_edge/seg_tiny_highdicom"
    labels = read_dicom_seg(folder / f"seg_image_ct_{name}.dcm", {1: Label.GGO})
    assert np.bincount(labels.labels.ravel()).tolist() == [130, 0, 0, 638]
    assert labels.geometry.origin_mm == pytest.approx((-125.0, -128.100006, 103.019997))
    assert ("fractional" in "".join(labels.warnings)) == ("fractional" in name)
