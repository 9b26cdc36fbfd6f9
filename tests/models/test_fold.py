import copy

import pytest
import torch
from torch import nn

from napari_covseg.models.fold import fold_batch_norm
from napari_covseg.models.unet2d import UNet2D
from napari_covseg.models.unet3d import UNet3D


@pytest.mark.parametrize(
    ("network", "size"), [(UNet2D((4, 8, 8)), (16, 24)), (UNet3D((4, 8, 8)), (8, 16, 24))]
)
def test_folding_changes_no_output_and_leaves_no_normalisation(
    network: nn.Module, size: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    network.train()
    for _ in range(3):
        network(torch.randn(4, 1, *size) * 2 + 1)  # statistics that are not the initial ones
    network.eval()
    folded = fold_batch_norm(copy.deepcopy(network))
    image = torch.randn(2, 1, *size)
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), network(image), atol=1e-4, rtol=1e-4)
    assert any(isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)) for m in network.modules())
    assert not any(isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)) for m in folded.modules())
