"""Reports from files: labels read or made, identifiers, provenance, bad input."""

import csv
import json

import numpy as np
import pytest
from block_lungs import as_map, as_volume
from dicom_maker import AXIAL, along, write_series
from report_cases import sick_blocks

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import Lobe, LobeMap
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.io import read_volume, write_labels, write_volume
from napari_covseg.io.dicom_patient import dicom_identity
from napari_covseg.quantify.volumes import measure
from napari_covseg.workflows import lobes as lobe_workflow
from napari_covseg.workflows import segment as segmenting
from napari_covseg.workflows.lobe_choice import LobeChoice
from napari_covseg.workflows.origin import voxels_hash
from napari_covseg.workflows.quantify import CSV_COLUMNS
from napari_covseg.workflows.report import report_file
from napari_covseg.workflows.report_cases import case_row, columns, write_cases
from napari_covseg.workflows.report_origin import labels_hash
from napari_covseg.workflows.report_request import ReportRequest
from napari_covseg.workflows.segment import SegmentResult, input_hash, write_result


@pytest.fixture
def case(tmp_path):
    """A CT and its labels, as ``covseg segment`` leaves them."""
    labels = sick_blocks()
    ct = write_volume(as_volume(labels), tmp_path / "scan.nii.gz")
    folder = tmp_path / "predictions"
    folder.mkdir()
    provenance = {
        "software_version": "0.0.9",
        "model": {"name": "tiny", "version": "1", "sha256": "ef" * 32},
        "device": {"title": "CPU"},
        "settings": {"flips": "none", "model": "tiny"},
        "input": {"sha256": input_hash(read_volume(ct))},
    }
    read = as_map(labels)
    write_result(
        SegmentResult(read, measure(read), ("as the model said",), provenance), folder, "scan"
    )
    return ct, folder, tmp_path / "out"


def report(path, output, **request):
    request.setdefault("formats", ("json",))
    return run_to_end(report_file(path, output, ReportRequest(**request)))


def test_from_labels_in_a_folder(case):
    ct, folder, out = case
    done = report(ct, out, labels=folder, formats=("csv", "json", "txt"))
    assert [path.name for path in done.paths] == [
        "scan_report.csv",
        "scan_report.json",
        "scan_report.txt",
    ]
    found = json.loads((out / "scan_report.json").read_text(encoding="utf-8"))
    assert found["case"] == "scan"
    assert found["measurements"]["parts"]["left"]["lesions"]["ml"] == pytest.approx(6.0)
    assert found["measurements"]["scores"]["ct_score_25"]["value"] == 1
    assert found["choices"]["high_opacity_from_hu"] == -200
    assert found["notice"].startswith("Research use only")
    assert found["warnings"] == ["as the model said"]
    provenance = found["provenance"]
    assert provenance["made"] == "automatic"
    assert (provenance["model_name"], provenance["model_sha256"]) == ("tiny", "ef" * 32)
    assert provenance["segmented_by_version"] == "0.0.9"
    assert provenance["input_sha256"] == input_hash(read_volume(ct))
    with (out / "scan_report.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    left = [r for r in rows if (r["name"], r["figure"], r["unit"]) == ("left", "lesions", "ml")]
    assert float(left[0]["value"]) == pytest.approx(6.0)
    assert "6.0 ml" in (out / "scan_report.txt").read_text(encoding="utf-8")


def test_html_and_pdf_are_written_whole(case):
    ct, folder, out = case
    report(ct, out, labels=folder / "scan_labels.nii.gz", formats=("html", "pdf"))
    assert (out / "scan_report.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "scan_report.html").read_text(encoding="utf-8").endswith("</html>\n")
    assert sorted(path.name for path in out.iterdir()) == ["scan_report.html", "scan_report.pdf"]


def test_lobes_by_a_network_are_named_with_it(case, monkeypatch):
    ct, folder, out = case
    labels = sick_blocks()
    left = labels[..., 50:] > 0

    def network_lobes(volume, choice, device="auto"):
        yield Progress(0, 1, "finding lobes")
        lobes = np.where(labels > 0, np.uint8(Lobe.RIGHT_LOWER), np.uint8(0))
        lobes[..., 50:][left] = Lobe.LEFT_UPPER
        return LobeMap(lobes, volume.geometry, source="lungmask-LTRCLobes (weights 3a07043d)")

    monkeypatch.setattr(lobe_workflow, "network_lobes", network_lobes)
    choice = LobeChoice(network=True)
    done = report(ct, out, labels=folder, lobes=choice, formats=("html", "json"))
    found = json.loads((out / "scan_report.json").read_text(encoding="utf-8"))
    assert found["measurements"]["lobes_from"] == "map"
    assert found["measurements"]["lobes_source"] == "lungmask-LTRCLobes (weights 3a07043d)"
    assert found["measurements"]["lobes"]["left_upper"]["lesions"]["ml"] == pytest.approx(6.0)
    told = "from a lobe map, lungmask-LTRCLobes (weights 3a07043d)"
    assert done.content.provenance.lobes == found["provenance"]["lobes"] == told
    page = (out / "scan_report.html").read_text(encoding="utf-8")
    assert "those of the lobe map (lungmask-LTRCLobes (weights 3a07043d))" in page
    approximate = report(ct, out, labels=folder).content
    assert approximate.provenance.lobes == "approximated by planes"
    assert approximate.result.lobes_source == ""


def test_labels_that_were_changed_are_corrected_ones(case):
    ct, folder, out = case
    labels = sick_blocks()
    labels[5, 20, 62] = Label.LEFT_LUNG
    write_labels(as_map(labels), folder / "scan_labels.nii.gz")
    content = report(ct, out, labels=folder).content
    assert content.provenance.made == "corrected"
    assert content.warnings == ()
    assert content.provenance.labels_sha256 == labels_hash(as_map(labels))


def test_a_correction_that_leaves_every_volume_as_it_was_is_one(case):
    ct, folder, out = case
    labels = sick_blocks()
    ggo, lung = np.argwhere(labels == Label.GGO)[0], np.argwhere(labels == Label.LEFT_LUNG)[0]
    before = measure(as_map(labels))
    labels[tuple(ggo)], labels[tuple(lung)] = Label.LEFT_LUNG, Label.GGO
    assert measure(as_map(labels)).left == before.left
    write_labels(as_map(labels), folder / "scan_labels.nii.gz")
    assert report(ct, out, labels=folder).content.provenance.made == "corrected"


def test_files_from_before_there_was_a_hash_are_told_by_their_volumes(case):
    ct, folder, out = case
    path = folder / "scan.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    assert held.pop("labels_voxels_sha256") == voxels_hash(as_map(sick_blocks()))
    path.write_text(json.dumps(held), encoding="utf-8")
    assert report(ct, out, labels=folder).content.provenance.made == "automatic"
    labels = sick_blocks()
    labels[5, 20, 62] = Label.LEFT_LUNG
    write_labels(as_map(labels), folder / "scan_labels.nii.gz")
    assert report(ct, out, labels=folder).content.provenance.made == "corrected"


def test_labels_edited_before_they_were_saved_are_corrected_ones(case):
    ct, folder, out = case
    path = folder / "scan.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    assert report(ct, out, labels=folder).content.provenance.made == "automatic"
    held["provenance"]["edited"] = True
    path.write_text(json.dumps(held), encoding="utf-8")
    assert report(ct, out, labels=folder).content.provenance.made == "corrected"


def test_labels_of_another_ct_are_noticed(case):
    ct, folder, out = case
    other = as_volume(sick_blocks())
    other.hu[0, 0, 0] += 1
    write_volume(other, ct)
    warnings = report(ct, out, labels=folder).content.warnings
    assert warnings[0] == "The labels were made for another CT than the one reported on here."


def test_labels_alone_are_of_unknown_origin(case, tmp_path):
    ct, folder, out = case
    (folder / "scan.json").unlink()
    assert report(ct, out, labels=folder).content.provenance.made == "unknown"


def test_a_case_without_labels_in_the_folder(case, tmp_path):
    ct, folder, out = case
    other = write_volume(as_volume(sick_blocks()), tmp_path / "other.nii.gz")
    with pytest.raises(
        InputError, match=r"other.nii.gz: no label file of this case in predictions"
    ):
        report(other, out, labels=folder)
    write_labels(as_map(sick_blocks()), folder / "scan_seg.nii.gz")
    with pytest.raises(InputError, match="2 label files of this case"):
        report(ct, out, labels=folder)


def test_without_labels_it_segments_and_keeps_them(case, monkeypatch):
    ct, _, out = case
    labels = sick_blocks()

    sick = np.where(np.isin(labels, (Label.GGO, Label.CONSOLIDATION)), 200, 30)
    solid = np.where(labels == Label.CONSOLIDATION, 200, 30)
    likely = np.stack((sick, solid)).astype(np.uint8)

    def fake(volume, settings=None, likelihood=False):
        yield from ()
        found = as_map(labels)
        model = {"model": {"name": "fake", "version": "3"}}
        return SegmentResult(found, measure(found), ("seen",), model, likely=likely)

    monkeypatch.setattr(segmenting, "segment", fake)
    content = report(ct, out).content
    assert (content.provenance.made, content.provenance.model_name) == ("automatic", "fake")
    assert content.warnings == ("seen",)
    assert sorted(path.name for path in out.iterdir()) == [
        "scan.json",
        "scan_consolidation_probability.nii.gz",
        "scan_labels.nii.gz",
        "scan_lesion_probability.nii.gz",
        "scan_report.json",
    ]
    both = content.result.parts["both"].lesions
    # None of it is sure, and all of the lungs may be.
    assert both.percent_range == (0.0, 100.0)
    again = report(ct, out, labels=out / "scan_labels.nii.gz").content
    assert again.result.parts == content.result.parts
    (out / "scan_lesion_probability.nii.gz").unlink()
    without = report(ct, out, labels=out / "scan_labels.nii.gz").content
    assert without.result.parts["both"].lesions.percent_range is None


def test_a_ct_on_another_grid(case, tmp_path):
    _, folder, out = case
    short = write_volume(as_volume(sick_blocks()[:-1]), tmp_path / "short.nii.gz")
    content = report(short, out, labels=folder / "scan_labels.nii.gz").content
    assert "is not on the grid of the label map" in content.warnings[0]
    assert content.result.density is None
    assert content.provenance.input_sha256 == ""


def test_identifiers_only_where_asked_for(tmp_path):
    folder = tmp_path / "dicom"
    write_series(
        folder,
        along(AXIAL, 4, 5.0),
        PatientName="Müller^Änne",
        PatientID="4711-X",
        PatientBirthDate="19700131",
        StudyDate="20200301",
        SpecificCharacterSet="ISO_IR 100",
    )
    identity = dicom_identity(folder)
    assert (identity.name, identity.patient_id) == ("Müller, Änne", "4711-X")
    assert (identity.birth_date, identity.study_date) == ("1970-01-31", "2020-03-01")
    volume = read_volume(folder)
    labels = write_labels(as_map_like(volume), tmp_path / f"{volume.case}_labels.nii.gz")
    everything = ("html", "csv", "json", "txt")
    report(folder, tmp_path / "out", labels=labels, formats=everything)
    for path in (tmp_path / "out").iterdir():
        text = path.read_text(encoding="utf-8")
        for secret in ("Müller", "4711", "1970", "2020-03-01"):
            assert secret not in text, (path.name, secret)
    report(folder, tmp_path / "named", labels=labels, formats=everything, with_identifiers=True)
    assert "Müller, Änne · ID 4711-X" in (
        tmp_path / "named" / f"{volume.case}_report.html"
    ).read_text(encoding="utf-8")
    assert not [path for path in (tmp_path / "named").iterdir() if "ller" in path.name]


def as_map_like(volume):
    from napari_covseg.domain.volume import LabelMap

    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[:, 1:3, 1:3] = Label.RIGHT_LUNG
    return LabelMap.like(volume, labels)


def test_identifiers_need_dicom(case):
    ct, folder, out = case
    with pytest.raises(InputError, match="this is not DICOM"):
        report(ct, out, labels=folder, with_identifiers=True)


def test_one_row_a_case(case, tmp_path):
    ct, folder, out = case
    row = case_row(report(ct, out, labels=folder).content)
    path = write_cases([row, {"case": "bad", "error": "no CT"}], tmp_path)
    with path.open(encoding="utf-8") as file:
        good, bad = csv.DictReader(file)
    assert tuple(good) == columns()
    assert float(good["left_lesions_percent"]) == pytest.approx(1.25)
    assert (good["ct_score_25"], good["lesion_count"], good["error"]) == ("1", "1", "")
    assert (good["made"], good["second_opinion_fits"], good["model"]) == (
        "automatic",
        "yes",
        "tiny 1",
    )
    assert (bad["error"], bad["left_lesions_percent"]) == ("no CT", "")


def test_formats_that_do_not_exist_are_refused():
    with pytest.raises(UsageError, match="no report is written as docx"):
        ReportRequest(formats=("html", "docx"))
    with pytest.raises(UsageError, match="no format is given"):
        ReportRequest(formats=())
