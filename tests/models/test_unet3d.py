import pytest
import torch
from torch import nn

from napari_covseg.models.networks import build
from napari_covseg.models.unet3d import UNet3D

LEVELS = (32, 64, 128, 256, 512)


def _parameters(levels: tuple[int, ...], classes: int) -> int:
    """By the definition: 3x3x3 twice a level, batch normalisation for each, 2x2x2 up, 1x1x1."""

    def twice(inputs: int, outputs: int) -> int:
        return 27 * inputs * outputs + 27 * outputs * outputs + 2 * 2 * outputs

    total, previous = 0, 1
    for width in levels:
        total += twice(previous, width)
        previous = width
    for width in reversed(levels[:-1]):
        total += 8 * previous * width + width
        total += twice(2 * width, width)
        previous = width
    return total + previous * classes + classes


def test_the_default_has_the_parameters_of_the_definition() -> None:
    count = sum(p.numel() for p in UNet3D().parameters())
    assert count == _parameters(LEVELS, 4) == 22_578_372
    assert sum(p.numel() for p in UNet3D((4, 8), classes=3).parameters()) == _parameters((4, 8), 3)


def test_layers_follow_one_another_as_defined() -> None:
    """Those with a size, in the order in which they run: (type, kernel, stride, in, out)."""
    network = UNet3D().eval()
    seen: list[tuple[object, ...]] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, nn.MaxPool3d):
            kernel, stride = (module.kernel_size,) * 3, (module.stride,) * 3
        else:
            kernel, stride = module.kernel_size, module.stride
        seen.append((type(module), kernel, stride, inputs[0].shape[1], output.shape[1]))

    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d | nn.MaxPool3d):
            module.register_forward_hook(note)
    with torch.inference_mode():
        network(torch.zeros(1, 1, 16, 16, 16))

    one, two, three = (1,) * 3, (2,) * 3, (3,) * 3
    expected: list[tuple[object, ...]] = []
    previous = 1
    for level, width in enumerate(LEVELS):
        if level:
            expected.append((nn.MaxPool3d, two, two, previous, previous))
        expected.append((nn.Conv3d, three, one, previous, width))
        expected.append((nn.Conv3d, three, one, width, width))
        previous = width
    for width in (256, 128, 64, 32):
        expected.append((nn.ConvTranspose3d, two, two, 2 * width, width))
        expected.append((nn.Conv3d, three, one, 2 * width, width))
        expected.append((nn.Conv3d, three, one, width, width))
    expected.append((nn.Conv3d, one, one, 32, 4))
    assert seen == expected


def test_every_3x3x3_convolution_is_normalised_then_rectified() -> None:
    network = UNet3D((4, 8, 16))
    convolutions = 0
    for block in (*network.encoder, *network.decoder):
        types = [type(m) for m in block]
        assert types == [nn.Conv3d, nn.BatchNorm3d, nn.ReLU] * 2
        convolutions += 2
    # No other convolution but those up and the head, no other normalisation.
    assert sum(isinstance(m, nn.Conv3d) for m in network.modules()) == convolutions + 1
    assert sum(isinstance(m, nn.BatchNorm3d) for m in network.modules()) == convolutions
    assert sum(isinstance(m, nn.ConvTranspose3d) for m in network.modules()) == 2


@pytest.mark.parametrize("size", [(16, 16, 16), (16, 48, 80), (48, 16, 32)])
def test_logits_have_the_size_of_the_image_for_odd_multiples_of_16(size: tuple[int, ...]) -> None:
    network = UNet3D((2, 2, 4, 4, 4)).eval()
    assert network(torch.zeros(2, 1, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize("size", [(16, 16, 24), (8, 16, 16), (17, 16, 16)])
def test_other_sizes_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        UNet3D((2, 2, 4, 4, 4)).eval()(torch.zeros(1, 1, *size))


def test_fewer_levels_take_smaller_multiples() -> None:
    assert UNet3D((4,))(torch.zeros(1, 1, 3, 5, 7)).shape == (1, 4, 3, 5, 7)
    assert UNet3D((4, 8))(torch.zeros(1, 1, 2, 6, 10)).shape == (1, 4, 2, 6, 10)


def test_with_zero_weights_the_answer_is_the_heads_bias_everywhere() -> None:
    network = UNet3D((2, 4, 4)).eval()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    bias = torch.tensor([0.5, -1.0, 2.0, 3.0])
    with torch.no_grad():
        network.head.bias.copy_(bias)
    image = torch.randn(1, 1, 8, 8, 12)
    assert torch.equal(network(image), bias.view(1, 4, 1, 1, 1).expand(1, 4, 8, 8, 12))


def test_a_voxel_sees_as_far_as_the_definition_says() -> None:
    """Each 3x3x3 at level k reaches 2**k voxels further, on each side.

    There are four at the levels 0 and 1 (down and up) and two at level 2, the lowest.
    """
    torch.manual_seed(0)
    network = UNet3D((2, 2, 2)).eval()
    image = torch.randn(1, 1, 4, 4, 128, dtype=torch.float64, requires_grad=True)
    network.double()
    network(image)[0, :, 2, 2, 64].sum().backward()
    assert image.grad is not None
    columns = image.grad[0, 0].abs().amax(dim=(0, 1)).nonzero()
    reach = max(64 - int(columns.min()), int(columns.max()) - 64)
    convolutions = 4 * 1 + 4 * 2 + 2 * 4  # voxels on each side
    assert convolutions <= reach <= convolutions + 3  # +3: the block of 4 that pooling joins


@pytest.mark.parametrize("level", range(3))
def test_gradient_reaches_every_skip_connection(level: int) -> None:
    torch.manual_seed(0)
    network = UNet3D((4, 8, 8)).train()
    network(torch.randn(2, 1, 8, 8, 8)).square().mean().backward()
    weight = network.encoder[level][0].weight
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0


def test_it_is_built_by_name_with_channels_from_a_card() -> None:
    network = build("unet3d", channels=[4, 8])
    assert isinstance(network, UNet3D)
    assert [block[0].out_channels for block in network.encoder] == [4, 8]
