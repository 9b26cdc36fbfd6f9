import math

import pytest
import torch
from torch import nn

from napari_covseg.models.efficientnet import (
    SCALES,
    STAGES,
    EfficientNetEncoder,
    MBConv,
    SqueezeExcite,
    scaled_width,
)
from napari_covseg.models.efficientnet_unet2d import EfficientNetUNet2D

PUBLISHED = {
    # Parameters with the classifier of 1000 classes, and the feature maps before it.
    "b0": (5_288_548, 320),
    "b1": (7_794_184, 320),
    "b2": (9_109_994, 352),
    "b3": (12_233_232, 384),
    "b4": (19_341_616, 448),
    "b5": (30_389_784, 512),
    "b6": (43_040_704, 576),
    "b7": (66_347_960, 640),
}
TINY = (4, 4, 4, 4, 4)


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("variant", SCALES)
def test_every_variant_has_the_published_parameters(variant: str) -> None:
    with torch.device("meta"):
        encoder = EfficientNetEncoder(variant, inputs=3)
    total, width = PUBLISHED[variant]
    assert encoder.widths[-1] == width
    last = 4 * width  # feature maps of the last convolution, which a segmentation leaves out
    classifier = width * last + 2 * last + 1000 * last + 1000
    assert _count(encoder) + classifier == total


def test_widths_are_rounded_to_8_and_not_below_90_percent() -> None:
    assert [scaled_width(w, 1.0) for w in (16, 24, 32)] == [16, 24, 32]
    assert scaled_width(16, 1.1) == 16  # 17.6
    assert scaled_width(24, 1.2) == 32  # 28.8: half way goes up
    assert scaled_width(10, 1.1) == 16  # 8 would be below 90 % of 11
    assert scaled_width(1, 1.0) == 8


@pytest.mark.parametrize(("variant", "blocks"), [("b0", 16), ("b3", 26), ("b7", 55)])
def test_deeper_variants_repeat_more_blocks(variant: str, blocks: int) -> None:
    with torch.device("meta"):
        encoder = EfficientNetEncoder(variant)
    assert sum(isinstance(m, MBConv) for m in encoder.modules()) == blocks
    assert blocks == sum(math.ceil(n * SCALES[variant][1]) for n, *_ in STAGES)


def test_features_are_those_of_five_sizes() -> None:
    encoder = EfficientNetEncoder("b0").eval()
    with torch.inference_mode():
        features = encoder(torch.zeros(1, 1, 64, 96))
    shapes = [tuple(f.shape[1:]) for f in features]
    assert shapes == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]


def test_a_squeezed_map_is_weighed_by_one_number() -> None:
    torch.manual_seed(0)
    part = SqueezeExcite(6, 2)
    features = torch.randn(2, 6, 5, 4)
    weight = (part(features) / features).detach()
    assert torch.allclose(weight, weight[..., :1, :1].expand_as(weight), atol=1e-5)
    assert float(weight.min()) > 0
    assert float(weight.max()) < 1
    assert float(weight.std()) > 1e-3
    # The same values in other places are the same to it.
    moved = features.flip((-1, -2))
    assert torch.allclose(part(moved), part(features).flip((-1, -2)), atol=1e-6)


def test_dropped_paths_keep_the_mean_and_are_for_training_only() -> None:
    torch.manual_seed(0)
    block = MBConv(8, 8, 3, 1, 6, drop=0.5)
    features = torch.randn(400, 8, 4, 4)
    with torch.no_grad():
        change = block.train()(features) - features
        full = block.layers(features)
        dropped = change.abs().amax(dim=(1, 2, 3)) == 0
        assert 0.4 < float(dropped.float().mean()) < 0.6
        assert torch.allclose(change[~dropped], 2 * full[~dropped], atol=1e-5)
        block.eval()
        assert torch.allclose(block(features), features + block.layers(features))


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_encoder_keeps_weights_and_statistics(frozen: bool) -> None:
    torch.manual_seed(0)
    network = EfficientNetUNet2D(frozen=frozen, decoder=TINY, drop_path=0.0)
    before = {key: value.clone() for key, value in network.encoder.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    network.train()(torch.randn(2, 1, 32, 64)).square().mean().backward()
    optimiser.step()
    after = network.encoder.state_dict()
    same = [torch.equal(value, after[key]) for key, value in before.items()]
    assert all(same) == frozen
    if not frozen:
        moved = [key for key, alike in zip(before, same, strict=True) if not alike]
        assert "stem.1.running_mean" in moved
        assert "stem.0.weight" in moved
    assert all(p.grad is not None for p in network.decoder.parameters())


def test_a_frozen_encoder_stays_frozen_in_whatever_mode_the_network_is() -> None:
    network = EfficientNetUNet2D(frozen=True, decoder=TINY)
    assert network.training
    assert not any(m.training for m in network.encoder.modules())
    assert network.eval().train() is network
    assert network.decoder.training
    assert not any(m.training for m in network.encoder.modules())
    assert EfficientNetUNet2D(decoder=TINY).encoder.training


@pytest.mark.parametrize("level", range(5))
def test_features_of_every_size_reach_the_output(level: int) -> None:
    torch.manual_seed(0)
    network = EfficientNetUNet2D(decoder=TINY).train()
    sizes = [(w, 32 // 2**k, 32 // 2**k) for k, w in enumerate(network.encoder.widths)]
    features = [torch.randn(2, *size) for size in sizes]
    network.encoder.forward = lambda image: features  # type: ignore[method-assign]
    image = torch.zeros(2, 1, 64, 64)
    with torch.no_grad():
        before = network(image)
        assert torch.equal(network(image), before)
        features[level] = torch.randn(2, *sizes[level])
        assert not torch.allclose(network(image), before, atol=1e-2)


def test_variants_make_different_networks_of_the_same_contract() -> None:
    with torch.device("meta"):
        counts = {_count(EfficientNetUNet2D(variant)) for variant in ("b0", "b1", "b2")}
    assert len(counts) == 3
    network = EfficientNetUNet2D("b1", decoder=TINY).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 32, 64)).shape == (2, 4, 32, 64)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"variant 'b8' is not one of b0, .*, b7"):
        EfficientNetUNet2D("b8")
    for decoder in ((8, 8), (4, 4, 4, 4, 0)):
        with pytest.raises(ValueError, match="5 levels of the decoder"):
            EfficientNetUNet2D(decoder=decoder)
    with pytest.raises(ValueError, match="multiples of 32, got"):
        EfficientNetUNet2D(decoder=TINY).eval()(torch.zeros(1, 1, 32, 48))
