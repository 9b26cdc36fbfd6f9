import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from dicom_maker import AXIAL, along, image, write_series
from picture_sets import corner_classifier, write_pictures
from PIL import Image
from pydicom.uid import ComputedRadiographyImageStorage as CR

from napari_covseg.domain.errors import InputError, ModelError, UsageError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.io import read_volume
from napari_covseg.io.image_sets import read_image_set
from napari_covseg.io.images import Picture, read_picture
from napari_covseg.models.feature_extractors import TrainedExtractor, lite0_encoder
from napari_covseg.models.image_classifier import read_classifier, write_classifier
from napari_covseg.workflows.classify import classify, find_sources
from napari_covseg.workflows.classify_images import with_copies
from napari_covseg.workflows.classify_settings import ClassifySettings
from napari_covseg.workflows.classify_slices import body, lung_slices, spread_over
from napari_covseg.workflows.classify_train import classify_train
from napari_covseg.workflows.classify_train_request import (
    ClassifyTrainRequest,
)

CPU = ClassifySettings(device="cpu", explain=True)


def _picture(corner, rest=0.0):
    grey = np.full((32, 32), rest, np.float32)
    grey[:16, :16] = corner
    return Picture(grey, "PNG")


def _say(source, classifier=None, settings=CPU):
    return run_to_end(classify(source, settings, classifier or corner_classifier()))


def test_the_answer_is_the_mean_of_the_ensemble_and_its_entropy():
    result = _say(_picture(0.8))
    # The corner's mean over the picture is 0.2: logits 6 and 4.5.
    each = 1 / (1 + np.exp(-np.array([6.0, 4.5])))
    assert result.probabilities[1] == pytest.approx(each.mean(), abs=1e-5)
    assert result.spread[1] == pytest.approx(each.std(), abs=1e-5)
    p = each.mean()
    assert result.entropy == pytest.approx(-p * np.log(p) - (1 - p) * np.log(1 - p), abs=1e-5)
    assert (result.label, result.unsure, result.shown) == ("light", False, None)
    assert result.to_dict()["notice"].startswith("Not a diagnosis")


def test_an_answer_between_the_classes_is_unsure():
    result = _say(_picture(0.5))
    assert result.entropy == pytest.approx(np.log(2), abs=1e-4)
    assert result.unsure
    assert result.to_dict()["advice"] == "unsure: ask a second reader"


def test_the_heat_map_is_in_the_pictures_own_grid():
    picture = _picture(0.8, rest=0.5)
    larger = replace(picture, grey=picture.grey.repeat(2, axis=0).repeat(3, axis=1))
    result = _say(larger)
    assert result.heat.shape == (64, 96)
    assert result.heat[:32, :48].sum() > 0.9 * result.heat.sum()
    assert _say(_picture(0.8), settings=ClassifySettings(device="cpu")).heat is None


def test_similar_cases_are_the_nearest_first():
    result = _say(_picture(0.8))
    assert [one.name for one in result.similar] == ["c.png", "d.png", "b.png", "a.png"]
    assert result.similar[0].label == "light"
    assert result.similar[0].distance == pytest.approx(0, abs=1e-4)


def test_what_is_unlike_all_training_pictures_is_unsure():
    classifier = replace(corner_classifier(), card={"far_above": 0.5})
    assert not _say(_picture(0.8), classifier).unsure
    far = _say(_picture(0.9), replace(classifier, card={"far_above": 0.1}))
    assert far.unsure
    assert "Unlike every picture" in far.warnings[0]


def _chest(light=2):
    """Six slices, of which the middle four show lung; one is lighter in its upper left."""
    hu = np.full((6, 48, 48), -1000, np.float32)
    hu[:, 4:44, 4:44] = -1200
    hu[:, 4:44, 4] = hu[:, 4:44, 43] = hu[:, 4, 4:44] = hu[:, 43, 4:44] = 30
    hu[1:5, 24:42, 10:38] = -800
    if light is not None:
        hu[light, 4:24, 4:24] = 30
    return CTVolume(hu, Geometry((6, 48, 48), np.diag([1.0, 1.0, 5.0, 1.0])), "chest")


def test_body_and_slices_with_lung():
    plane = np.full((48, 48), -1000.0)
    plane[4:44, 8:40] = 30
    plane[46] = -1000
    plane[0, 20] = 500
    assert body(plane) == (slice(2, 46), slice(6, 42))
    assert list(spread_over(4, 10)) == [0, 1, 2, 3]
    assert list(spread_over(100, 4)) == [12, 37, 62, 87]


def test_a_ct_is_judged_by_its_slices_with_lung():
    volume = _chest()
    assert lung_slices(volume) == [1, 2, 3, 4]
    result = _say(volume)
    assert [one.index for one in result.slices] == [1, 2, 3, 4]
    of_slices = np.array([one.probabilities for one in result.slices])
    assert of_slices.argmax(axis=0)[1] == 1
    assert result.probabilities == pytest.approx(of_slices.mean(axis=0), abs=1e-6)
    assert result.heat.shape == result.grey.shape == (48, 48)
    # The slice that is shown is the one that speaks most for the answer.
    best = of_slices[:, result.classes.index(result.label)].argmax()
    assert result.shown == result.slices[best].index


def test_a_ct_without_lung_is_refused():
    volume = _chest()
    with pytest.raises(InputError, match="no axial slice shows lung"):
        _say(replace(volume, hu=np.zeros_like(volume.hu)))


def test_folders_give_pictures_or_cts(tmp_path):
    write_pictures(tmp_path / "p", each=1)
    assert [path.parent.name for path in find_sources([tmp_path / "p"])] == ["dark", "light"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no picture and no CT"):
        find_sources([tmp_path / "empty"])
    with pytest.raises(InputError, match="no such file"):
        find_sources([tmp_path / "gone"])


@pytest.mark.parametrize("xray", ["0.dcm", "z.dcm"])
def test_a_dicom_folder_gives_its_xrays_and_its_ct_whichever_comes_first(tmp_path, xray):
    write_series(tmp_path, along(AXIAL, 4, 2.0))
    projection = image(np.zeros((12, 16)), series="1.2.9", Modality="CR", SOPClassUID=CR)
    projection.save_as(tmp_path / xray)
    assert find_sources([tmp_path]) == [tmp_path / xray, tmp_path]
    assert read_volume(tmp_path).hu.shape == (4, 12, 16)


@pytest.fixture
def small_features(monkeypatch):
    """Features of a network that is quick: the grey of the four quarters."""
    import torch

    from napari_covseg.models import feature_extractors
    from napari_covseg.models.feature_extractors import Extractor

    class Quarters(Extractor):
        def __init__(self):
            super().__init__()
            self.name, self.sha256 = "covseg", "q"

        def maps(self, grey):
            return torch.nn.functional.adaptive_avg_pool2d(grey, 2), grey[:, :0, :2, :2]

        def from_maps(self, maps, beside, pooled=True):
            return maps.flatten(1)

    monkeypatch.setattr(feature_extractors, "covseg_extractor", Quarters)


def _request(folder, output, **choices):
    return ClassifyTrainRequest(folder, output, runs=2, device="cpu", **choices)


@pytest.mark.parametrize("name", ["svm_poly", "neural_network"])
def test_a_trained_classifier_is_read_again_and_answers(tmp_path, small_features, name):
    folder = write_pictures(tmp_path / "p")
    request = _request(
        folder,
        tmp_path / "out",
        classifiers=(name,),
        folds=3,
        positive="light",
        cache=tmp_path / "cache",
    )
    result = run_to_end(classify_train(request))
    (evaluation,) = result.evaluations
    assert evaluation.ensemble.auc == 1
    assert sorted(evaluation.places) == list(range(24))
    classifier = read_classifier(tmp_path / "out" / "model")
    assert classifier.card["training"]["pictures"] == {"dark": 12, "light": 12}
    assert classifier.card["figures"][0]["of_ensemble"]["auc"] == 1
    assert "not a diagnosis" in classifier.card["notice"].lower()
    light = Picture(np.full((30, 30), 0.7, np.float32), "PNG")
    answer = _say(light, classifier)
    assert answer.label == "light"
    assert answer.similar[0].label == "light"
    assert answer.heat.shape == (30, 30)
    with (tmp_path / "out" / "table.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["auc_ensemble"]) == 1
    for picture in ("calibration.png", "risk_coverage.png"):
        assert Image.open(tmp_path / "out" / picture).size[0] > 300
    # Features are kept by content: once for each picture.
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 24
    weights = tmp_path / "out" / "model" / "classifier.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="hash differs"):
        read_classifier(tmp_path / "out" / "model")


def test_the_best_out_of_bag_is_kept_and_the_split_never_trains(tmp_path, small_features):
    folder = write_pictures(tmp_path / "p")
    # The seventh and so on are to measure later: they do not train beside val either.
    parts = ("val", "train", "train", "val", "train", "train", "test", "train")
    rows = [
        (path.relative_to(folder).as_posix(), path.parent.name, parts[i % 8])
        for i, path in enumerate(sorted(folder.rglob("*.png")))
    ]
    with (folder / "labels.csv").open("w") as file:
        file.write("file,label,split\n" + "".join(",".join(row) + "\n" for row in rows))
    request = _request(
        folder, tmp_path / "out", classifiers=("naive_bayes", "knn"), held_out="val", name="mine"
    )
    result = run_to_end(classify_train(request))
    assert len(result.evaluations) == 2
    names = read_classifier(result.card).references.names
    assert sorted(names) == sorted(row[0] for row in rows if row[2] == "train")
    assert result.chosen in ("naive_bayes", "knn")


def test_wrong_choices_are_told_before_features(tmp_path, small_features):
    folder = write_pictures(tmp_path / "p", each=4)
    out = tmp_path / "out"

    def fails(**choices):
        return run_to_end(classify_train(_request(folder, out, **choices)))

    with pytest.raises(InputError, match="fewer than 5 folds"):
        fails()
    with pytest.raises(UsageError, match="no class 'sick'"):
        fails(folds=2, positive="sick")
    with pytest.raises(UsageError, match="unknown classifier"):
        fails(folds=2, classifiers=("svm",))
    with pytest.raises(ModelError, match="need its ImageNet weights in a local file"):
        fails(folds=2, features="resnet50")
    with pytest.raises(InputError, match="no picture is of split"):
        fails(held_out="val")
    copy = folder / "light" / "copy.png"
    copy.write_bytes((folder / "dark" / "00.png").read_bytes())
    with pytest.raises(InputError, match="are the same picture, labelled dark and light"):
        fails(folds=2)
    assert not out.exists() or not list(out.iterdir())


def test_copies_count_once_where_folds_are_many(tmp_path, small_features):
    folder = write_pictures(tmp_path / "p", each=4)
    for name in ("01.png", "02.png"):
        (folder / "light" / name).write_bytes((folder / "light" / "00.png").read_bytes())
    with pytest.raises(InputError, match="'light' has pictures of 2 groups, fewer than 3 folds"):
        run_to_end(classify_train(_request(folder, tmp_path / "out", folds=3)))


def test_a_classifier_without_a_level_of_doubt_is_kept_and_says_so(tmp_path):
    """Where every picture trained every member nothing was judged out of bag."""
    classifier = replace(
        corner_classifier(), extractor=TrainedExtractor(lite0_encoder()), threshold=np.inf
    )
    card = write_classifier(tmp_path, classifier)
    assert json.loads(card.read_text())["unsure_above"] is None
    assert read_classifier(card).threshold == np.inf
    result = _say(_picture(0.5), replace(corner_classifier(), threshold=np.inf))
    assert not result.unsure
    assert "No level was set" in result.warnings[0]
    assert json.dumps(result.to_dict(), allow_nan=False)


def test_copies_join_their_groups(tmp_path):
    folder = write_pictures(tmp_path, each=2)
    images = read_image_set(folder)
    images = replace(images, groups=("p", "", "q", ""))
    groups = with_copies(images, ("h1", "h2", "h1", "h3")).groups
    assert groups[0] == groups[2]
    assert len(set(groups)) == 3


def test_cards_of_other_kinds_are_refused(tmp_path):
    card = tmp_path / "other.json"
    card.write_text(json.dumps({"kind": "detector"}))
    (tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="another kind of model"):
        read_classifier(tmp_path)
    with pytest.raises(ModelError, match="no such classifier; shipped: "):
        read_classifier(tmp_path / "gone")


@pytest.mark.parametrize("held_out", ["", "val"])
def test_a_network_trained_end_to_end_is_kept_and_answers(tmp_path, held_out):
    from napari_covseg.training.image_finetune_settings import FineTuneSettings

    folder = write_pictures(tmp_path / "p", each=12)
    rows = [
        (path.relative_to(folder).as_posix(), path.parent.name, "val" if i % 4 == 0 else "train")
        for i, path in enumerate(sorted(folder.rglob("*.png")))
    ]
    with (folder / "labels.csv").open("w") as file:
        file.write("file,label,split\n" + "".join(",".join(row) + "\n" for row in rows))
    settings = FineTuneSettings(size=64, epochs=12, batch=4, heads=3, rate=1e-3, frozen=12)
    request = ClassifyTrainRequest(
        *(folder, tmp_path / "out"),
        folds=2,
        held_out=held_out,
        positive="light",
        device="cpu",
        fine_tune=settings,
    )
    said = []
    result = run_to_end(classify_train(request), lambda step: said.append(step.message))
    (evaluation,) = result.evaluations
    assert evaluation.ensemble.auc > 0.9
    assert len(evaluation.runs) == 3
    assert len(evaluation.places) == (6 if held_out else 24)
    assert any("fold 2 of 2: training the network, epoch 12 of 12" in m for m in said) != bool(
        held_out
    )
    classifier = read_classifier(tmp_path / "out" / "model")
    assert classifier.card["training"]["start"] == "covseg"
    assert classifier.card["training"]["pictures"]["light"] == (9 if held_out else 12)
    assert len(classifier.references.names) == (18 if held_out else 24)
    dark, light = (
        _say(read_picture(folder / label / "00.png"), classifier) for label in ("dark", "light")
    )
    assert light.probabilities[1] > dark.probabilities[1] + 0.1
    assert light.similar[0].label == "light"
    assert light.heat.shape == (40, 40)
    # Nothing is left of unfinished trainings.
    assert not (tmp_path / "out" / "training_state").exists()
