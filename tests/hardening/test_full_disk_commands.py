"""Commands on a disk that fills up, or may only be read: one line each, code 4, no half file."""

import json
import shutil

import pytest
from label_phantom import label_map, series
from segment_command import command, listed
from small_disks import files_of, fill, mount, small_disk
from small_requests import request_maker

from napari_covseg.cli.main import main
from napari_covseg.domain.errors import ResourceError
from napari_covseg.io import read_labels, write_labels
from napari_covseg.io.dicom import read_dicom

CASES = ("a", "b", "c")


@pytest.fixture
def disk(tmp_path):
    """A folder that holds two megabytes."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def said(capsys) -> list[str]:
    """What stood on standard error, and that no line of it was a program's."""
    lines = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in one or one.startswith("  File") for one in lines)
    return lines


def whole(out, cases) -> None:
    """Both files of these cases, readable, and nothing else."""
    expected = [f"{case}{ending}" for case in cases for ending in (".json", "_labels.nii.gz")]
    assert listed(out) == sorted(expected)
    assert not list(out.rglob("*.tmp"))
    for case in cases:
        assert json.loads((out / f"{case}.json").read_text())["case"] == case
        read_labels(out / f"{case}_labels.nii.gz")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_segment(disk, tmp_path, capsys, monkeypatch, jobs):
    from napari_covseg.workflows import segment_many

    make, out = request_maker(tmp_path), disk / "out"
    for case in CASES:
        make(case)
    arguments = command(tmp_path / "in", tmp_path / "model", out, "--jobs", jobs)

    # Full from the start: every case is told, none leaves anything.
    filler = fill(disk, 0)
    assert main(arguments) == ResourceError.exit_code == 4
    lines = said(capsys)
    assert sum(one.startswith("covseg: ") for one in lines) >= 1
    assert any("full" in one or "No space" in one for one in lines)
    assert not out.exists() or listed(out) == []
    filler.unlink()

    # It fills up in the middle; what was there already stays, what comes then is told.
    real = segment_many.write_result

    def filling(result, output, case):
        if case == "b":
            fill(disk, 4096)
        return real(result, output, case)

    monkeypatch.setattr(segment_many, "write_result", filling)
    assert main(arguments) == 4
    lines = said(capsys)
    assert any(one.startswith("3 inputs: ") for one in lines)
    done = [case for case in CASES if f"{case}.json" in listed(out)]
    assert "b" not in done
    assert jobs == "2" or "a" in done
    whole(out, done)
    monkeypatch.undo()
    (disk / "filler").unlink()

    assert main([*arguments, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert {one["case"]: one["done_before"] for one in results} == {
        case: case in done for case in CASES
    }
    whole(out, CASES)

    # A table that finds no room, and a disk that may only be read.
    before = files_of(disk)
    fill(disk, 0)
    assert main([*arguments, "--table", str(disk / "cases.csv")]) == 4
    assert "cases.csv" in said(capsys)[-1]
    (disk / "filler").unlink()
    assert mount("mount", "-o", "remount,ro", str(disk))
    for more in ([], ["--again"]):
        assert main([*arguments, *more]) == 4
        assert any("cannot be written to" in one for one in said(capsys))
    assert files_of(disk) == before


def outputs(disk, tmp_path):
    """Commands that write from labels, with the names that they write."""
    ct, centre = series(tmp_path / "ct")
    scan = read_dicom(ct)
    labels = write_labels(label_map(scan.geometry, centre, scan.case), tmp_path / "l.nii.gz")
    report = ["report", str(ct), "--labels", str(labels), "--output", str(disk / "reports")]
    yield [*report, "--format", "html,json,csv"]
    yield [*report, "--format", "pdf"]
    for kind, name in (("dicom-seg", "s.dcm"), ("dicom-sr", "r.dcm"), ("nifti", "n.nii.gz")):
        export = ["export", str(labels), "--source", str(ct), "--format", kind]
        yield [*export, "--output", str(disk / name)]


def test_report_and_export(disk, tmp_path, capsys):
    for arguments in outputs(disk, tmp_path):
        for leave in (0, 8192) if arguments[0] == "report" else (0,):
            filler = fill(disk, leave)
            code = main(arguments)
            lines = said(capsys)
            if code == 4:
                # Of the report, and of the table of all cases where that has no room either.
                assert 1 <= len(lines) <= 2
                assert all(one.startswith("covseg: ") for one in lines)
                assert set(files_of(disk)) <= {"reports/cases.csv"}, arguments
            else:  # It was small enough.
                assert (code, leave) == (0, 8192)
            filler.unlink()
            shutil.rmtree(disk / "reports", ignore_errors=True)
            for path in disk.glob("*.*"):
                path.unlink()
        assert main(arguments) == 0, said(capsys)
        capsys.readouterr()
        before = files_of(disk)
        assert before
        assert mount("mount", "-o", "remount,ro", str(disk))
        assert main(arguments) == 4
        assert 1 <= len(said(capsys)) <= 2
        assert files_of(disk) == before
        assert mount("mount", "-o", "remount,rw", str(disk))
        shutil.rmtree(disk / "reports", ignore_errors=True)
        for path in disk.glob("*.*"):
            path.unlink()
