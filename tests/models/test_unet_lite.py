import pytest
import torch
from torch import nn

from napari_covseg.models.fold import fold_batch_norm
from napari_covseg.models.unet_lite import STAGES, InvertedResidual, SameConv2d, UNetLite


def test_logits_have_the_size_of_the_image_and_a_channel_per_class() -> None:
    assert UNetLite().eval()(torch.zeros(2, 1, 64, 96)).shape == (2, 4, 64, 96)


def test_encoder_has_the_parameters_its_stages_imply() -> None:
    total, width = 9 * 32 + 2 * 32, 32
    for blocks, kernel, _, expansion, outputs in STAGES:
        for _ in range(blocks):
            middle = width * expansion
            if expansion != 1:
                total += width * middle + 2 * middle
            total += kernel**2 * middle + 2 * middle + middle * outputs + 2 * outputs
            width = outputs
    assert sum(p.numel() for p in UNetLite().encoder.parameters()) == total


@pytest.mark.parametrize("kernel", [3, 5])
def test_stride_two_is_padded_as_tensorflow_does(kernel: int) -> None:
    """On 8 pixels TensorFlow's windows start at 0 - (kernel - 2) // 2."""
    convolution = SameConv2d(1, 1, kernel, stride=2)
    nn.init.zeros_(convolution.weight)
    convolution.weight.data[0, 0, 0, 0] = 1  # reads the first pixel of its window
    image = torch.arange(1.0, 65).reshape(1, 1, 8, 8)
    before = (kernel - 2) // 2
    expected = nn.functional.pad(image, (before, 0, before, 0))[..., :8:2, :8:2]
    assert torch.equal(convolution(image), expected)


def test_dropped_paths_leave_the_features_and_keep_the_mean() -> None:
    torch.manual_seed(0)
    block = InvertedResidual(8, 8, 3, 1, 6, drop=0.5).train()
    features = torch.randn(400, 8, 4, 4)
    with torch.no_grad():
        change = block(features) - features
        full = block.layers(features)
    dropped = change.abs().amax(dim=(1, 2, 3)) == 0
    assert 0.4 < float(dropped.float().mean()) < 0.6
    assert torch.allclose(change[~dropped], 2 * full[~dropped], atol=1e-5)
    block.eval()
    assert torch.allclose(block(features), features + block.layers(features))


@pytest.mark.parametrize("size", [32, 64])
def test_folding_batch_norm_changes_nothing(size: int) -> None:
    torch.manual_seed(0)
    network = UNetLite()
    network.train()(torch.randn(4, 1, size, size))  # batch statistics that are not 0 and 1
    network.eval()
    image = torch.randn(1, 1, size, 64)
    with torch.no_grad():
        before = network(image)
        after = fold_batch_norm(network)(image)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert torch.allclose(before, after, atol=1e-3)
    assert float(before.std()) > 1e-3


def test_gradient_reaches_every_skip_connection_and_the_fine_branch() -> None:
    network = UNetLite(drop_path=0.0, dropout=0.0).train()
    network(torch.randn(2, 1, 64, 64)).square().mean().backward()
    for weight in (network.fine[0].weight, network.encoder[0][0].weight, network.head.weight):
        assert weight.grad is not None
        assert float(weight.grad.abs().sum()) > 0
    assert len(network._skips) == 4
