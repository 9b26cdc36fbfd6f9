import json

import pytest

from napari_covseg import __version__
from napari_covseg.cli.main import main
from napari_covseg.models.zoo import available


def test_installation(capsys):
    assert main(["info", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["version"] == __version__
    assert content["device"]["name"]
    assert [model["name"] for model in content["models"]] == list(available())
    for model in content["models"]:
        assert len(model["sha256"]) == 64
        assert model["licence"] != "not stated"
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert f"covseg {__version__}" in out
    assert content["device"]["title"] in out


def test_volume_file(scan, capsys):
    assert main(["info", str(scan), "--json"]) == 0
    (content,) = json.loads(capsys.readouterr().out)["inputs"]
    assert content["format"] == "NIfTI"
    assert content["case"] == "scan"
    assert content["shape_zyx"] == [12, 64, 64]
    assert content["spacing_zyx_mm"] == [20.0, 5.6, 5.6]
    assert main(["info", str(scan)]) == 0
    assert "spacing_zyx_mm: 20 5.6 5.6" in capsys.readouterr().out


def test_folder_of_volume_files(scan, capsys):
    assert main(["info", str(scan.parent), "--json"]) == 0
    inputs = json.loads(capsys.readouterr().out)["inputs"]
    assert [one["input"] for one in inputs] == ["scan_0000.nii.gz"]


def test_missing_input(capsys):
    assert main(["info", "/nowhere.nii"]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.real_data
def test_dicom_folder_lists_its_series(data_dir, capsys):
    folder = data_dir / "dicom_edge" / "ct4d_19timepoints_tiny"
    assert main(["info", str(folder), "--json"]) == 0
    series = json.loads(capsys.readouterr().out)["inputs"][0]["series"]
    assert len(series) == 19
    assert len({one["uid"] for one in series}) == 19
    assert main(["info", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == series[0]["uid"]
