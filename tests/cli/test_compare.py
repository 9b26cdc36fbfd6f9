"""``covseg compare`` as a user calls it."""

import json

import nibabel as nib
import numpy as np
import pytest

from napari_covseg.cli.main import main


def save(folder, name, values):
    folder.mkdir(exist_ok=True)
    array = np.asarray(values, dtype=np.uint8).reshape(-1, 1, 1)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 5.0, 1.0])), folder / f"{name}.nii.gz")


@pytest.fixture
def call(tmp_path):
    for i in range(7):
        save(tmp_path / "r", f"c{i}", [1, 3, 3, 0])
        save(tmp_path / "old", f"c{i}", [1, 3, 1, 0])
        save(tmp_path / "new", f"c{i}", [1, 3, 3, 0])
    fixed = ["--first", tmp_path / "old", "--second", tmp_path / "new"]
    fixed += ["--references", tmp_path / "r", "--output", tmp_path / "out.json"]
    return lambda *more: main(["compare", *map(str, fixed), *map(str, more)])


def test_a_table_and_a_file(call, tmp_path, capsys):
    assert call() == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "first: old, second: new; difference: second minus first"
    row = next(line.split() for line in lines if line.startswith("ggo"))
    assert row[:4] == ["ggo", "0.667", "1.000", "+0.333"]
    assert row[-5:] == ["0.016", "7", "0", "0", "7"]
    assert "lung, left lung: the models do not differ for any patient" in shown.out
    assert "consolidation, right lung: no patient has a value from both models" in shown.out
    assert max(map(len, lines[1:-1])) <= 100
    assert lines[-1] == str(tmp_path / "out.json")
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["differences"]["ggo"]["dice"]["wins"] == 7


def test_figures_to_show(call, capsys):
    assert call("--figures", "surface_dice,hd95_mm", "--tolerance", "0.5") == 0
    shown = capsys.readouterr().out
    assert shown.index("surface_dice") < shown.index("hd95_mm")
    assert call("--figures", "all") == 0
    assert max(map(len, capsys.readouterr().out.splitlines()[1:-1])) <= 100
    assert call("--figures", "volume_error_ml") == 2
    assert "is no figure" in capsys.readouterr().err


def test_json_alone_on_standard_output(call, tmp_path, capsys):
    assert call("--json", "--no-surface") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((tmp_path / "out.json").read_text())
    assert shown["differences"]["ggo"]["hd95_mm"]["difference"] is None


def test_bad_files_and_left_out_cases_are_told(call, tmp_path, capsys):
    (tmp_path / "new" / "c1.nii.gz").write_bytes(b"")
    (tmp_path / "new" / "c2.nii.gz").unlink()
    assert call() == 3
    shown = capsys.readouterr()
    assert shown.err.startswith("covseg: second: c1")
    assert len(shown.err.splitlines()) == 1
    assert "2 cases have a value from one model only" in shown.out
    assert "5 patients differ: no test, which needs 6" in shown.out
    assert "left out, 1 case has no prediction of the second model: c2" in shown.out


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--second-label-map", "liver=1"], 2),
        (["--tolerance", "-1"], 2),
        (["--second", "nowhere"], 3),
        (["--output", "/proc/nowhere/x.json"], 4),
    ],
)
def test_wrong_calls_give_one_line(call, capsys, more, code):
    assert call(*more) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
