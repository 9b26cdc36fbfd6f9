import pytest
import torch

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.detector_files import read_detector, write_detector
from napari_covseg.models.mask_net_classifier import (
    MaskNetClassifier,
    read_mask_net,
    set_mode,
    write_mask_net,
)
from napari_covseg.models.mask_rcnn import LesionRCNN
from napari_covseg.preprocess.pictures import PictureRecipe
from napari_covseg.preprocess.recipe import AxialRecipe

SMALL = {"channels": 8, "representation": 16, "mask_channels": 8}


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return LesionRCNN(**SMALL)


@pytest.fixture
def images():
    return torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("classes", [2, 3])
def test_module_s_has_the_papers_parameters(detector, classes):
    network = MaskNetClassifier(detector, classes)
    linear = [m for m in network.s.modules() if isinstance(m, torch.nn.Linear)]
    assert [(one.in_features, one.out_features) for one in linear] == [
        (1280, 1760),
        (1760, classes),
    ]
    assert round(sum(p.numel() for p in network.s.parameters()) / 1e6, 2) == 2.26


def test_features_are_always_256_ranked_rows_of_box_and_score(detector, images):
    network = MaskNetClassifier(detector, 3).eval()
    with torch.no_grad():
        busy = network.features(images)
        blank = network.features(torch.full((1, 1, 64, 64), -1.0))
    for features in (busy, blank):
        assert features.shape[1:] == (256, 5)
        scores = features[..., 4]
        assert bool((scores.diff(dim=1) <= 0).all())
        assert bool((scores > 0).any())
    torch.testing.assert_close(network(images), network.classify(busy))


def test_rows_are_the_encoded_boxes_of_the_regions_that_score_most(detector, images):
    """The best row holds what the region's own predictor said."""
    network = MaskNetClassifier(detector, 2, least_side=0.0).eval()
    said = {}
    heads = network.detector.roi_heads
    handle = heads.box_predictor.register_forward_hook(lambda *told: said.update(out=told[2]))
    with torch.no_grad():
        features = network.features(images[:1])[0]
    handle.remove()
    logits, encoded = said["out"]
    scores = logits.softmax(1)[:, 1:]
    region, kind = divmod(int(scores.argmax()), 2)
    assert float(features[0, 4]) == pytest.approx(float(scores[region, kind]))
    torch.testing.assert_close(features[0, :4], encoded.view(-1, 3, 4)[region, kind + 1])


def test_small_boxes_are_left_out_and_their_rows_are_empty(detector, images):
    network = MaskNetClassifier(detector, 2, least_side=1000.0).eval()
    assert not bool(network.features(images).any())


def step(network, images):
    network.train()
    learn = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learn, 1e-3, weight_decay=1e-3)
    loss = network(images).square().sum()
    loss.backward()
    optimiser.step()


@pytest.mark.parametrize("mode", ["s", "s+bn", "all"])
def test_each_mode_changes_only_what_it_says(detector, images, mode):
    network = MaskNetClassifier(detector, 2)
    set_mode(network, mode)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    step(network, images)
    changed = {n for n, v in network.state_dict().items() if not torch.equal(v, before[n])}
    assert {"s.0.weight", "s.0.bias", "s.2.weight", "s.2.bias"} <= changed
    of_detector = {name for name in changed if name.startswith("detector.")}
    assert not any("running" in name or "tracked" in name for name in of_detector)
    if mode == "s":
        assert of_detector == set()
    elif mode == "s+bn":
        assert of_detector
        assert all(".bn" in name or ".downsample.1." in name for name in of_detector)
    else:
        assert "detector.backbone.body.conv1.weight" in of_detector
        assert not any(name.startswith("detector.rpn.") for name in of_detector)


def test_it_comes_back_from_disk_and_kinds_are_not_mixed_up(detector, images, tmp_path):
    network = MaskNetClassifier(detector, 2, candidates=32, hidden=16, least_side=2.0).eval()
    recipe = PictureRecipe(64, 0.9)
    write_mask_net(
        tmp_path / "net", "toy", network, SMALL, ("covid", "other"), recipe, {"version": "1"}
    )
    again = read_mask_net(tmp_path / "net")
    assert (again.classes, again.recipe) == (("covid", "other"), recipe)
    assert (again.network.candidates, again.network.least_side) == (32, 2.0)
    with torch.no_grad():
        torch.testing.assert_close(again.network(images), network(images), atol=5e-2, rtol=0)
    with pytest.raises(ModelError, match=r"toy\.json: a model of the network 'mask_net', expected"):
        read_detector(tmp_path / "net")
    write_detector(tmp_path / "d", "eye", detector, SMALL, AxialRecipe(), {"version": "1"})
    with pytest.raises(ModelError, match=r"eye\.json: a model of the network 'mask_rcnn'"):
        read_mask_net(tmp_path / "d")
    with pytest.raises(ValueError, match="2 classes or more"):
        MaskNetClassifier(detector, 1)
