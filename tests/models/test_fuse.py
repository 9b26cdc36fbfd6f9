import copy

import pytest
import torch
from torch import nn

from napari_covseg.models import fuse
from napari_covseg.models.fuse import FusedConv, fuse_activations
from napari_covseg.models.unet_lite import SameConv2d


def _layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.Identity(), nn.ReLU6(True), SameConv2d(8, 8, 5, 2, 8)
    ).eval()


def test_relu6_cuts_at_6_and_an_even_size_is_padded_as_before() -> None:
    plain = _layers()
    fused = fuse_activations(copy.deepcopy(plain), torch.float32)
    assert isinstance(fused, nn.Sequential)
    image = torch.randn(1, 1, 16, 12) * 40
    with torch.inference_mode():
        assert float(plain[:3](image).max()) == 6.0
        torch.testing.assert_close(fused[:3](image), plain[:3](image))
        torch.testing.assert_close(fused(image), plain(image))
    assert isinstance(fused[2], nn.Identity)


def test_a_convolution_that_is_not_plain_stays() -> None:
    mirrored = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU())
    same = nn.Sequential(nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU())
    for layers in (mirrored, same):
        assert not any(
            isinstance(m, FusedConv) for m in fuse_activations(layers, torch.float32).modules()
        )


def test_where_the_operators_are_missing_the_network_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def __getattr__(self, name: str) -> object:
            raise AttributeError(name)

    fuse._is_there.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", Gone())
    try:
        layers = fuse_activations(_layers(), torch.float32)
    finally:
        fuse._is_there.cache_clear()
    assert not any(isinstance(m, FusedConv) for m in layers.modules())


def test_a_torch_that_lays_out_no_weights_of_volumes_fuses_those_of_slices_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Flat:
        _convolution_pointwise = torch.ops.mkldnn._convolution_pointwise
        lay_out = torch.ops.mkldnn._reorder_convolution_weight

        def _reorder_convolution_weight(self, weight: torch.Tensor, *rest: object) -> torch.Tensor:
            if weight.dim() != 4:
                raise ValueError("4 dimensions expected")
            laid_out: torch.Tensor = self.lay_out(weight, *rest)
            return laid_out

    fuse._is_there.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", Flat())
    try:
        slices = fuse_activations(_layers(), torch.float32)
        volumes = fuse_activations(nn.Sequential(nn.Conv3d(1, 4, 3)), torch.float32)
    finally:
        fuse._is_there.cache_clear()
    assert any(isinstance(m, FusedConv) for m in slices.modules())
    assert not any(isinstance(m, FusedConv) for m in volumes.modules())


def test_a_block_with_a_way_of_its_own_keeps_its_activation() -> None:
    class Both(nn.Sequential):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            before = self[0](image)
            return torch.cat((before, self[1](before)), dim=1)

    torch.manual_seed(0)
    plain = Both(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()).eval()
    image = torch.randn(1, 1, 8, 8)
    with torch.inference_mode():
        expected = plain(image)
        assert float(expected[:, :4].min()) < 0
        torch.testing.assert_close(fuse_activations(plain, torch.float32)(image), expected)


def test_looking_whether_they_are_there_draws_no_random_numbers() -> None:
    fuse._is_there.cache_clear()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert fuse._is_there(torch.float32, 2)
    assert fuse._is_there(torch.float32, 3)
    torch.testing.assert_close(torch.rand(3), expected)
