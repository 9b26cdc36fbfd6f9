"""Labels leave as DICOM SEG and SR, NIfTI and NRRD: same voxels, same sides, honest about who."""

from __future__ import annotations

import json
import logging

import highdicom as hd
import numpy as np
import pytest
from dicom_maker import write_series
from label_phantom import (
    ORIENTATIONS,
    PATIENT,
    SHAPE,
    SPACING,
    check_with_dciodvfy,
    label_map,
    series,
)

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import read_labels, read_volume, write_labels, write_volume
from napari_covseg.quantify.volumes import lesion_sides, measure
from napari_covseg.workflows.export import FORMATS, ExportSettings, export


@pytest.fixture
def scan(tmp_path):
    """A series and its labels on disk, as `segment` leaves them."""
    folder, centre = series(tmp_path / "ct", ORIENTATIONS["flipped twice"])
    volume = read_volume(folder)
    made = label_map(volume.geometry, centre)
    labels = LabelMap.like(volume, made.labels)
    results = tmp_path / "results"
    results.mkdir()
    write_labels(labels, results / f"{volume.case}_labels.nii.gz")
    report = {
        "measurements": measure(labels).to_dict(),
        "provenance": {
            "software_version": "9.9",
            "model": {"name": "covseg-default", "version": "2", "sha256": "cd" * 32},
        },
    }
    (results / f"{volume.case}.json").write_text(json.dumps(report))
    return folder, results / f"{volume.case}_labels.nii.gz", labels


def _run(labels, output, format_, source=None, **settings):
    return run_to_end(export(labels, output, ExportSettings(format_, **settings), source))


def test_left_stays_left_in_seg_and_sr(scan, tmp_path, caplog, capfd):
    folder, path, labels = scan
    with caplog.at_level(logging.DEBUG):
        result = _run(path, tmp_path, "dicom-sr", folder, person="Roe^Ann")
    sr, seg = result.paths
    assert (sr.name, seg.name) == (f"{labels.case}_sr.dcm", f"{labels.case}_seg.dcm")
    assert result.warnings == ()
    measured = measure(labels)
    assert measured.left.ggo_ml > 0 == measured.right.ggo_ml
    report = hd.sr.srread(sr).content
    groups = {str(g.tracking_identifier): g for g in report.get_volumetric_roi_measurement_groups()}
    ml = {
        title: {
            (one.finding_sites or groups[title].finding_sites)[0].laterality.meaning: one.value
            for one in groups[title].get_measurements()
            if one.unit.value == "mL"
        }
        for title in groups
    }
    both = "Right and left"
    assert ml["Left lung"] == pytest.approx({"Left": measured.left.lung_ml})
    assert ml["Right lung"] == pytest.approx({"Right": measured.right.lung_ml})
    ggo, solid = measured.left.ggo_ml, measured.right.consolidation_ml
    assert ml["Ground-glass opacity"] == pytest.approx({both: ggo, "Left": ggo, "Right": 0.0})
    assert ml["Consolidation"] == pytest.approx({both: solid, "Left": 0.0, "Right": solid})
    voxels = labels.geometry.voxel_ml
    read = hd.seg.segread(seg)
    for number, volume in ((1, measured.left.lung_ml), (2, measured.right.lung_ml)):
        mask = read.get_volume(segment_numbers=[number], combine_segments=False).array
        assert mask.sum() * voxels == pytest.approx(volume)
    for file in (sr, seg):
        check_with_dciodvfy(file)
    said = caplog.text + "".join(capfd.readouterr())
    assert "Doe" not in said
    assert "4711" not in said


def test_who_made_the_labels_follows_from_the_json_beside_them(scan, tmp_path):
    folder, path, labels = scan

    def told(**settings):
        result = _run(path, tmp_path / "seg.dcm", "dicom-seg", folder, **settings)
        one = hd.seg.segread(result.paths[0]).get_segment_description(1)
        name = one.algorithm_identification.name if one.algorithm_identification else ""
        return one.algorithm_type.value, name, result.warnings

    model = "napari-covseg covseg-default"
    assert told() == ("AUTOMATIC", model, ())
    assert hd.seg.segread(tmp_path / "seg.dcm").SoftwareVersions == "9.9"
    assert told(made_by="corrected") == ("SEMIAUTOMATIC", model, ())
    assert told(made_by="manual") == ("MANUAL", "", ())
    corrected = labels.labels.copy()
    corrected[tuple(np.argwhere(corrected == Label.GGO)[0])] = Label.LEFT_LUNG
    write_labels(LabelMap(corrected, labels.geometry, labels.case, labels.to_native), path)
    way, name, (warning,) = told()
    assert (way, name) == ("SEMIAUTOMATIC", model)
    assert "changed after the model made them" in warning
    path.with_name(f"{labels.case}.json").unlink()
    way, name, (warning,) = told()
    assert (way, name) == ("SEMIAUTOMATIC", "not stated")
    assert "--made-by says it" in warning


@pytest.mark.parametrize("format_", ["nifti", "nrrd", "seg-nrrd"])
def test_other_formats_keep_every_voxel(scan, tmp_path, format_):
    folder, path, labels = scan
    for source in (None, folder):
        (target,) = _run(path, tmp_path, format_, source).paths
        assert target.name == f"{labels.case}_labels{FORMATS[format_][0]}"
        back = read_labels(target)
        assert np.array_equal(back.labels, labels.labels)
        assert back.geometry.same_as(labels.geometry)


def test_a_seg_goes_back_to_the_whole_grid(scan, tmp_path):
    folder, path, labels = scan
    (seg,) = _run(path, tmp_path / "cut.dcm", "dicom-seg", folder).paths
    assert read_labels(seg).geometry.shape != labels.geometry.shape
    (target,) = _run(seg, tmp_path / "whole.nii.gz", "nifti", folder).paths
    assert np.array_equal(read_labels(target).labels, labels.labels)


def test_an_sr_named_by_hand_has_its_seg_beside_it(scan, tmp_path):
    folder, path, _ = scan
    paths = _run(path, tmp_path / "case7.dcm", "dicom-sr", folder).paths
    assert [one.name for one in paths] == ["case7.dcm", "case7_seg.dcm"]


def test_lesions_without_lungs_have_volumes_only(scan, tmp_path):
    folder, path, labels = scan
    lesions = np.where(labels.labels >= Label.GGO, labels.labels, np.uint8(0))
    write_labels(LabelMap(lesions, labels.geometry, labels.case, labels.to_native), path)
    sr, _ = _run(path, tmp_path, "dicom-sr", folder).paths
    report = hd.sr.srread(sr).content
    groups = [*report.get_volumetric_roi_measurement_groups()]
    groups += report.get_image_measurement_groups()
    assert [str(group.tracking_identifier) for group in groups] == [
        "Ground-glass opacity",
        "Consolidation",
        "All lesions",
    ]
    assert all(len(group.get_measurements()) == 1 for group in groups)
    ggo = int((lesions == Label.GGO).sum()) * labels.geometry.voxel_ml
    assert groups[0].get_measurements()[0].value == pytest.approx(ggo)


def test_a_slice_without_thickness_has_percentages_only(tmp_path):
    folder = write_series(
        tmp_path / "ct", [(-29.0, -19.0, 110.0)], shape=SHAPE, spacing=SPACING,
        **{**PATIENT, "SliceThickness": None},
    )  # fmt: skip
    volume = read_volume(folder)
    labels = label_map(volume.geometry)
    path = write_labels(labels, tmp_path / f"{volume.case}_labels.nii.gz")
    sr, _ = _run(path, tmp_path, "dicom-sr", folder).paths
    report = hd.sr.srread(sr).content
    groups = [*report.get_volumetric_roi_measurement_groups()]
    groups += report.get_image_measurement_groups()
    assert [str(group.tracking_identifier) for group in groups] == [
        "Consolidation",
        "Ground-glass opacity",
        "All lesions",
    ]
    assert {one.unit.value for group in groups for one in group.get_measurements()} == {"%"}
    told = {m.finding_sites[0].laterality.meaning for m in groups[0].get_measurements()[1:]}
    assert told == {"Left", "Right"}


def test_what_cannot_be_done_is_said(scan, tmp_path):
    folder, path, labels = scan
    ct = write_volume(read_volume(folder), tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match=r"ct\.nii\.gz: this is NIfTI"):
        _run(path, tmp_path, "dicom-seg", ct)
    with pytest.raises(UsageError, match="dicom-seg needs --source"):
        _run(path, tmp_path, "dicom-seg")
    with pytest.raises(UsageError, match="expected one of dicom-seg"):
        _run(path, tmp_path, "rtplan", folder)
    with pytest.raises(UsageError, match=r"a\.nrrd: --format nifti writes a name in \.nii\.gz"):
        _run(path, tmp_path / "a.nrrd", "nifti")
    with pytest.raises(UsageError, match="--format nrrd writes a name in"):
        _run(path, tmp_path / "a.seg.nrrd", "nrrd")
    with pytest.raises(UsageError, match="this is the label file itself"):
        _run(path, path, "nifti")
    with pytest.raises(InputError, match="its folder does not exist"):
        _run(path, tmp_path / "nowhere" / "a.dcm", "dicom-seg", folder)
    other = LabelMap(labels.labels[:4], label_map(labels.geometry).geometry.__class__(
        (4, *labels.geometry.shape[1:]), labels.geometry.affine @ np.diag([1, 1, 2.0, 1])
    ))  # fmt: skip
    wrong = write_labels(other, tmp_path / "other.nii.gz")
    for format_ in ("dicom-seg", "nrrd"):
        with pytest.raises(InputError, match="grid"):
            _run(wrong, tmp_path, format_, folder)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["volumes/cip_ct64_dicom", "dicom_edge/gantry_tilt_uneven_GE"])
def test_real_series(data_dir, tmp_path, name):
    volume = read_volume(data_dir / name)
    z, y, x = np.indices(volume.geometry.shape)
    depth, rows, columns = volume.geometry.shape
    values = np.zeros(volume.geometry.shape, np.uint8)
    tall = (y > rows // 4) & (y < 3 * rows // 4)
    values[tall & (x > columns // 8) & (x < columns // 2 - 2)] = Label.RIGHT_LUNG
    values[tall & (x > columns // 2 + 2) & (x < 7 * columns // 8)] = Label.LEFT_LUNG
    values[(values == Label.LEFT_LUNG) & (y > rows // 2) & (z < depth // 2)] = Label.GGO
    labels = LabelMap.like(volume, values)
    path = write_labels(labels, tmp_path / f"{volume.case}_labels.nii.gz")
    result = _run(path, tmp_path, "dicom-sr", data_dir / name)
    for file in result.paths:
        check_with_dciodvfy(file)
    back = read_labels(result.paths[1])
    assert back.case == volume.case
    sides = lesion_sides(back)
    assert set(np.unique(sides[back.labels == Label.GGO])) == {1}
    if not volume.warnings:
        (whole,) = _run(result.paths[1], tmp_path / "w.nrrd", "nrrd", data_dir / name).paths
        assert np.array_equal(read_labels(whole).labels, values)
