"""``covseg change`` as a user calls it."""

import json

import pytest
from two_scans import Ball, grid, scan

from napari_covseg.cli.main import main
from napari_covseg.domain.labels import Label
from napari_covseg.io import write_labels, write_volume


@pytest.fixture
def command(tmp_path):
    for name, radius in (("now", 10), ("then", 6)):
        volume, labels = scan(grid((3, 3, 3)), [Ball(Label.GGO, (33.3, 0.4, 20.7), radius)])
        write_volume(volume, tmp_path / f"{name}.nii.gz")
        write_labels(labels, tmp_path / f"{name}_labels.nii.gz")
    return [
        "change", str(tmp_path / "now.nii.gz"), str(tmp_path / "then.nii.gz"),
        "--labels", str(tmp_path / "now_labels.nii.gz"),
        "--prior-labels", str(tmp_path / "then_labels.nii.gz"),
        "--output", str(tmp_path / "out"),
    ]  # fmt: skip


def test_what_is_printed_and_what_is_json(command, capsys, tmp_path):
    assert main([*command, "--interval-days", "14"]) == 0
    shown = capsys.readouterr().out
    assert "appeared" in shown
    assert "lesions: 1 matched, 1 grown" in shown
    assert "registration: good (affine)" in shown
    assert str(tmp_path / "out" / "now_change.html") in shown
    assert main([*command, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["lesions"]["listed"][0]["trend"] == "grown"
    assert content["interval_days"] is None
    assert len(content["paths"]) == 4


def test_wrong_input_is_one_line(command, capsys, tmp_path):
    (tmp_path / "then.nii.gz").write_bytes(b"nonsense")
    assert main(command) == 3
    error = capsys.readouterr().err
    assert "then.nii.gz" in error
    assert error.count("\n") == 1
