import csv
import json

import numpy as np
import pytest
from PIL import Image

from napari_covseg.cli.classify_train import EIGHT
from napari_covseg.cli.main import main
from napari_covseg.models.image_classifier import DEFAULT, FOLDER, shipped_classifiers
from napari_covseg.training.classifiers import CLASSIFIERS


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (90, 120), np.uint8)).save(folder / "a.png")
    (folder / "b.png").write_text("not a picture")
    return folder


def test_the_shipped_classifier_works_out_of_the_box(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["classify", str(pictures), "--output", str(out), "--device", "cpu", "--explain"]
    # The worst of all inputs: one is no picture.
    assert main([*command, "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    (entry,) = said["results"]
    (error,) = said["errors"]
    assert "holds text though its name ends in .png" in error["error"]
    assert sum(entry["probabilities"].values()) == pytest.approx(1)
    assert set(entry["probabilities"]) == {"covid", "noncovid"}
    assert len(entry["similar"]) == 5
    assert "Not a diagnosis" in entry["notice"]
    assert json.loads((out / "a.json").read_text())["probabilities"] == entry["probabilities"]
    with (out / "classification.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["label"] == entry["label"]
    assert float(row["probability_covid"]) == pytest.approx(
        entry["probabilities"]["covid"], abs=1e-4
    )
    assert Image.open(out / "a_gradcam.png").size == (120, 90)
    # Noise is like no slice of a chest.
    assert entry["unsure"]


def test_what_ships_is_small_and_has_its_card():
    assert shipped_classifiers() == (DEFAULT,)
    card = (FOLDER / f"{DEFAULT}.md").read_text()
    assert "Not a diagnosis" in card
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    figures = json.loads((FOLDER / f"{DEFAULT}.json").read_text())["figures"][0]["of_ensemble"]
    for name in ("auc", "accuracy", "f1", "recall", "precision", "specificity"):
        assert f"{figures[name]:.2f}" in card


def test_an_unknown_classifier_is_told_before_anything_is_read(tmp_path, capsys):
    command = ["classify", str(tmp_path / "gone.png"), "--output", str(tmp_path / "o")]
    assert main([*command, "--model", "gone"]) == 5
    assert "no such classifier; shipped: covseg-classify" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_the_names_on_the_command_line_are_those_there_are():
    assert tuple(CLASSIFIERS) == EIGHT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--start", "imagenet"], "--start is for --fine-tune"),
        (["--fine-tune", "--pca", "4"], "--pca is for classifiers on a frozen network"),
        (["--fine-tune", "--classifier", "all"], "--classifier is for classifiers on a frozen"),
        (["--fine-tune", "--size", "100"], "expected a size in multiples of 32 (got 100)"),
    ],
)
def test_options_that_do_not_go_together_are_told(tmp_path, capsys, options, said):
    command = ["classify-train", str(tmp_path), "--output", str(tmp_path / "o"), *options]
    assert main(command) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
