import csv
import json

import numpy as np
import pytest
from matplotlib.image import imread
from small_stores import corrected, lungs, new_store, predicted

from napari_covseg.cases.records import Kind, NewVersion
from napari_covseg.cli.main import main

NEXT = "b" * 64


@pytest.fixture
def store(tmp_path):
    """Two cases of one model, one of the next, and one that was drawn."""
    store = new_store(tmp_path / "store", cases=4)
    for name, model, minutes in (
        ("case_0001", "a" * 64, 10.0),
        ("case_0002", "a" * 64, 8.0),
        ("case_0003", NEXT, 3.0),
    ):
        version = corrected(store, predicted(store, name, model), minutes=minutes)
        store.accept(version.id, reader="B")
    drawn = store.save_version(
        "case_0004",
        lungs(),
        NewVersion(author="C", kind=Kind.IMPORT, reviewed=range(6), minutes=30.0),
    ).version
    store.accept(drawn.id, reader="B")
    return store


def test_tables_and_a_sentence(store, capsys):
    assert main(["dataset", "effort", str(store.folder)]) == 0
    told = capsys.readouterr().out
    lines = [line.split() for line in told.splitlines()]
    assert lines[1][:4] == ["aaaaaaaa", "2", "9.0", "180.0"]
    assert lines[2][:4] == ["bbbbbbbb", "1", "3.0", "60.0"]
    assert lines[3][:4] == ["no", "prediction", "1", "30.0"]
    assert any(line[:4] == ["RA", "3", "21.0", "9"] for line in lines)
    assert "4 accepted cases, 51.0 minutes" in told
    assert "from no prediction to bbbbbbbb: minutes a case went from 30.0 to 3.0 (-90 %)" in told


def test_files_and_json(store, tmp_path, capsys):
    files = tmp_path / "a.csv", tmp_path / "a.png", tmp_path / "a.svg"
    command = ["dataset", "effort", str(store.folder), "--csv", str(files[0]), "--json"]
    assert main([*command, "--plot", str(files[1])]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["total"]["minutes"] == 51.0
    assert [one["cases"] for one in told["generations"]] == [2, 1, 1]
    rows = list(csv.DictReader(files[0].open(newline="")))
    assert [row["minutes"] for row in rows] == ["10.0", "8.0", "3.0", "30.0"]
    assert [row["dice_ggo"] for row in rows] == ["0.8", "0.8", "0.8", ""]
    assert rows[3]["edited_voxels"] == ""
    assert main([*command, "--plot", str(files[2])]) == 0
    again = files[2].read_bytes()
    assert main([*command, "--plot", str(files[2])]) == 0
    assert files[2].read_bytes() == again, "the same figures give the same file"
    assert b"bbbbbbbb" in again or b"<path" in again
    picture = imread(files[1])[..., :3]
    blue = np.abs(picture - np.array([0x3F, 0x8F, 0xE0]) / 255).max(axis=2) < 0.02
    assert blue.sum() > 50, "the first model's means are drawn"


def test_what_cannot_be_written(store, tmp_path, capsys):
    for wrong, code, reason in (
        (["--plot", str(tmp_path / "a.jpg")], 2, "expected a plot that ends in .png or .svg"),
        (["--csv", str(tmp_path / "no" / "a.csv")], 3, "its folder does not exist"),
    ):
        assert main(["dataset", "effort", str(store.folder), *wrong]) == code
        assert reason in capsys.readouterr().err


def test_an_empty_store(tmp_path, capsys):
    folder = new_store(tmp_path / "store").folder
    assert main(["dataset", "effort", str(folder), "--plot", str(tmp_path / "a.png")]) == 0
    assert capsys.readouterr().out == "no accepted cases yet\n"
