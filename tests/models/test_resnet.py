import pytest
import torch
from torch import nn
from torch.nn import functional as F

from napari_covseg.models.resnet import Bottle2neck, Bottleneck, ResNetEncoder

CLASSIFIER = 2048 * 1000 + 1000
PUBLISHED = {"resnet50": 25_557_032, "res2net50": 25_718_352}
"""Parameters with the classifier."""


@pytest.mark.parametrize("kind", PUBLISHED)
def test_encoders_have_the_published_parameters(kind: str) -> None:
    with torch.device("meta"):
        encoder = ResNetEncoder(kind, inputs=3)
    assert sum(p.numel() for p in encoder.parameters()) + CLASSIFIER == PUBLISHED[kind]


@pytest.mark.parametrize("kind", PUBLISHED)
def test_features_are_those_of_four_sizes(kind: str) -> None:
    encoder = ResNetEncoder(kind, width=8).eval()
    with torch.inference_mode():
        features = encoder(torch.zeros(1, 1, 64, 96))
    shapes = [tuple(f.shape[1:]) for f in features]
    assert shapes == [(32, 16, 24), (64, 8, 12), (128, 4, 6), (256, 2, 3)]
    assert tuple(shape[0] for shape in shapes) == encoder.widths


def test_published_names_are_those_of_the_files() -> None:
    with torch.device("meta"):
        names = [name for name, _ in ResNetEncoder("res2net50").published()]
        plain = [name for name, _ in ResNetEncoder("resnet50").published()]
    assert names[:6] == ["conv1.0", "conv1.1", "conv1.3", "conv1.4", "conv1.6", "bn1"]
    assert {"layer1.0.convs.2", "layer1.0.bns.0", "layer4.2.bn3", "layer2.0.downsample.1"} <= set(
        names
    )
    assert plain[:2] == ["conv1", "bn1"]
    assert {"layer1.0.conv2", "layer2.0.downsample.0", "layer3.5.bn3"} <= set(plain)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_every_weight_has_a_published_name(kind: str) -> None:
    with torch.device("meta"):
        encoder = ResNetEncoder(kind)
    published = {id(p) for _, module in encoder.published() for p in module.parameters()}
    assert published == {id(p) for p in encoder.parameters()}


def test_groups_are_filtered_in_a_chain() -> None:
    torch.manual_seed(0)
    block = Bottle2neck(32, 8, 1, first=False).eval()
    features = torch.randn(1, 32, 6, 6)
    one, two, three, rest = block.reduce(features).chunk(4, dim=1)
    a = block.filters[0](one)
    b = block.filters[1](two + a)
    c = block.filters[2](three + b)
    expected = F.relu(block.expand(torch.cat([a, b, c, rest], dim=1)) + features)
    assert torch.allclose(block(features), expected, atol=1e-6)


def test_the_first_block_of_a_level_filters_groups_apart_and_averages_the_rest() -> None:
    torch.manual_seed(0)
    block = Bottle2neck(16, 8, 2, first=True).eval()
    features = torch.randn(1, 16, 6, 6)
    groups = block.reduce(features).chunk(4, dim=1)
    parts = [f(g) for f, g in zip(block.filters, groups[:3], strict=True)]
    parts.append(F.avg_pool2d(groups[3], 3, 2, 1))
    shortcut = F.avg_pool2d(features, 2)
    for layer in list(block.shortcut.children())[1:]:
        shortcut = layer(shortcut)
    expected = F.relu(block.expand(torch.cat(parts, dim=1)) + shortcut)
    assert block(features).shape == (1, 32, 3, 3)
    assert torch.allclose(block(features), expected, atol=1e-6)


def test_a_bottleneck_without_its_change_is_its_shortcut() -> None:
    block = Bottleneck(32, 8, 1).eval()
    features = torch.randn(1, 32, 4, 4)
    assert not torch.allclose(block(features), F.relu(features))
    nn.init.zeros_(block.expand[1].weight)
    assert torch.equal(block(features), F.relu(features))
    assert isinstance(Bottleneck(32, 8, 2).shortcut, nn.Sequential)
    assert isinstance(Bottleneck(16, 8, 1).shortcut, nn.Sequential)


def test_others_are_refused() -> None:
    with pytest.raises(ValueError, match=r"encoder 'vgg16' is not one of res2net50, resnet50"):
        ResNetEncoder("vgg16")
    with pytest.raises(ValueError, match="4 or more feature maps"):
        ResNetEncoder(width=2)
