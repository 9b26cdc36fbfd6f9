import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from napari_covseg.domain.errors import InputError, ModelError, UsageError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io.image_sets import read_image_set
from napari_covseg.io.images import read_picture
from napari_covseg.models.detector_files import write_detector
from napari_covseg.models.mask_net_classifier import (
    MaskNetClassifier,
    read_mask_net,
    write_mask_net,
)
from napari_covseg.models.mask_rcnn import LesionRCNN
from napari_covseg.preprocess.pictures import PictureRecipe
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.mask_net import few_of_each, figures_of_classes
from napari_covseg.training.mask_net_settings import PRESETS
from napari_covseg.workflows.classify import classify, load_classifier
from napari_covseg.workflows.classify_settings import ClassifySettings
from napari_covseg.workflows.mask_net import MaskNetRequest, parts, train_mask_net

SMALL = {"channels": 8, "representation": 16, "mask_channels": 8}
TINY = replace(PRESETS["fast"], size=64, epochs=8, batch=4, candidates=64, hidden=32)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    torch.manual_seed(0)
    write_detector(folder, "eye", LesionRCNN(**SMALL), SMALL, AxialRecipe(), {"version": "1"})
    return str(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures with a bright square, and without, in a CSV with two parts."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    rows = []
    for number in range(20):
        grey = random.normal(60, 10, (70, 80))
        if number % 2:
            grey[20:50, 20:50] += 150
        name = f"{number}.png"
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / name)
        split = "train" if number < 12 else "val"
        rows.append((name, ("clean", "covid")[number % 2], split, f"g{number}"))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label", "split", "group"), *rows])
    return folder


def request(pictures, output, detector, **changes):
    fields = {"preset": TINY, "detector": detector, "device": "cpu", "tensorboard": False}
    return MaskNetRequest(pictures, output, **{**fields, **changes})


@pytest.fixture(scope="module")
def trained(pictures, detector, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "net"
    return run_to_end(train_mask_net(request(pictures, output, detector)))


def test_it_learns_and_says_how_well(trained):
    assert (trained.training_pictures, trained.measured_pictures) == (12, 8)
    assert trained.split == "train and val, as the labels say"
    rows = trained.loop.rows
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert set(trained.figures["classes"]) == {"clean", "covid"}
    assert trained.figures["classes"]["covid"]["pictures"] == 4
    model = read_mask_net(trained.model)
    assert model.classes == ("clean", "covid")
    assert model.card["training"]["epoch"] == 8


def test_a_stopped_training_goes_on_to_the_same_weights(trained, pictures, detector, tmp_path):
    asked = request(pictures, tmp_path / "net", detector)
    steps = train_mask_net(asked)
    for progress in steps:
        if progress.message.startswith("epoch 2"):
            steps.close()
            break
    again = run_to_end(train_mask_net(replace(asked, resume=True)))
    assert [row["loss"] for row in again.loop.rows] == [row["loss"] for row in trained.loop.rows]
    mine, theirs = (read_mask_net(one.model).network.state_dict() for one in (again, trained))
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name


def test_it_goes_on_from_another_and_other_classes_get_a_new_layer(trained, pictures, tmp_path):
    preset = replace(TINY, epochs=1, pictures=4, mode="s+bn")
    start = str(trained.model.parent)
    done = run_to_end(
        train_mask_net(request(pictures, tmp_path / "a", "", start=start, preset=preset))
    )
    assert done.training_pictures == 4
    with pytest.raises(ModelError, match="its hidden is 32, the settings say 64"):
        run_to_end(
            train_mask_net(
                request(
                    pictures, tmp_path / "b", "", start=start, preset=replace(preset, hidden=64)
                )
            )
        )


def test_what_cannot_work_fails_first(pictures, detector, tmp_path):
    with pytest.raises(UsageError, match="either a detector"):
        run_to_end(train_mask_net(request(pictures, tmp_path / "x", "")))
    with pytest.raises(ModelError, match="expected a lesion detector"):
        run_to_end(train_mask_net(request(pictures, tmp_path / "x", "covseg-default")))
    with pytest.raises(UsageError, match="mode=t: expected one of"):
        TINY.with_settings(["mode=t"])
    assert not (tmp_path / "x").exists()


def test_a_copy_on_both_sides_is_told(pictures, detector, tmp_path):
    """Of one class, under another name and of no group: the hash alone knows it."""
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    shutil.copyfile(folder / "1.png", folder / "copy.png")
    with (folder / "labels.csv").open("a", newline="") as file:
        csv.writer(file).writerow(("copy.png", "covid", "val", ""))
    with pytest.raises(InputError, match="copies of one picture"):
        run_to_end(train_mask_net(request(folder, tmp_path / "net", detector)))
    assert not (tmp_path / "net").exists()


def test_it_classifies_as_other_classifiers_do(pictures, tmp_path):
    torch.manual_seed(0)
    made = MaskNetClassifier(LesionRCNN(**SMALL), 2, 64, 32)
    about = {"version": "1"}
    write_mask_net(tmp_path, "net", made, SMALL, ("clean", "covid"), PictureRecipe(64), about)
    classifier = load_classifier(ClassifySettings(model=str(tmp_path)))
    settings = ClassifySettings(device="cpu", explain=True)
    picture = read_picture(pictures / "13.png")
    said = run_to_end(classify(picture, settings, classifier))
    # The very network: in another memory layout near ties may be ranked otherwise.
    network = classifier.extractor.network
    plane = torch.from_numpy(classifier.recipe.apply(picture.grey))[None, None] * 2 - 1
    with torch.no_grad():
        plane = plane.contiguous(memory_format=torch.channels_last)
        each = network(plane).sigmoid()[0].double().numpy()
    assert said.classes == ("clean", "covid")
    assert said.probabilities == pytest.approx(each / each.sum(), rel=1e-4)
    assert (said.heat, said.unsure, said.similar) == (None, False, ())
    assert len(said.warnings) == 2
    assert "no heat map" in said.warnings[0]
    assert json.dumps(said.to_dict(), allow_nan=False)
    assert said.to_dict()["unsure_above"] is None


def test_groups_are_never_parted(pictures):
    images = read_image_set(pictures)
    with pytest.raises(InputError, match="1 groups"):
        parts(replace(images, groups=("same", *images.groups[1:-1], "same")))
    unsplit = replace(images, splits=("",) * len(images), groups=("a", "b", "c", "d", "e") * 4)
    training, measured, told = parts(unsplit)
    assert not set(training.groups) & set(measured.groups)
    assert len(training) + len(measured) == 20
    assert told.startswith("a fifth measures")


def test_few_pictures_are_as_many_of_each_class(pictures):
    images = read_image_set(pictures)
    few = few_of_each(images, 6, 0)
    assert few.counts() == {"clean": 3, "covid": 3}
    assert few.names == few_of_each(images, 6, 0).names != few_of_each(images, 6, 1).names
    assert few_of_each(images, 0, 0) is images


def test_figures_of_classes():
    """Two of three of a, one of one of b; what is said to be b is right half of the time."""
    said = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.7], [0.1, 0.6]])
    found = figures_of_classes(said, np.array([0, 0, 0, 1]), ("a", "b"))
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["classes"]["a"]["sensitivity"] == pytest.approx(2 / 3)
    assert found["classes"]["a"]["precision"] == pytest.approx(1)
    assert found["classes"]["b"]["precision"] == pytest.approx(0.5)
    assert found["f1_adjusted"] == pytest.approx(0.75 * 0.8 + 0.25 * 2 / 3)
