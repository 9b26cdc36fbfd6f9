"""What a classifier says, in a report: of the right CT, told with its doubt, or refused."""

import base64
import csv
import io
import json
import re

import numpy as np
import pytest
from block_lungs import as_map, as_volume
from PIL import Image
from pypdf import PdfReader
from report_cases import content_of, sick_blocks

from napari_covseg.cli.main import main
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io import read_volume, write_labels, write_volume
from napari_covseg.reports.classification import ClassifierAnswer, doubt_words, measured_words
from napari_covseg.reports.document_html import document_html
from napari_covseg.reports.document_pdf import document_pdf
from napari_covseg.reports.findings_content import FindingsContent
from napari_covseg.reports.findings_document import findings_document
from napari_covseg.reports.findings_text import findings_text
from napari_covseg.workflows.classify import Classification, SliceAnswer
from napari_covseg.workflows.report import report_file
from napari_covseg.workflows.report_cases import case_row, columns
from napari_covseg.workflows.report_classification import answer_of, read_answer
from napari_covseg.workflows.report_request import ReportRequest

NASTY = "<script>ill</script>"
CARD = {
    "training": {"classifier": "knn"},
    "figures": [
        {"classifier": "svm", "pictures": 9, "of_ensemble": {"auc": 0.1}},
        {"classifier": "knn", "pictures": 5, "of_ensemble": {"auc": 0.81, "accuracy": 0.75}},
    ],
}


def said(unsure=True, heat=True, classes=(NASTY, "well")):
    """0.55 to 0.45 on slices 2 and 3 of a CT; heat in the first corner of slice 3."""
    hot = np.zeros((96, 96), np.float32)
    hot[0, 0] = 1
    slices = tuple(SliceAnswer(z, (0.55, 0.45), 0.688) for z in (2, 3))
    model = {"name": "eye", "version": "1", "sha256": "cd" * 32, "licence": ""}
    told = (classes, (0.55, 0.45), (0.05, 0.05), 0.688, 0.64, unsure, (), 3)
    pictures = (hot if heat else None, np.zeros_like(hot))
    return Classification(*told, *pictures, slices, ("one warning",), {"model": model})


@pytest.fixture
def case(tmp_path):
    """A CT, its labels, and a folder with what ``covseg classify`` wrote of it."""
    labels = sick_blocks()
    ct = write_volume(as_volume(labels), tmp_path / "scan.nii.gz")
    write_labels(as_map(labels), tmp_path / "labels" / "scan_labels.nii.gz")
    folder = tmp_path / "classified"
    folder.mkdir()
    result = said()
    Image.new("RGB", (8, 6), (200, 0, 0)).save(folder / "scan_gradcam.png")
    write(folder, {"case": "scan", **result.to_dict(), "heat_map_file": "scan_gradcam.png"})
    return ct, tmp_path / "labels", folder


@pytest.fixture(autouse=True)
def _labels_folder(tmp_path):
    (tmp_path / "labels").mkdir()


def write(folder, content):
    (folder / "scan.json").write_text(json.dumps(content), encoding="utf-8")


def with_answer(answer) -> FindingsContent:
    from dataclasses import replace

    return replace(content_of(), classification=answer)


def section(content):
    """The HTML between the section's heading and the next one."""
    html = document_html(findings_document(content, {}))
    return re.search(r"<h2>What a classifier says</h2>(.*?)<h2>", html, re.DOTALL)[1]


def test_a_run_is_told_with_its_doubt_card_and_heat_map():
    answer = answer_of(said(), CARD)
    assert (answer.label, answer.probability, answer.slices, answer.shown) == (NASTY, 0.55, 2, 3)
    html = section(with_answer(answer))
    assert "<script" not in html
    assert "&lt;script&gt;ill&lt;/script&gt;" in html
    assert "<td>55 %</td>" in html.replace(' class="text"', "")
    assert "Research, not a diagnosis" in html
    assert "Unsure: ask a second reader" in html
    assert "above the limit of this model (92 %)" in html
    assert "eye 1" in html
    assert "On 5 pictures held out: AUC 0.81, accuracy 0.75." in html
    assert "Mean over 2 axial slices" in html
    assert "axial slice 4" in html
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert pixels.shape == (96, 96, 3)
    assert pixels[0, 0].sum() > 300 > pixels[5, 5].sum() + 299


def test_the_pdf_and_the_text_say_the_same():
    content = with_answer(answer_of(said(classes=("ill", "well")), CARD))
    pdf = PdfReader(io.BytesIO(document_pdf(findings_document(content, {}))))
    words = " ".join(" ".join(page.extract_text() for page in pdf.pages).split())
    assert "What a classifier says Research, not a diagnosis" in words
    assert "Unsure: ask a second reader" in words
    assert "ill 55 % ± 5 %" in words
    assert sum(len(page.images) for page in pdf.pages) == 1
    text = " ".join(findings_text(content).split())
    assert "eye 1: ill 55 %, well 45 %. Unsure: ask a second reader." in text


def test_one_that_is_sure_is_not_called_unsure():
    content = with_answer(answer_of(said(unsure=False, heat=False), CARD))
    html = section(content)
    assert "Unsure" not in html
    assert "one warning" in html
    assert "<img" not in html
    assert "Unsure" not in findings_text(content)


def test_nothing_is_said_unless_it_is_asked_for():
    content = content_of()
    assert "classifier" not in document_html(findings_document(content, {})).lower()
    assert "classification" not in content.to_json()
    assert "classified_as" not in case_row(content)
    assert "CLASSIFIER" not in findings_text(content)


def test_files_of_covseg_classify_come_into_every_format(case, tmp_path):
    ct, labels, folder = case
    request = ReportRequest(formats=("csv", "json"), labels=labels, classification=folder)
    done = run_to_end(report_file(ct, tmp_path / "out", request))
    found = json.loads((tmp_path / "out" / "scan_report.json").read_text(encoding="utf-8"))
    assert found["classification"]["probabilities"] == {NASTY: 0.55, "well": 0.45}
    assert found["classification"]["unsure"] is True
    assert found["classification"]["model"] == "eye 1"
    with (tmp_path / "out" / "scan_report.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] == "classifier"]
    values = {(row["figure"], row["name"]): row["value"] for row in rows}
    assert values["probability", NASTY] == "0.55"
    assert values["spread", "well"] == "0.05"
    assert values["unsure", ""] == "yes"
    row = case_row(done.content)
    told = [row[name] for name in columns() if name.startswith("classifie")]
    assert told == [NASTY, 0.55, "yes", "eye 1"]
    answer = done.content.classification
    assert Image.open(io.BytesIO(answer.heat)).size == (8, 6)
    assert answer.measured == "", "the card of one's own classifier is not at hand"


def test_a_shipped_classifier_is_told_with_its_card(case):
    from napari_covseg.models.image_classifier import FOLDER

    card = json.loads(next(FOLDER.glob("*.json")).read_text(encoding="utf-8"))
    content = {"case": "scan", **said().to_dict()}
    content["provenance"]["model"]["sha256"] = card["sha256"]
    write(case[2], content)
    answer = read_answer(case[2], "scan", read_volume(case[0]))
    assert answer.measured == measured_words(card)
    assert "AUC" in answer.measured
    assert answer.heat == b""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"case": "somebody"}, "of another case than scan"),
        ({"slices": [{"index": 500}]}, "not of this CT"),
        ({"slices": []}, "not of this CT"),
        ({"probabilities": {"ill": 0.2, "well": 0.2}}, "not what covseg classify says"),
        ({"probabilities": {"ill": "much"}}, "not what covseg classify says"),
        ({"probabilities": []}, "not what covseg classify says"),
        ({"spread": {}}, "not what covseg classify says"),
        ({"entropy": None}, "not what covseg classify says"),
    ],
)
def test_what_is_not_of_this_ct_is_refused(case, change, why):
    ct, _, folder = case
    content = {"case": "scan", **said(classes=("ill", "well")).to_dict()}
    write(folder, content)
    assert read_answer(folder, "scan", read_volume(ct)).label == "ill"
    write(folder, content | change)
    with pytest.raises(InputError, match=why):
        read_answer(folder / "scan.json", "scan", read_volume(ct))


def test_no_json_and_no_file_are_one_line(case, capsys, tmp_path):
    ct, labels, folder = case
    command = ["report", str(ct), "--labels", str(labels), "--output", str(tmp_path / "out")]
    (folder / "scan.json").write_text("[" * 100_000, encoding="utf-8")
    assert main([*command, "--classification", str(folder)]) == 3
    assert "not a result of covseg classify" in capsys.readouterr().err
    (folder / "scan.json").unlink()
    assert main([*command, "--classification", str(folder)]) == 3
    assert "no scan.json of covseg classify in this folder" in capsys.readouterr().err
    write_volume(as_volume(sick_blocks()), tmp_path / "other.nii.gz")
    command.insert(2, str(tmp_path / "other.nii.gz"))
    file = tmp_path / "one.json"
    file.write_text("{}", encoding="utf-8")
    assert main([*command, "--classification", str(file)]) == 2
    assert "--classification is one file" in capsys.readouterr().err


def test_doubt_is_measured_by_the_limit_of_the_model():
    assert doubt_words(0.3466, 0.6931, 2) == (
        "Doubt 50 % of the most possible, under the limit of this model (100 %)."
    )
    assert "just under" in doubt_words(0.6, 0.64, 2)
    assert "no limit was set" in doubt_words(0.6, None, 2)
    assert "no limit was set" in doubt_words(0.6, float("inf"), 2)


def test_figures_of_a_card_are_those_of_its_own_classifier():
    assert measured_words(CARD) == "On 5 pictures held out: AUC 0.81, accuracy 0.75."
    assert measured_words({}) == ""
    assert ClassifierAnswer(("a", "b"), (0.2, 0.8), (0, 0), 0.5, None, False).label == "b"
