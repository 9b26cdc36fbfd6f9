import pytest
import torch

from napari_covseg.models.unet2d import UNet2D


def test_logits_have_the_size_of_the_image_and_a_channel_per_class() -> None:
    network = UNet2D((4, 8, 8), classes=4).eval()
    assert network(torch.zeros(2, 1, 24, 32)).shape == (2, 4, 24, 32)


def test_default_has_the_parameters_its_levels_imply() -> None:
    levels, total, previous = (16, 32, 64, 128, 256, 256), 0, 1
    for width in levels:
        total += 9 * previous * width + 9 * width * width + 4 * width
        previous = width
    for width in reversed(levels[:-1]):
        total += 4 * previous * width + width  # transposed convolution
        total += 9 * 2 * width * width + 9 * width * width + 4 * width
        previous = width
    total += previous * 4 + 4
    assert sum(p.numel() for p in UNet2D(levels).parameters()) == total


@pytest.mark.parametrize("level", range(3))
def test_gradient_reaches_every_skip_connection(level: int) -> None:
    network = UNet2D((4, 8, 8)).train()
    network(torch.randn(2, 1, 16, 16)).square().mean().backward()
    weight = network.encoder[level][0].weight
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0


def test_the_receptive_field_covers_more_than_a_lung() -> None:
    network = UNet2D().eval()
    image = torch.randn(1, 1, 192, 224, requires_grad=True)
    network(image)[0, 1, 96, 112].backward()
    assert image.grad is not None
    rows = image.grad[0, 0].abs().sum(dim=1).nonzero()
    assert int(rows.max() - rows.min()) >= 140  # pixels of 1.35 mm
