import argparse
import csv
import json
from pathlib import Path

import pytest
from block_lungs import as_map, as_volume
from report_cases import sick_blocks

from napari_covseg.cli.lobes import add_lobes, lobes_from
from napari_covseg.cli.main import main
from napari_covseg.cli.report import FORMATS
from napari_covseg.domain.lobes import Lobe
from napari_covseg.io import write_labels, write_volume
from napari_covseg.workflows.lobe_choice import LobeChoice
from napari_covseg.workflows.report_request import ReportRequest


@pytest.fixture
def cases(tmp_path):
    """Two CTs in a folder, and labels for the first alone."""
    scans, labels = tmp_path / "scans", tmp_path / "labels"
    scans.mkdir()
    labels.mkdir()
    for name in ("first", "second"):
        write_volume(as_volume(sick_blocks()), scans / f"{name}.nii.gz")
    write_labels(as_map(sick_blocks()), labels / "first_labels.nii.gz")
    return scans, labels, tmp_path / "out"


def command(scans, labels, out, *more):
    return ["report", str(scans), "--labels", str(labels), "--output", str(out), *more]


def test_one_case_with_what_the_reader_says(cases, tmp_path, capsys):
    scans, labels, out = cases
    note = tmp_path / "impression.txt"
    note.write_text("Übliche Pneumonie.\n", encoding="utf-8")
    options = ["--format", "json,txt", "--impression", f"@{note}", "--findings", "Seen."]
    options += ["--co-rads", "3", "--reader", "A. Roe", "--score", "ct25=0+0+1+0+2"]
    scan = scans / "first.nii.gz"
    assert main(command(scan, labels, out, *options, "--score", "ctss=4", "--json")) == 0
    (entry,) = json.loads(capsys.readouterr().out)["results"]
    assert entry["paths"] == [str(out / "first_report.json"), str(out / "first_report.txt")]
    reading = json.loads((out / "first_report.json").read_text(encoding="utf-8"))["reading"]
    assert reading == entry["reading"]
    assert (reading["impression"], reading["findings"]) == ("Übliche Pneumonie.", "Seen.")
    assert (reading["co_rads"], reading["reader"]) == (3, "A. Roe")
    assert reading["signed"].endswith("+00:00")
    assert reading["scores"]["ct_score_25"]["value"] == 3
    assert reading["scores"]["ct_score_25"]["parts"]["left_lower"] == 2
    assert reading["scores"]["ct_severity_score"] == {"value": 4, "parts": {}}
    assert "Übliche Pneumonie." in (out / "first_report.txt").read_text(encoding="utf-8")


def test_a_failing_case_does_not_stop_the_rest(cases, capsys):
    scans, labels, out = cases
    (scans / "broken.nii.gz").write_bytes(b"no CT")
    assert main(command(scans, labels, out, "--format", "csv")) == 3
    found = capsys.readouterr()
    assert "first.nii.gz: " in found.out
    assert "lesions 0.5 %" in found.out
    assert len([line for line in found.err.splitlines() if line.startswith("covseg: ")]) == 2
    with (out / "cases.csv").open(encoding="utf-8") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert float(rows["first"]["left_lesions_ml"]) == pytest.approx(6.0)
    assert "no label file of this case" in rows["second"]["error"]
    assert rows["broken"]["error"]
    assert sorted(path.name for path in out.iterdir()) == ["cases.csv", "first_report.csv"]


def test_without_csv_there_is_none(cases):
    scans, labels, out = cases
    assert main(command(scans / "first.nii.gz", labels, out, "--format", "txt")) == 0
    assert [path.name for path in out.iterdir()] == ["first_report.txt"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--impression", "x"], "--impression is of one case"),
        (["--score", "ct25=3"], "--score is of one case"),
        (["--format", "docx"], "no report is written as docx"),
        (["--co-rads", "9"], "expected 0 to 6"),
        (["--score", "ct25=x"], "expected NAME=N"),
        (["--score", "best=1"], "no score is called best"),
        (["--lobe-map", "nonsense=1"], "is no lobe"),
    ],
)
def test_wrong_usage(cases, capsys, options, why):
    scans, labels, out = cases
    assert main(command(scans, labels, out, *options)) == 2
    error = capsys.readouterr().err
    assert why in error
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_one_label_file_is_of_one_case(cases, capsys):
    scans, labels, out = cases
    assert main(command(scans, labels / "first_labels.nii.gz", out)) == 2
    assert "name a folder" in capsys.readouterr().err


def test_a_text_file_that_is_not_there(cases, capsys):
    scans, labels, out = cases
    assert main(command(scans / "first.nii.gz", labels, out, "--findings", "@nowhere.txt")) == 3
    assert "nowhere.txt" in capsys.readouterr().err


def test_all_formats_are_the_default():
    assert ReportRequest().formats == FORMATS


def test_lungmask_without_its_weights_is_said_before_anything_is_read(cases, tmp_path, capsys):
    pytest.importorskip("lungmask")
    scans, labels, out = cases
    options = ("--lobes", "lungmask", "--lobe-weights", str(tmp_path))
    assert main(command(scans, labels, out, *options)) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "unet_ltrclobes-3a07043d.pth" in line
    assert not out.exists()


def test_a_lobe_map_is_of_one_case(cases, capsys):
    scans, labels, out = cases
    assert main(command(scans, labels, out, "--lobes", "lobes.nii.gz")) == 2
    assert "--lobes is of one case, but there are 2 inputs" in capsys.readouterr().err


def test_lobes_are_a_file_a_network_or_approximated():
    def chosen(*options):
        parser = argparse.ArgumentParser()
        add_lobes(parser, "the")
        return lobes_from(parser.parse_args(options))

    assert chosen() == chosen("--lobes", "approximate") == LobeChoice()
    found = chosen("--lobes", "./lungmask", "--lobe-map", "LUL=1,LLL=2")
    assert found == LobeChoice(Path("lungmask"), {1: Lobe.LEFT_UPPER, 2: Lobe.LEFT_LOWER})
