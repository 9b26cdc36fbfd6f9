"""``covseg dataset predict`` and the queue that follows it; ``covseg segment --uncertainty``."""

import json

import nibabel as nib
import numpy as np
import pytest
from small_stores import lungs, new_store

from napari_covseg.cases import author as author_module
from napari_covseg.cases.store import CaseStore
from napari_covseg.cli.main import main
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.progress import Progress
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.fractions import read_fractions
from napari_covseg.io.read import read_volume
from napari_covseg.models.zoo import shipped_sha256
from napari_covseg.quantify.volumes import measure
from napari_covseg.workflows import dataset_predict
from napari_covseg.workflows.segment import SegmentResult


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    """No test sees or writes the name of whoever runs it."""
    monkeypatch.setattr(author_module, "author_file", lambda: tmp_path / "author.json")
    monkeypatch.setenv("COVSEG_AUTHOR", "RA")


@pytest.fixture
def network(monkeypatch):
    """The second of three cases fails, the third has more doubt than the first."""

    class Fake:
        calls, settings = 0, ()

        def __call__(self, volume, settings, uncertainty):
            self.calls, self.settings = self.calls + 1, (*self.settings, settings)
            number = self.calls
            yield Progress(0, 1, "segmenting")
            if number == 2:
                raise InputError("expected axial slices")
            labels = LabelMap.like(volume, lungs())
            unsure = np.where(lungs() > 0, np.uint8(50 * number), np.uint8(0))
            unsure[4] += 1
            return SegmentResult(labels, measure(labels), (), {}, unsure if uncertainty else None)

    fake = Fake()
    monkeypatch.setattr(dataset_predict, "segment", fake)
    return fake


@pytest.fixture
def folder(tmp_path):
    return new_store(tmp_path / "store", cases=3).folder


def test_every_case_gets_a_line_or_an_error_and_next_goes_by_the_scores(folder, network, capsys):
    assert main(["dataset", "predict", str(folder)]) == 3
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["case_0001", "case_0003"]
    score = CaseStore.open(folder).scores(shipped_sha256())["case_0003"]
    told = f"case_0003: version 1 is the prediction, {score.value:.1f} ml uncertain, most in "
    assert lines[1] == f"{told}slice 4"
    assert "covseg: case_0002: expected axial slices" in err
    assert main(["dataset", "next", str(folder), "--peek", "--json"]) == 0
    served = json.loads(capsys.readouterr().out)
    assert (served["case"], served["slice"]) == ("case_0003", 4)
    assert main(["dataset", "next", str(folder), "--peek", "--json", "--order", "first-come"]) == 0
    assert json.loads(capsys.readouterr().out)["case"] == "case_0001"


def test_json_and_options(folder, network, capsys):
    arguments = ["--case", "case_0003", "--flips", "all", "--device", "cpu", "--json"]
    assert main(["dataset", "predict", str(folder), *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["errors"]) == (shipped_sha256(), [])
    (one,) = told["cases"]
    assert (one["case"], one["version"], one["slice"]) == ("case_0003", 1, 4)
    assert one["score"] == pytest.approx(one["uncertain_ml"], abs=1e-3)
    assert set(one["uncertainty"]) == set(one["lesions"])
    assert (network.settings[0].flips, network.settings[0].device) == ("all", "cpu")
    assert main(["dataset", "predict", str(folder), *arguments]) == 0
    (again,) = json.loads(capsys.readouterr().out)["cases"]
    assert (again["version"], again["score"], network.calls) == (None, None, 1)


def test_without_uncertainty(folder, network, capsys):
    arguments = ["--no-uncertainty", "--case", "case_0001"]
    assert main(["dataset", "predict", str(folder), *arguments]) == 0
    assert capsys.readouterr().out == "case_0001: version 1 is the prediction\n"
    assert CaseStore.open(folder).scores(shipped_sha256()) == {}
    assert main(["dataset", "predict", str(folder), *arguments]) == 0
    assert capsys.readouterr().out == "case_0001: nothing left to do\n"


@pytest.mark.parametrize("wrong", [["--case", "case_0009"], ["--model", "c" * 12]])
def test_what_is_not_there(folder, network, capsys, wrong):
    assert main(["dataset", "predict", str(folder), *wrong]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert network.calls == 0


def test_segment_writes_how_unsure_it_is(scan, model_folder, tmp_path, capsys):
    arguments = ["segment", str(scan), "--output", str(tmp_path), "--model", str(model_folder)]
    arguments += ["--device", "cpu", "--json"]
    assert main([*arguments, "--uncertainty"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["uncertainty_file"] == "scan_uncertainty.nii.gz"
    path = tmp_path / "scan_uncertainty.nii.gz"
    values = read_fractions(path, read_volume(scan).geometry)
    assert values.max() > 100  # a network that has learned nothing
    seen = nib.load(path).get_fdata()
    assert seen.max() == pytest.approx(values.max() / 255)
    assert np.array_equal(nib.load(path).affine, nib.load(scan).affine)
    path.unlink()
    assert main(arguments) == 0
    (plain,) = json.loads(capsys.readouterr().out)["results"]
    assert "uncertainty_file" not in plain
    assert not path.exists()
