import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from segment_command import command, listed

from napari_covseg.cli import segment_run
from napari_covseg.cli.jobs import CaseNames
from napari_covseg.cli.main import main
from napari_covseg.io import read_labels, read_volume


def test_files_and_json_of_one_input(scan, model_folder, tmp_path, capsys):
    assert main(command(scan, model_folder, tmp_path, "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["errors"] == []
    (result,) = printed["results"]
    assert result["case"] == "scan"
    assert result["provenance"]["model"]["name"] == "tiny"
    assert result["provenance"]["settings"]["model"] == "tiny"  # not the folder's path
    assert result["labels_path"] == str(tmp_path / "scan_labels.nii.gz")
    assert listed(tmp_path) == ["scan.json", "scan_labels.nii.gz"]
    on_disk = json.loads((tmp_path / "scan.json").read_text())
    assert on_disk == {key: result[key] for key in on_disk}
    labels = read_labels(tmp_path / "scan_labels.nii.gz")
    assert labels.geometry.same_as(read_volume(scan).geometry)
    lung = int((labels.labels > 0).sum()) * labels.geometry.voxel_ml
    assert result["measurements"]["both"]["lung_ml"] == pytest.approx(lung)


def test_table_of_one_input(scan, model_folder, tmp_path, capsys):
    assert main(command(scan, model_folder, tmp_path)) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{scan.name}: {tmp_path / 'scan_labels.nii.gz'}, {tmp_path / 'scan.json'}"
    assert [line.split()[0] for line in out[2:5]] == ["Right", "Left", "Both"]


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_several_inputs_each_get_a_result_or_an_error(scan, model_folder, tmp_path, capsys, jobs):
    """The worst exit code wins, and same names do not overwrite each other."""
    (tmp_path / "in").mkdir()
    other = shutil.copy(scan, tmp_path / "in" / "scan.nii.gz")
    bad = tmp_path / "in2" / "bad.nii.gz"
    bad.parent.mkdir()
    bad.write_bytes(b"")
    out = tmp_path / "out"
    arguments = command(scan, model_folder, out, "--json", "--jobs", jobs)
    arguments[2:2] = [str(bad), str(other), "/nowhere/at/all.nrrd"]
    assert main(arguments) == 3
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert [result["case"] for result in printed["results"]] == ["scan", "scan_2"]
    assert [error["exit_code"] for error in printed["errors"]] == [3, 3]
    assert listed(out) == [
        "scan.json",
        "scan_2.json",
        "scan_2_labels.nii.gz",
        "scan_labels.nii.gz",
    ]
    lines = sorted(captured.err.splitlines())  # told as they happen
    assert len(lines) == 2
    assert lines[0].startswith("covseg: all.nrrd: ")
    assert lines[1].startswith("covseg: bad.nii.gz: ")


def test_the_same_input_twice_is_done_once(scan, model_folder, tmp_path, capsys):
    arguments = command(scan, model_folder, tmp_path, "--json")
    arguments.insert(1, str(scan))
    assert main(arguments) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 1


def test_folder_of_files(scan, model_folder, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("b.nii.gz", "a.nii.gz"):
        shutil.copy(scan, folder / name)
    assert main(command(folder, model_folder, tmp_path / "out", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [result["case"] for result in printed["results"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (["--device", "tpu"], 2, "unknown device"),
        (["--device", "cuda:99"], 2, "covseg: "),
        (["--model", "/nowhere"], 5, "no such model"),
        (["--window", "100", "-100"], 2, "LOW must be below HIGH"),
    ],
)
def test_wrong_settings_are_one_line_and_write_nothing(
    scan, model_folder, tmp_path, capsys, change, code, words
):
    assert main(command(scan, model_folder, tmp_path / "out", *change)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["segment"],
        ["segment", "x.nii"],
        ["segment", "x.nii", "--output", "o", "--jobs", "0"],
        ["segment", "x.nii", "--output", "o", "--flips", "sideways"],
        ["nonsense"],
        [],
    ],
)
def test_wrong_usage_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_exits_with_130_and_leaves_nothing(
    scan, model_folder, tmp_path, capsys, monkeypatch, jobs
):
    other = shutil.copy(scan, tmp_path / "b.nii.gz")

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(segment_run, "run_one", interrupted)
    arguments = command(scan, model_folder, tmp_path / "out", "--jobs", jobs)
    arguments.insert(1, str(other))
    assert main(arguments) == 130
    assert capsys.readouterr().err == "covseg: cancelled\n"
    assert not (tmp_path / "out").exists()


def test_memory_and_disk_exit_with_four(scan, model_folder, tmp_path, capsys, monkeypatch):
    for error in (MemoryError(), OSError(28, "No space left on device")):

        def fail(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(segment_run, "run_one", fail)
        assert main(command(scan, model_folder, tmp_path)) == 4
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_unexpected_errors_quote_nothing_that_was_read(
    scan, model_folder, tmp_path, capsys, monkeypatch
):
    def fail(*args, **kwargs):
        raise ValueError("Doe^Jane 1970-01-01")

    monkeypatch.setattr(segment_run, "run_one", fail)
    assert main(command(scan, model_folder, tmp_path)) == 1
    err = capsys.readouterr().err
    assert "unexpected ValueError" in err
    assert "Doe" not in err


@pytest.mark.slow
def test_as_a_program(scan, model_folder, tmp_path):
    """Standard output holds JSON and nothing else, in a fresh process."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "napari_covseg.cli.main",
            *command(scan, model_folder, tmp_path, "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)["results"][0]
    labels = read_labels(report["labels_path"]).labels
    assert np.isin(labels, range(5)).all()


def test_copies_of_a_series_do_not_overwrite_each_other():
    """DICOM series get their case name when they are read; two copies share it."""
    names = CaseNames()
    assert [names.claim(name) for name in ("ct-1", "ct-2", "ct-1", "CT-1")] == [
        "ct-1",
        "ct-2",
        "ct-1_2",
        "CT-1_3",
    ]


@pytest.mark.real_data
@pytest.mark.slow
def test_dicom_folders(data_dir, model_folder, tmp_path, capsys):
    source = data_dir / "dicom_edge" / "chest_2sl_lungmask"
    copy = shutil.copytree(source, tmp_path / "copy")
    arguments = command(source, model_folder, tmp_path / "out", "--json")
    arguments.insert(2, str(copy))
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    # The same series twice: the first of the two has the name without a number.
    first, second = (result["case"] for result in printed["results"])
    assert second == f"{first}_2"
    assert len(listed(tmp_path / "out")) == 4
    assert printed["results"][0]["provenance"]["input"]["format"] == "DICOM"


@pytest.mark.slow
def test_interrupting_the_program_leaves_nothing(scan, model_folder, tmp_path):
    """A real SIGINT, sent when the work has begun."""
    code = (
        "import os, signal\n"
        # A shell's background job starts with the signal ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from napari_covseg.inference import axial\n"
        "from napari_covseg.cli.main import main\n"
        "real = axial.to_native\n"
        "def slow(*args):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(*args)\n"
        "axial.to_native = slow\n"
        f"raise SystemExit(main({command(scan, model_folder, tmp_path / 'out')!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "covseg: cancelled\n"
    assert os.listdir(tmp_path / "out") == []


def test_ranges_are_told_and_what_they_rest_on_is_kept(scan, model_folder, tmp_path, capsys):
    assert main(command(scan, model_folder, tmp_path, "--ranges", "--json")) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    names = result["probability_files"]
    assert names["lesion"] == "scan_lesion_probability.nii.gz"
    assert {*names.values(), "scan.json", "scan_labels.nii.gz"} == set(listed(tmp_path))
    for side, ranges in result["likely_ranges"].items():
        for figure, (low, high) in ranges.items():
            assert 0 <= low <= result["measurements"][side][figure] + 1e-9
            assert result["measurements"][side][figure] <= high + 1e-9 <= 100 + 1e-6
    assert main(command(scan, model_folder, tmp_path / "again", "--ranges")) == 0
    assert "Likely range" in capsys.readouterr().out
