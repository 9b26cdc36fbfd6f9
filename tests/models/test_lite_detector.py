"""Detectors that stand on the default segmentation network."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_covseg.domain.errors import ModelError
from napari_covseg.models import zoo
from napari_covseg.models.detector_start import check_segmentation, start_from
from napari_covseg.models.lite_pyramid import STRIDES, LiteFeatures
from napari_covseg.models.mask_rcnn import LesionRCNN, set_heads_only, set_to_train

SMALL = {"backbone": "lite0", "channels": 8, "representation": 16, "mask_channels": 8}


@pytest.fixture(scope="module")
def model():
    return zoo.load()


@pytest.fixture
def detector(model):
    torch.manual_seed(0)
    network = LesionRCNN(**SMALL)
    start_from(network, model)
    return network


def test_levels_hold_what_the_segmentation_network_says(model):
    features = LiteFeatures({}).eval()
    features.network.load_state_dict(model.network.state_dict())
    image = torch.rand(1, 1, 64, 96) * 2 - 1
    with torch.no_grad():
        levels = features(image)
        shares = model.network(image).softmax(dim=1)
    assert [level.shape[-2:] for level in levels.values()] == [
        (64 // stride, 96 // stride) for stride in STRIDES
    ]
    assert [level.shape[1] for level in levels.values()] == features.widths
    pooled = shares.reshape(1, 4, 32, 2, 48, 2).mean(dim=(3, 5))
    torch.testing.assert_close(levels["0"][:, -4:], pooled)


def test_the_network_sees_the_grey_levels_that_it_was_trained_on(detector):
    image = torch.rand(1, 64, 64) * 2 - 1
    batch, _ = detector.transform(detector.coloured([image]))
    torch.testing.assert_close(batch.tensors[0], image)


def test_only_what_is_new_learns(detector):
    set_heads_only(detector)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    set_to_train(detector)
    assert not detector.backbone.body.training
    assert detector.backbone.fpn.training
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 16:30] = 1
    target = {
        "boxes": torch.tensor([[16.0, 20, 30, 40]]),
        "labels": torch.tensor([1]),
        "masks": torch.from_numpy(mask)[None],
        "ignored": torch.zeros(64, 64, dtype=torch.bool),
    }
    learn = [p for p in detector.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learn, 1e-2)
    sum(detector([torch.from_numpy(mask)[None] * 2.0 - 1], [target]).values()).backward()
    optimiser.step()
    now = detector.state_dict().items()
    changed = {name for name, value in now if not torch.equal(value, before[name])}
    assert not any(name.startswith("backbone.body") for name in changed)
    assert any(name.startswith("backbone.fpn") for name in changed)


def test_another_segmentation_network_is_refused():
    other = SimpleNamespace(name="mine", card={"architecture": "unet2d"})
    with pytest.raises(ModelError, match="mine: a model of the network 'unet2d'; backbone lite0"):
        check_segmentation(other)
