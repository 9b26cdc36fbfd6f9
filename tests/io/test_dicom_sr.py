"""The DICOM SR holds every number with its unit, its side, its segment and its series."""

from __future__ import annotations

import highdicom as hd
import pytest
from label_phantom import ORIENTATIONS, check_with_dciodvfy, label_map, series
from pydicom import dcmread

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import Label
from napari_covseg.io import dicom_sr
from napari_covseg.io.dicom import read_dicom
from napari_covseg.io.dicom_codes import (
    ABNORMAL_STRUCTURE,
    ANATOMICAL_STRUCTURE,
    GROUND_GLASS,
    LUNG,
    MILLILITER,
    PERCENT,
    PERCENT_OF_LUNG,
    VOLUME,
)
from napari_covseg.io.dicom_maker import Maker
from napari_covseg.io.dicom_seg_write import write_dicom_seg
from napari_covseg.io.dicom_source import open_source
from napari_covseg.io.dicom_sr import Finding, Measured, write_dicom_sr

MODEL = Maker("automatic", "covseg-default", "2", "ab" * 32, person="Roe^Ann")
LEFT_ML = Measured(VOLUME, 1234.5678901234567, MILLILITER, "left")
FINDINGS = (
    Finding("Left lung", ANATOMICAL_STRUCTURE, LUNG, (LEFT_ML,), "left", Label.LEFT_LUNG),
    Finding(
        "GGO", ABNORMAL_STRUCTURE, GROUND_GLASS,
        (
            Measured(VOLUME, 12.5, MILLILITER), Measured(VOLUME, 12.5, MILLILITER, "left"),
            Measured(VOLUME, 0.0, MILLILITER, "right"),
            Measured(PERCENT_OF_LUNG, 1e-7 / 3, PERCENT, "left"),
        ),
        label=Label.GGO,
    ),
    Finding("No segment", ABNORMAL_STRUCTURE, GROUND_GLASS, (LEFT_ML,), label=Label.INFECTION),
)  # fmt: skip


@pytest.fixture
def scan(tmp_path):
    folder, centre = series(tmp_path / "ct", ORIENTATIONS["oblique"])
    labels = label_map(read_dicom(folder).geometry, centre)
    source = open_source(folder, labels.geometry)
    return source, write_dicom_seg(labels, source, tmp_path / "seg.dcm", MODEL)


def test_numbers_units_sides_and_segments(tmp_path, scan):
    source, seg = scan
    path = write_dicom_sr(FINDINGS, source, seg, tmp_path / "sr.dcm", MODEL, ("One comment.",))
    report = hd.sr.srread(path).content
    lung, ggo = report.get_volumetric_roi_measurement_groups()
    (alone,) = report.get_image_measurement_groups()
    assert [str(group.tracking_identifier) for group in (lung, ggo, alone)] == [
        finding.title for finding in FINDINGS
    ]
    assert (lung.finding_type.value, lung.finding_category.value) == ("39607008", "91723000")
    assert lung.finding_sites[0].laterality.value == "7771000"
    assert ggo.finding_sites[0].laterality.value == "51440002"
    for group, number in ((lung, 1), (ggo, 3)):
        segment = group.referenced_segment
        assert segment.referenced_sop_instance_uid == seg.sop_uid
        assert segment.referenced_segment_numbers == [number]
        assert segment[1].value == source.header.SeriesInstanceUID
    read = [
        (
            one.name.value,
            one.value,
            one.unit.value,
            one.finding_sites[0].laterality.meaning if one.finding_sites else None,
        )
        for one in ggo.get_measurements()
    ]
    assert read == [
        ("118565006", 12.5, "mL", None),
        ("118565006", 12.5, "mL", "Left"),
        ("118565006", 0.0, "mL", "Right"),
        ("percent-of-lung", 1e-7 / 3, "%", "Left"),
    ]
    assert lung.get_measurements()[0].value == LEFT_ML.value
    check_with_dciodvfy(path)


def test_observers_comments_and_references(tmp_path, scan):
    source, seg = scan
    path = write_dicom_sr(FINDINGS, source, seg, tmp_path / "sr.dcm", MODEL, ("One comment.",))
    read = dcmread(path)
    report = hd.sr.srread(path).content
    person, device = report.get_observer_contexts()
    assert person.observer_identifying_attributes.name == "Roe^Ann"
    assert device.observer_identifying_attributes.model_name == "napari-covseg"
    assert device.observer_identifying_attributes.uid == MODEL.device_uid
    comments = [
        item.TextValue
        for item in read.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Comment"
    ]
    assert comments[0].startswith("Research use only")
    assert comments[1:] == ["One comment."]
    assert read.SeriesDescription == "covseg measurements (research use only)"
    assert (read.VerificationFlag, read.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert (read.PatientID, read.StudyInstanceUID) == ("4711", "1.2.3")
    (study,) = read.CurrentRequestedProcedureEvidenceSequence
    referred = {
        str(one.SeriesInstanceUID): {
            str(i.ReferencedSOPInstanceUID) for i in one.ReferencedSOPSequence
        }
        for one in study.ReferencedSeriesSequence
    }
    assert referred == {
        "1.2.3.4": {frame.image.sop_uid for frame in source.frames},
        seg.series_uid: {seg.sop_uid},
    }
    (scheme,) = read.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99COVSEG"


def test_without_a_person_the_software_alone_observes(tmp_path, scan):
    source, seg = scan
    path = write_dicom_sr(FINDINGS, source, seg, tmp_path / "sr.dcm", Maker("manual"))
    (device,) = hd.sr.srread(path).content.get_observer_contexts()
    assert device.observer_type.meaning == "Device"


def test_the_self_test_compares_sides(tmp_path, scan, monkeypatch):
    source, seg = scan
    honest = dicom_sr._dataset

    def mirrored(findings, *rest):
        other = {"left": "right", "right": "left", "both": "both"}
        turned = [
            Finding(
                f.title, f.category, f.kind,
                tuple(Measured(m.name, m.value, m.unit, other[m.side]) for m in f.measured),
                other[f.side], f.label,
            )
            for f in findings
        ]  # fmt: skip
        return honest(turned, *rest)

    monkeypatch.setattr(dicom_sr, "_dataset", mirrored)
    with pytest.raises(CovsegError, match=r"sr\.dcm: the self-test failed"):
        write_dicom_sr(FINDINGS, source, seg, tmp_path / "sr.dcm", MODEL)
    assert not (tmp_path / "sr.dcm").exists()


def test_no_number_no_report(tmp_path, scan):
    with pytest.raises(ValueError, match="not a measurement"):
        Measured(VOLUME, float("nan"), MILLILITER)
    with pytest.raises(InputError, match="no measurement"):
        write_dicom_sr((), *scan, tmp_path / "sr.dcm", MODEL)
