import json

import nibabel as nib
import numpy as np
import pytest
import torch
from raw_datasets import write_about, write_case, write_patients

from napari_covseg.cli.main import main
from napari_covseg.models.detector_files import read_detector, write_detector
from napari_covseg.models.mask_rcnn import LesionRCNN
from napari_covseg.preprocess.recipe import AxialRecipe

SMALL = {"channels": 8, "representation": 16, "mask_channels": 8}


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Fresh weights: what it finds means nothing, that it finds it is enough."""
    folder = tmp_path_factory.mktemp("eye")
    torch.manual_seed(0)
    network = LesionRCNN(**SMALL)
    write_detector(folder, "eye", network, SMALL, AxialRecipe(4.0), {"version": "1"})
    return folder


@pytest.fixture
def scan(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 100, (64, 64, 3)).astype(np.int16)
    file = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(hu, np.diag([-4.0, -4.0, 5.0, 1.0])), file)
    return file


def test_each_input_gets_lesions_or_a_line_of_error(detector, scan, tmp_path, capsys):
    (tmp_path / "no.nii.gz").write_text("no CT")
    arguments = ["detect", str(scan), str(tmp_path / "no.nii.gz"), "--model", str(detector)]
    arguments += ["--output", str(tmp_path / "out"), "--device", "cpu", "--score", "0.05"]
    assert main([*arguments, "--json"]) == 3
    told = capsys.readouterr()
    said = json.loads(told.out)
    assert "no.nii.gz" in told.err
    assert [one["exit_code"] for one in said["errors"]] == [3]
    (result,) = said["results"]
    report = json.loads((tmp_path / "out" / "scan_detected.json").read_text())
    assert report["lesions"] == result["lesions"]
    assert report["provenance"]["model"]["name"] == "eye"
    labels = nib.load(tmp_path / "out" / "scan_detected_labels.nii.gz").get_fdata()
    assert labels.shape == (64, 64, 3)
    assert set(np.unique(labels)) <= {0, 3, 4}
    for one in report["lesions"]:
        first, last = (np.array(one["box_xyz_voxels"][key]) for key in ("first", "last"))
        inside = labels[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
        value = {"ggo": 3, "consolidation": 4}[one["label"]]
        assert np.count_nonzero(inside == value) >= one["voxels"] > 0


def test_a_model_of_another_kind_or_a_wrong_score_fails_first(detector, scan, tmp_path, capsys):
    out = ["--output", str(tmp_path / "out")]
    other = tmp_path / "net"
    other.mkdir()
    card = {"architecture": "mask_net", "sha256": "", "name": "net", "version": "1", "classes": []}
    (other / "net.json").write_text(json.dumps(card))
    (other / "net.safetensors").touch()
    assert main(["detect", str(scan), "--model", str(other), *out]) == 5
    assert "expected a lesion detector" in capsys.readouterr().err
    assert main(["detect", str(scan), "--model", str(detector), "--score", "2", *out]) == 2
    assert not (tmp_path / "out").exists()


def test_without_a_detector_the_shipped_segmentation_model_looks(scan, tmp_path, capsys):
    arguments = ["detect", str(scan), "--output", str(tmp_path), "--device", "cpu", "--json"]
    assert main(arguments) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["provenance"]["model"]["name"] == "covseg-default"


def test_what_a_detector_stands_on_must_fit(tmp_path, capsys):
    arguments = ["detect-train", str(tmp_path), "--output", str(tmp_path / "eye"), "--all-patients"]
    assert main([*arguments, "--from", "covseg-default", "--preset", "scratch"]) == 2
    assert "only backbone=lite0 with pretrained=true" in capsys.readouterr().err
    assert main([*arguments, "--set", "pixel_mm=2"]) == 2
    assert "covseg-default was trained at 1.35 mm; set pixel_mm=1.35" in capsys.readouterr().err
    assert main([*arguments, "--preset", "lite0", "--weights", "x.pth"]) == 2
    assert "not both" in capsys.readouterr().err


def test_a_detector_is_trained_and_says_how_good_it_is(tmp_path, capsys):
    data = tmp_path / "data"
    write_about(data, numTraining=2)
    for number in range(2):
        labels = np.ones((1, 40, 40), np.uint8)
        labels[0, 5:15, 5:15], labels[0, 20:32, 20:30] = 2, 3
        write_case(data, f"c{number}", labels, np.diag([-4.0, -4.0, 5.0, 1.0]), seed=number)
    write_patients(data / "cases.csv", {"c0": "p0", "c1": "p1"})
    out = tmp_path / "eye"
    settings = ["channels=8", "representation=16", "mask_channels=8", "patch=64,64", "batch=1"]
    settings += ["batches=1", "epochs=1", "pixel_mm=4"]
    arguments = ["detect-train", str(data), "--output", str(out), "--device", "cpu"]
    arguments += ["--preset", "scratch", "--validation-patients", "p1"]
    arguments += [part for setting in settings for part in ("--set", setting)]
    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["training_cases"], said["validation_cases"]) == (1, 1)
    assert said["figures"]["masks"]["ggo"]["lesions"] == 1
    assert said["figures"]["boxes"]["mean"]["lesions"] == 2
    assert read_detector(out).recipe.pixel_mm == 4
    assert main(arguments) == 2
    assert "holds a training already" in capsys.readouterr().err


def test_a_mask_net_needs_a_start(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["mask-net-train", str(tmp_path), "--output", str(tmp_path / "net")])
    assert end.value.code == 2
    assert "--detector --from" in capsys.readouterr().err
    arguments = ["mask-net-train", str(tmp_path), "--output", str(tmp_path / "net")]
    assert main([*arguments, "--detector", "x", "--set", "size=50"]) == 2
    assert "size=50: expected a multiple of 32" in capsys.readouterr().err
