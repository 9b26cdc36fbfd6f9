"""``covseg segment`` over many inputs: going on, failures, the table."""

import csv
import gzip
import json
import os
import shutil
import sys

import pytest
from segment_command import command, listed

from napari_covseg.cli import segment_run
from napari_covseg.cli.main import main
from napari_covseg.domain.errors import ResourceError
from napari_covseg.workflows import segment_many
from napari_covseg.workflows.segment_done import FOLDER


@pytest.fixture
def scans(scan, tmp_path):
    """A tree with three CTs and a damaged one."""
    for name in ("a/one.nii.gz", "b/two.nii.gz", "c/deep/three.nii.gz"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        shutil.copy(scan, tmp_path / "in" / name)
    (tmp_path / "in" / "b" / "bad.nii.gz").write_bytes(b"")
    return tmp_path / "in"


@pytest.fixture
def segmented(monkeypatch):
    """Which CTs went through the network, as the reader named them."""
    seen = []
    real = segment_many.segment

    def noted(volume, *args):
        seen.append(volume.case)
        return real(volume, *args)

    monkeypatch.setattr(segment_many, "segment", noted)
    return seen


def run(capsys, *arguments):
    code = main(command(*arguments, "--json"))
    printed = json.loads(capsys.readouterr().out)
    return code, {one["case"]: one["done_before"] for one in printed["results"]}


def test_what_is_done_is_not_done_again(scans, model_folder, tmp_path, capsys, segmented):
    out = tmp_path / "out"
    assert run(capsys, scans, model_folder, out) == (
        3,
        {"one": False, "two": False, "three": False},
    )
    assert sorted(segmented) == ["one", "three", "two"]
    times = {name: (out / name).stat().st_mtime_ns for name in listed(out)}
    segmented.clear()

    assert run(capsys, scans, model_folder, out)[1] == {"one": True, "two": True, "three": True}
    assert segmented == []
    assert {name: (out / name).stat().st_mtime_ns for name in listed(out)} == times

    # The same voxels, packed anew: told by reading, not by segmenting.
    two = scans / "b" / "two.nii.gz"
    two.write_bytes(gzip.compress(gzip.decompress(two.read_bytes()), 2))
    assert run(capsys, scans, model_folder, out)[1]["two"] is True
    assert segmented == []

    # Another CT under the same name.
    content = bytearray(gzip.decompress(two.read_bytes()))
    content[-2000] ^= 1
    two.write_bytes(gzip.compress(bytes(content), 1))
    before = (out / "two.json").read_bytes()
    assert run(capsys, scans, model_folder, out)[1] == {"one": True, "two": False, "three": True}
    assert segmented == ["two"]
    assert (out / "two.json").read_bytes() != before


def test_half_a_result_or_a_damaged_one_is_made_anew(
    scan, model_folder, tmp_path, capsys, segmented
):
    run(capsys, scan, model_folder, tmp_path)
    labels = tmp_path / "scan_labels.nii.gz"
    whole, record = labels.read_bytes(), next((tmp_path / FOLDER).glob("*.json"))
    for spoil in (
        labels.unlink,
        lambda: labels.write_bytes(whole[:-20]),
        (tmp_path / "scan.json").unlink,
        record.unlink,
        lambda: record.write_text(record.read_text()[:-9]),
        lambda: record.write_text("[]"),
    ):
        segmented.clear()
        spoil()
        assert run(capsys, scan, model_folder, tmp_path) == (0, {"scan": False})
        assert segmented == ["scan"]
        assert labels.read_bytes() == whole
    assert run(capsys, scan, model_folder, tmp_path) == (0, {"scan": True})


@pytest.mark.parametrize("more", [["--flips", "left-right"], ["--ranges"], ["--again"]])
def test_other_settings_are_another_result(scan, model_folder, tmp_path, capsys, segmented, more):
    run(capsys, scan, model_folder, tmp_path)
    assert main(command(scan, model_folder, tmp_path, *more)) == 0
    assert segmented == ["scan", "scan"]


def test_another_model_of_the_same_name_is_another_result(
    scan, model_folder, tmp_path, capsys, segmented
):
    model = shutil.copytree(model_folder, tmp_path / "model")
    run(capsys, scan, model, tmp_path / "out")
    card = json.loads((model / "tiny.json").read_text())
    card["recipe"]["window_hu"] = [-1000, 100]
    (model / "tiny.json").write_text(json.dumps(card))
    assert run(capsys, scan, model, tmp_path / "out") == (0, {"scan": False})
    assert segmented == ["scan", "scan"]


def test_a_result_may_be_moved_with_its_inputs(scans, model_folder, tmp_path, capsys, segmented):
    run(capsys, scans, model_folder, scans / "out", "--uncertainty")
    os.rename(scans, tmp_path / "moved")
    segmented.clear()
    moved = tmp_path / "moved"
    found = run(capsys, moved, model_folder, moved / "out", "--uncertainty")[1]
    assert found == {"one": True, "two": True, "three": True}  # nothing that was written
    assert segmented == []


def test_another_input_of_that_name_is_not_taken_for_done(
    scans, model_folder, tmp_path, capsys, segmented
):
    """Names go by order: a CT that comes before takes the name, and nothing is mixed up."""
    out = tmp_path / "out"
    run(capsys, scans / "b", model_folder, out)
    (scans / "a" / "two.nii.gz").write_bytes((scans / "a" / "one.nii.gz").read_bytes())
    found = run(capsys, scans, model_folder, out)[1]
    assert found == {"one": False, "two": False, "two_2": False, "three": False}
    assert run(capsys, scans, model_folder, out)[1] == dict.fromkeys(found, True)


def test_records_hold_no_names_of_folders(scans, model_folder, tmp_path, capsys):
    patient = scans.rename(tmp_path / "Doe_Jane")
    run(capsys, patient, model_folder, tmp_path / "out")
    kept = list((tmp_path / "out" / FOLDER).iterdir())
    assert len(kept) == 3
    assert all("Doe" not in one.read_text() + one.name for one in kept)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_failures_are_told_at_the_end(scans, model_folder, tmp_path, capsys, jobs):
    assert main(command(scans, model_folder, tmp_path / "out", "--jobs", jobs)) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2] == "4 inputs: 3 segmented, 0 done before, 1 failed"
    assert lines[-1] == "  bad.nii.gz  the file is empty (0 bytes)"
    assert len(listed(tmp_path / "out")) == 6


def test_only_so_many_cts_are_under_way(scans, model_folder, tmp_path, monkeypatch):
    """With one job one CT is in the network, and one more is read or written beside it."""
    under_way, most = set(), 0
    real = segment_run.run_one

    def counted(request, *args):
        nonlocal most
        under_way.add(request.path)
        most = max(most, len(under_way))
        try:
            return real(request, *args)
        finally:
            under_way.discard(request.path)

    monkeypatch.setattr(segment_run, "run_one", counted)
    assert main(command(scans, model_folder, tmp_path / "out")) == 3
    assert most == 2


def test_a_table_of_all_cases(scans, model_folder, tmp_path, capsys):
    patient = scans.rename(tmp_path / "Doe_Jane")
    table = tmp_path / "cases.csv"
    arguments = command(patient, model_folder, tmp_path / "out", "--table", str(table))
    assert main(arguments) == 3
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [(row["case"], row["status"], row["exit_code"]) for row in rows] == [
        ("one", "segmented", "0"),
        ("bad", "failed", "3"),
        ("two", "segmented", "0"),
        ("three", "segmented", "0"),
    ]
    report = json.loads((tmp_path / "out" / "two.json").read_text())
    for side in ("both", "left", "right"):
        for figure, value in report["measurements"][side].items():
            told = rows[2][f"{side}_{figure}"]
            assert told == "" if value is None else float(told) == value
    assert rows[2]["model_sha256"] == report["provenance"]["model"]["sha256"]
    assert (rows[2]["slices"], rows[2]["spacing_z_mm"]) == ("12", "20.0")
    assert rows[1]["both_lung_ml"] == ""
    assert "Doe" not in table.read_text()
    assert main(arguments) == 3
    again = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["status"] for row in again].count("done before") == 3
    assert [row["both_lung_ml"] for row in again] == [row["both_lung_ml"] for row in rows]


def test_a_table_in_parquet(scan, model_folder, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = tmp_path / "cases.parquet"
    assert main(command(scan, model_folder, tmp_path / "out", "--table", str(table))) == 0
    (row,) = parquet.read_table(table).to_pylist()
    report = json.loads((tmp_path / "out" / "scan.json").read_text())
    assert row["both_lung_ml"] == report["measurements"]["both"]["lung_ml"]
    assert (row["case"], row["slices"], row["exit_code"]) == ("scan", 12, 0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cases.xlsx", "expected a name in .csv or .parquet"),
        ("cases.parquet", "[parquet]"),
        ("missing/cases.csv", "its folder does not exist"),
    ],
)
def test_a_table_that_cannot_be_written_is_told_first(
    scan, model_folder, tmp_path, capsys, monkeypatch, name, words
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = tmp_path / "out"
    assert main(command(scan, model_folder, out, "--table", str(tmp_path / name))) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_a_full_disk_stops_one_case_and_not_the_others(
    scans, model_folder, tmp_path, capsys, monkeypatch
):
    real = segment_many.write_result

    def full(result, output, case):
        if case == "two":
            raise ResourceError("two.json: the disk is full; nothing was written")
        return real(result, output, case)

    monkeypatch.setattr(segment_many, "write_result", full)
    assert main(command(scans, model_folder, tmp_path / "out")) == 4
    assert listed(tmp_path / "out") == [
        *("one.json", "one_labels.nii.gz", "three.json", "three_labels.nii.gz"),
    ]
    assert "2 failed" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(capsys, scans, model_folder, tmp_path / "out")[1] == {
        "one": True,
        "two": False,
        "three": True,
    }


@pytest.mark.slow
def test_a_cluster_gives_what_threads_give(scans, model_folder, tmp_path, capsys, monkeypatch):
    """In the order of the inputs; and each finds done what the other did."""
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)  # paths that only this process could resolve
    assert main(command("in", model_folder, "out", "--scheduler", "local", "--json")) == 3
    printed = json.loads(capsys.readouterr().out)
    assert [one["case"] for one in printed["results"]] == ["one", "two", "three"]
    (error,) = printed["errors"]
    assert error["error"] == "bad.nii.gz: the file is empty (0 bytes)"
    assert os.listdir(tmp_path / "out" / FOLDER)  # records, and no folder of the run
    assert not list((tmp_path / "out" / FOLDER).glob("run-*"))
    assert run(capsys, scans, model_folder, tmp_path / "out")[1] == dict.fromkeys(
        ("one", "two", "three"), True
    )
    run(capsys, scans, model_folder, tmp_path / "threads")
    for name in ("one", "two", "three"):
        theirs, ours = (
            (tmp_path / folder / f"{name}_labels.nii.gz").read_bytes()
            for folder in ("out", "threads")
        )
        assert theirs == ours


def test_dask_is_named_where_it_is_missing(scan, model_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    arguments = command(scan, model_folder, tmp_path / "out", "--scheduler", "local")
    assert main(arguments) == 2
    assert "[cluster]" in capsys.readouterr().err


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_one_line(scan, model_folder, tmp_path, capsys):
    pytest.importorskip("distributed")
    arguments = command(scan, model_folder, tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9")
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "no Dask scheduler answers there" in err
