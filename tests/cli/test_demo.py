import json
import os

import pytest

from napari_covseg.cli.main import main
from napari_covseg.io import read_volume


@pytest.mark.slow
def test_demo_writes_everything(model_folder, tmp_path, capsys):
    out = tmp_path / "demo"
    code = main(
        ["demo", "--output", str(out), "--model", str(model_folder), "--device", "cpu", "--json"]
    )
    assert code == 0
    report = json.loads(capsys.readouterr().out)
    assert sorted(os.listdir(out)) == [
        "phantom.json",
        "phantom.nii.gz",
        "phantom_labels.nii.gz",
        "phantom_overlay.png",
    ]
    assert (out / "phantom_overlay.png").read_bytes()[:4] == b"\x89PNG"
    assert read_volume(out / "phantom.nii.gz").geometry.shape == (120, 256, 256)
    assert report["true_volumes"]["ggo_ml"] > 0
    assert report["case"] == "phantom"
