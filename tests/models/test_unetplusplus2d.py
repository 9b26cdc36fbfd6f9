import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch import nn

from napari_covseg.models.unetplusplus2d import UNetPlusPlus2D

CHANNELS = (4, 4, 8, 16, 32)
"""MONAI's network halves the maps on the way up, but for the finest level."""


def _monai() -> nn.Module:
    return BasicUNetPlusPlus(2, 1, 4, (*CHANNELS, CHANNELS[0]), act="relu", norm="batch")


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _copied(ours: UNetPlusPlus2D, theirs: nn.Module) -> None:
    """Their weights by the names of the nodes."""
    pairs = [(ours.head, theirs.final_conv_0_4)]
    for level, block in enumerate(ours.encoder):
        node = getattr(theirs, f"conv_{level}_0")
        pairs.append((block, node if level == 0 else node.convs))
    for name, block in ours.nodes.items():
        node = getattr(theirs, f"upcat_{name}")
        pairs += [(ours.upsample[name], node.upsample), (block, node.convs)]
    for mine, other in pairs:
        wanted = [*other.parameters(), *other.buffers()]
        for one, value in zip([*mine.parameters(), *mine.buffers()], wanted, strict=True):
            one.data.copy_(value)


def test_with_equal_weights_it_gives_what_monais_gives() -> None:
    torch.manual_seed(0)
    ours, theirs = UNetPlusPlus2D(CHANNELS), _monai()
    unused = [p for i in (1, 2, 3) for p in getattr(theirs, f"final_conv_0_{i}").parameters()]
    assert _count(ours) == _count(theirs) - sum(p.numel() for p in unused)
    image = torch.randn(2, 1, 32, 48)
    assert not torch.allclose(ours(image), theirs(image)[0], atol=1e-3)
    _copied(ours, theirs)
    torch.testing.assert_close(ours(image), theirs(image)[0])


def test_the_widths_of_the_paper_make_its_parameters() -> None:
    """Zhou et al. count 9.04 M, of one class and three colours."""
    assert _count(UNetPlusPlus2D()) == 9_048_996
    assert round(_count(UNetPlusPlus2D(classes=1, inputs=3)) / 1e6, 2) == 9.05


def test_without_a_nested_node_the_output_is_another() -> None:
    """Every node is used, the outermost skip connections too."""
    torch.manual_seed(0)
    network = UNetPlusPlus2D((3, 5, 7)).eval()
    image = torch.randn(1, 1, 16, 16)
    before = network(image)
    for node in network.nodes.values():
        kept = node[0].weight.clone()
        node[0].weight.data.zero_()
        assert not torch.allclose(network(image), before)
        node[0].weight.data.copy_(kept)


@pytest.mark.parametrize("channels", [(), (8,), (8, 0)])
def test_levels_that_cannot_be_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="feature maps of two or more levels"):
        UNetPlusPlus2D(channels)


def test_sizes_that_do_not_halve_are_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of 4, got \(16, 18\)"):
        UNetPlusPlus2D((3, 5, 7))(torch.zeros(1, 1, 16, 18))
