import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_covseg.models.networks import build
from napari_covseg.models.qchc_unet3d import QCHCUNet3D, Quick, QuickDecoder, QuickEncoder
from napari_covseg.models.unet3d import UNet3D

LEVELS = (32, 64, 128, 256, 512)
SMALL = (3, 5, 9)


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _with_statistics(network: nn.Module, *size: int) -> nn.Module:
    """In evaluation mode, with batch statistics that are not 0 and 1."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    network.train()(torch.randn(2, *size))
    return network.eval()


def _silence(part: nn.Sequential) -> None:
    """Make a Conv-BN give 0."""
    nn.init.zeros_(part[1].weight)
    nn.init.zeros_(part[1].bias)


def _parameters(levels: tuple[int, ...], classes: int) -> int:
    """By the definition: an encoder level convolves to what its input lacks."""

    def quick(inputs: int, outputs: int) -> int:
        return 27 * inputs * outputs + 27 * outputs * outputs + 2 * 2 * outputs

    total, previous = 0, 1
    for width in levels:
        total += quick(previous, width - previous)
        previous = width
    for width in reversed(levels[:-1]):
        total += 8 * previous * width + width
        total += quick(2 * width, width) + 2 * width * width + 2 * width
        total += width * classes + classes
        previous = width
    return total


def test_the_default_has_the_parameters_of_the_definition_fewer_than_the_plain_network() -> None:
    with torch.device("meta"):
        network, plain = QCHCUNet3D(), UNet3D()
    assert _count(network) == _parameters(LEVELS, 4) == 13_351_244
    assert _count(network) < _count(plain)
    assert _count(QCHCUNet3D(SMALL, classes=3)) == _parameters(SMALL, 3)


def test_with_both_switched_off_it_is_the_plain_network() -> None:
    plain = _with_statistics(UNet3D(SMALL), 1, 8, 8, 12)
    network = QCHCUNet3D(SMALL, quick=False, hypercolumns=False).eval()
    weights = {key.replace("head.", "heads.0."): v for key, v in plain.state_dict().items()}
    network.load_state_dict(weights)
    image = torch.randn(1, 1, 8, 12, 8)
    assert torch.equal(network(image), plain(image))


def test_each_switch_takes_away_its_own_parts_only() -> None:
    quick = QCHCUNet3D(SMALL, hypercolumns=False)
    columns = QCHCUNet3D(SMALL, quick=False)
    assert [type(b) for b in quick.encoder] == [QuickEncoder] * 3
    assert [type(b) for b in quick.decoder] == [QuickDecoder] * 2
    assert len(quick.heads) == 1
    assert not any(isinstance(m, Quick) for m in columns.modules())
    assert len(columns.heads) == 2
    counts = {_count(QCHCUNet3D(SMALL, quick=q, hypercolumns=h)) for q in (0, 1) for h in (0, 1)}
    assert len(counts) == 4


def test_feature_maps_go_from_32_to_512_and_back() -> None:
    network = QCHCUNet3D()
    widths: list[tuple[int, int]] = []
    for block in (*network.encoder, *network.decoder):
        block.register_forward_hook(
            lambda _, given, output: widths.append((given[0].shape[1], output.shape[1]))
        )
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 1, 16, 16, 16))
    down = [(1, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
    assert widths == [*down, (512, 256), (256, 128), (128, 64), (64, 32)]


def test_the_first_conv_bn_is_added_to_the_last_one() -> None:
    block = _with_statistics(Quick(3, 4), 3, 4, 4, 4)
    assert isinstance(block, Quick)
    features = torch.randn(1, 3, 4, 4, 4)
    first = block.first(features)
    assert torch.equal(block(features), first + block.last(F.relu(first)))
    assert not torch.allclose(block(features), first)
    _silence(block.last)
    assert torch.equal(block(features), first)


def test_the_encoder_concatenates_a_levels_input_to_its_output() -> None:
    block = _with_statistics(QuickEncoder(3, 8), 3, 4, 4, 4)
    assert isinstance(block, QuickEncoder)
    features = torch.randn(1, 3, 4, 4, 4)
    output = block(features)
    assert torch.equal(output[:, :3], features)
    assert torch.equal(output[:, 3:], F.relu(block.quick(features)))
    assert float(output[:, 3:].detach().std()) > 0


def test_the_decoder_adds_a_levels_input_through_1x1x1_and_bn() -> None:
    block = _with_statistics(QuickDecoder(6, 3), 6, 4, 4, 4)
    assert isinstance(block, QuickDecoder)
    assert block.cascade[0].kernel_size == (1, 1, 1)
    assert isinstance(block.cascade[1], nn.BatchNorm3d)
    features = torch.randn(1, 6, 4, 4, 4)
    quick, cascade = block.quick(features), block.cascade(features)
    assert torch.equal(block(features), F.relu(quick + cascade))
    _silence(block.cascade)
    assert torch.equal(block(features), F.relu(quick))
    assert not torch.allclose(F.relu(quick), F.relu(quick + cascade))


@pytest.mark.parametrize("level", range(3))
def test_the_first_convolution_learns_although_the_second_ones_gradient_is_zero(level: int) -> None:
    network = QCHCUNet3D(SMALL)
    quick = network.encoder[level].quick
    _silence(quick.last)
    for parameter in quick.last.parameters():
        parameter.requires_grad_(False)
    network.train()(torch.randn(2, 1, 8, 8, 8)).square().mean().backward()
    gradient = quick.first[0].weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def _columns(network: QCHCUNet3D, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits, and what each level of the decoder gave, coarsest first."""
    features: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _, given, output: features.append(output))
        for block in network.decoder
    ]
    logits = network(image)
    for hook in hooks:
        hook.remove()
    return logits, features


def test_hypercolumns_sum_every_levels_scores_at_full_size() -> None:
    network = _with_statistics(QCHCUNet3D((3, 5, 9, 17)), 1, 16, 16, 16)
    assert isinstance(network, QCHCUNet3D)
    logits, features = _columns(network, torch.randn(1, 1, 16, 8, 16))
    assert [tuple(f.shape[1:]) for f in features] == [(9, 4, 2, 4), (5, 8, 4, 8), (3, 16, 8, 16)]
    # By the paper: every map is enlarged first, then classified.
    enlarged = [F.interpolate(f, (16, 8, 16), mode="trilinear") for f in features]
    scores = [head(f) for head, f in zip(network.heads, enlarged, strict=True)]
    assert torch.allclose(logits, sum(scores, torch.zeros(())), atol=1e-5)
    assert all(float(score.detach().std()) > 1e-3 for score in scores)


@pytest.mark.parametrize("level", range(2))
def test_each_hypercolumn_has_a_classifier_of_its_own(level: int) -> None:
    network = _with_statistics(QCHCUNet3D(SMALL), 1, 8, 8, 8)
    assert isinstance(network, QCHCUNet3D)
    image = torch.randn(1, 1, 8, 8, 8)
    before = network(image)
    nn.init.zeros_(network.heads[level].weight)
    assert not torch.allclose(network(image), before, atol=1e-3)


@pytest.mark.parametrize("size", [(4, 8, 12), (20, 4, 4)])
def test_logits_have_the_size_of_the_image(size: tuple[int, ...]) -> None:
    assert QCHCUNet3D(SMALL).eval()(torch.zeros(2, 1, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize("size", [(4, 4, 6), (2, 4, 4), (5, 4, 4)])
def test_other_sizes_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        QCHCUNet3D(SMALL).eval()(torch.zeros(1, 1, *size))


@pytest.mark.parametrize("channels", [(), (4,), (0, 4), (4, 4), (8, 4), (1, 4)])
def test_levels_that_cannot_be_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="feature maps"):
        QCHCUNet3D(channels)


def test_without_quick_connections_levels_need_not_grow() -> None:
    network = build("qchc_unet3d", channels=[4, 4], quick=False)
    assert network.eval()(torch.zeros(1, 1, 2, 4, 6)).shape == (1, 4, 2, 4, 6)
