import numpy as np
import pytest
import torch
from picture_sets import write_pictures

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io.image_sets import read_image_set
from napari_covseg.io.images import read_picture
from napari_covseg.metrics.classification import auc
from napari_covseg.models.device import Device
from napari_covseg.models.zoo import load
from napari_covseg.preprocess.pictures import PictureRecipe
from napari_covseg.training import image_finetune
from napari_covseg.training.image_finetune import HeadedNetwork, fine_tune
from napari_covseg.training.image_finetune_settings import FineTuneSettings

CPU = Device("cpu", "CPU", "float32", "")
SMALL = FineTuneSettings(start="random", frozen=0, size=32, epochs=2, batch=8, heads=3)


@pytest.fixture
def images(tmp_path):
    return read_image_set(write_pictures(tmp_path / "p", each=10))


def _train(images, settings=SMALL, state=None):
    paths = [picture.path for picture in images]
    recipe = PictureRecipe(settings.size)
    return fine_tune(paths, images.codes, images.groups, recipe, settings, CPU, state)


def _weights(tuned):
    return torch.cat([p.flatten() for p in tuned.extractor.encoder.parameters()])


def test_it_learns_what_tells_the_classes_apart(images):
    settings = FineTuneSettings(size=64, epochs=16, batch=8, heads=3, rate=1e-3)
    tuned = run_to_end(_train(images, settings))
    recipe = PictureRecipe(64)
    planes = np.stack([recipe.apply(read_picture(one.path).grey) for one in images])[:, None]
    said = tuned.head.probabilities(tuned.extractor(torch.from_numpy(planes)).numpy())
    assert said.shape == (3, 20, 2)
    assert auc(said.mean(axis=0)[:, 1], images.codes == 1) == 1
    # Heads learnt from samples of their own.
    assert not np.allclose(said[0], said[1])
    assert not tuned.extractor.training
    assert not any(p.requires_grad for p in tuned.extractor.parameters())


def test_a_stopped_training_goes_on_to_the_same_result(images, tmp_path, monkeypatch):
    monkeypatch.setattr(image_finetune, "_SAVE_EVERY_S", -1.0)
    whole = run_to_end(_train(images))
    state = tmp_path / "s.state"
    steps = _train(images, state=state)
    # Two steps an epoch: the third step is of the second epoch.
    told = [next(steps).done for _ in range(4)]
    assert told == [0, 1, 2, 3]
    steps.close()
    assert state.is_file()
    rest = _train(images, state=state)
    assert next(rest).done == 2
    again = run_to_end(rest)
    assert torch.equal(_weights(again), _weights(whole))
    assert torch.equal(again.head.weights[0], whole.head.weights[0])
    # What is finished is not done again.
    finished = _train(images, state=state)
    with pytest.raises(StopIteration) as end:
        next(finished)
    assert torch.equal(_weights(end.value.value), _weights(whole))
    other = FineTuneSettings(start="random", frozen=0, size=32, epochs=3, batch=8, heads=3)
    with pytest.raises(UsageError, match="epochs was 2, is 3"):
        run_to_end(_train(images, other, state))
    with pytest.raises(UsageError, match="pictures was"):
        run_to_end(_train(images.subset(range(19)), SMALL, state))


def test_frozen_blocks_stay_as_they_are(images):
    settings = FineTuneSettings(start="covseg", size=32, epochs=1, batch=8, heads=2)
    tuned = run_to_end(_train(images, settings))
    before = load().network.encoder.state_dict()
    after = tuned.extractor.encoder.state_dict()
    same = {key for key in after if torch.equal(after[key], before[key])}
    assert {key for key in after if int(key.split(".")[0]) < 6} <= same
    assert "6.layers.0.weight" not in same
    assert "16.layers.1.running_mean" not in same


def test_heads_see_samples_of_their_own_groups_whole():
    draws = image_finetune._draws(["a", "a", "b", "c", "", ""], SMALL)
    assert draws.shape == (6, 3)
    assert torch.equal(draws[0], draws[1])
    # Five groups drawn five times for each head.
    assert draws[1:].sum(dim=0).tolist() == [5, 5, 5]
    assert not torch.equal(draws[:, 0], draws[:, 1])


def test_a_head_is_a_linear_layer_on_the_mean_of_the_map():
    torch.manual_seed(0)
    network = HeadedNetwork(image_finetune.lite0_encoder(), 2, SMALL).eval()
    tuned = image_finetune._result(network)
    grey = torch.rand(2, 1, 64, 64)
    mine = tuned.head.logits(tuned.extractor(grey)).transpose(0, 1)
    assert torch.allclose(mine, network(grey * 2 - 1), atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "coco"},
        {"size": 100},
        {"epochs": 0},
        {"batch": 1},
        {"frozen": 17},
        {"start": "random", "frozen": 1},
    ],
)
def test_unusable_settings_are_refused(wrong):
    with pytest.raises(UsageError):
        FineTuneSettings(**wrong)
