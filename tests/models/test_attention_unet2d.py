import pytest
import torch
from torch import Tensor, nn

from napari_covseg.models.attention_unet2d import AttentionGate, AttentionUNet2D


def _small(blocks: int = 3, attention: bool = True, **more: object) -> AttentionUNet2D:
    torch.manual_seed(0)
    return AttentionUNet2D(blocks, 3, 9, attention, **more)  # type: ignore[arg-type]


def _parameters(blocks: int, attention: bool) -> int:
    """By the definition; batch normalisation has two of each feature map."""
    widths = [min(64 * 2**block, 512) for block in range(blocks)]
    total, previous = 0, 1
    for width in widths:
        total += 9 * previous * width + width + 2 * width
        previous = width
    for width in reversed(widths):
        total += 4 * previous * width + 2 * (2 * width) + 9 * 2 * width * width + width
        if attention:
            half = width // 2
            total += width * half + (width * half + half) + (half + 1)
        previous = width
    return total + previous * 4 + 4


@pytest.mark.parametrize(
    ("blocks", "attention", "count"),
    [(4, True, 9_909_512), (4, False, 9_560_388), (6, True, 26_695_946), (6, False, 25_821_508)],
)
def test_it_has_the_parameters_of_the_definition(blocks: int, attention: bool, count: int) -> None:
    with torch.device("meta"):
        network = AttentionUNet2D(blocks, attention=attention)
    found = sum(p.numel() for p in network.parameters())
    assert found == _parameters(blocks, attention) == count


@pytest.mark.parametrize("blocks", [4, 6])
def test_layers_follow_one_another_as_the_report_lists_them(blocks: int) -> None:
    network = _small(blocks).eval()
    seen: list[type[nn.Module]] = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, given, output: seen.append(type(m)))
    with torch.inference_mode():
        network(torch.zeros(1, 1, 64, 64))
    gate = [nn.Conv2d, nn.Conv2d, nn.ReLU, nn.Conv2d, nn.Sigmoid]
    down = [nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.BatchNorm2d, nn.Dropout]
    up = [nn.ConvTranspose2d, *gate, nn.BatchNorm2d, nn.Conv2d, nn.ReLU]
    assert seen == down * blocks + up * blocks + [nn.Conv2d]


def test_filters_are_3x3_with_unit_strides() -> None:
    network = _small()
    for block in network.encoder:
        assert block.convolve[0].kernel_size == (3, 3)
        assert block.convolve[0].stride == (1, 1)
    for block in network.decoder:
        assert block.convolve[1].kernel_size == (3, 3)


def test_each_skip_connection_leaves_before_the_pooling() -> None:
    network = _small().eval()
    sizes: list[tuple[int, ...]] = []
    for block in network.decoder:
        assert block.gate is not None
        block.gate.register_forward_hook(
            lambda _, given, output: sizes.append((*given[0].shape[1:], *given[1].shape[1:]))
        )
    network(torch.zeros(1, 1, 32, 48))
    assert sizes == [(9, 8, 12) * 2, (6, 16, 24) * 2, (3, 32, 48) * 2]


def _open_gates(network: AttentionUNet2D, bias: float) -> None:
    for module in network.modules():
        if isinstance(module, AttentionGate):
            nn.init.zeros_(module.weigh[1].weight)
            nn.init.constant_(module.weigh[1].bias, bias)


def _without_gates(network: AttentionUNet2D) -> AttentionUNet2D:
    """The same weights, attention switched off."""
    plain = _small(attention=False).eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if ".gate." not in k})
    return plain


def test_open_gates_are_no_gates_and_others_are_not() -> None:
    network = _small().eval()
    plain = _without_gates(network)
    image = torch.randn(1, 1, 16, 16)
    assert not torch.allclose(network(image), plain(image), atol=1e-3)
    _open_gates(network, 100)
    assert torch.allclose(network(image), plain(image), atol=1e-6)


def test_closed_gates_let_nothing_of_the_encoder_through() -> None:
    network = _small().eval()
    _open_gates(network, -200)
    image = torch.randn(1, 1, 16, 16)
    closed = network(image)
    plain = _without_gates(network)

    def drop(module: nn.Module, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return given[0], torch.zeros_like(given[1])

    for block in plain.decoder:
        block.register_forward_pre_hook(drop)
    assert torch.allclose(closed, plain(image), atol=1e-6)
    assert not torch.allclose(closed, _without_gates(network)(image), atol=1e-3)


def test_a_gate_weighs_pixels_alike_in_all_maps_by_what_both_sides_say() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(5)
    skipped, decoded = torch.randn(2, 5, 6, 7), torch.randn(2, 5, 6, 7)
    weight = (gate(skipped, decoded) / skipped).detach()
    assert torch.allclose(weight, weight[:, :1].expand_as(weight), atol=1e-5)
    assert float(weight.min()) > 0
    assert float(weight.max()) < 1
    # A change on one side at one pixel changes that pixel's weight and no other's.
    other = decoded.clone()
    other[0, :, 2, 3] += 3
    change = (gate(skipped, other) - gate(skipped, decoded)).abs().amax(dim=1)
    assert change.nonzero().tolist() == [[0, 2, 3]]


@pytest.mark.parametrize("size", [(16, 24), (17, 23), (50, 31), (1, 1)])
def test_any_size_is_taken(size: tuple[int, int]) -> None:
    assert _small(4).eval()(torch.randn(1, 1, *size)).shape == (1, 4, *size)


def test_multiples_of_a_patch_suit_six_blocks() -> None:
    """96 halves to 3 and then to 2: what is cropped on the way up is no more than that."""
    network = _small(6).eval()
    torch.manual_seed(1)
    image = torch.randn(1, 1, 96, 96)
    assert network(image).shape == (1, 4, 96, 96)
    assert bool(network(image).isfinite().all())


def test_dropout_is_for_training_only() -> None:
    network = _small(dropout=0.5)
    image = torch.randn(2, 1, 16, 16)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))
    without = _small(dropout=0.0).train()
    assert torch.equal(without(image), without(image))


@pytest.mark.parametrize("arguments", [{"blocks": 0}, {"width": 0}, {"widest": -1}])
def test_sizes_that_cannot_be_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="one or more blocks"):
        AttentionUNet2D(**arguments)  # type: ignore[arg-type]
