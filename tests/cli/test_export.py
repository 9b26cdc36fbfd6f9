import json

import pytest
from label_phantom import label_map, series

from napari_covseg.cli import export
from napari_covseg.cli.main import main
from napari_covseg.io import read_volume, write_labels
from napari_covseg.workflows.export import FORMATS


@pytest.fixture
def scan(tmp_path):
    folder, _ = series(tmp_path / "ct")
    labels = label_map(read_volume(folder).geometry)
    return folder, write_labels(labels, tmp_path / "mine_labels.nii.gz")


def test_paths_and_warnings(scan, tmp_path, capsys):
    folder, labels = scan
    command = ["export", str(labels), "--source", str(folder), "--format", "dicom-sr"]
    assert main([*command, "--output", str(tmp_path / "mine.dcm")]) == 0
    first, second, warning = capsys.readouterr().out.splitlines()
    assert (first, second) == (str(tmp_path / "mine.dcm"), str(tmp_path / "mine_seg.dcm"))
    assert warning.startswith("warning: no result's JSON beside the labels")
    done = [*command, "--output", str(tmp_path / "mine.dcm"), "--made-by", "manual", "--json"]
    assert main(done) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["paths"] == [first, second]
    assert (content["format"], content["warnings"]) == ("dicom-sr", [])


def test_errors_and_exit_codes(scan, tmp_path, capsys):
    _, labels = scan
    command = ["export", str(labels), "--format", "dicom-seg", "--output", str(tmp_path)]
    assert main(command) == 2
    assert "needs --source" in capsys.readouterr().err
    assert main([*command, "--source", str(labels)]) == 3
    err = capsys.readouterr().err
    assert "this is NIfTI" in err
    assert len(err.strip().splitlines()) == 1
    with pytest.raises(SystemExit):
        main([*command[:3], "stl", "--output", str(tmp_path)])


def test_formats_are_those_of_the_workflow():
    assert tuple(FORMATS) == export.FORMATS
