import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_covseg.models.infnet2d import (
    InfNet2D,
    PartialDecoder,
    ReceptiveField,
    ReverseAttention,
    infection,
)
from napari_covseg.models.outputs import DeepOutputs, InfNetOutputs


def _small(classes: int = 4, encoder: str = "res2net50") -> InfNet2D:
    torch.manual_seed(0)
    return InfNet2D(encoder, 4, 8, classes)


def _image(*size: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 1, *(size or (64, 64)))


def _count(**arguments: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in InfNet2D(**arguments).parameters())  # type: ignore[arg-type]


def test_with_one_class_and_colours_it_has_the_published_parameters() -> None:
    """33.12 M in Fan et al., who counted the classifier of ImageNet that nothing uses."""
    classifier = 2048 * 1000 + 1000
    assert _count(classes=1, inputs=3) + classifier == 33_121_721


def test_the_default_has_its_own_parameters_and_options_change_them() -> None:
    assert _count() == 31_076_678
    # 3 colours less in 3x3x32; 3 classes more in five heads, none of them with the edge's.
    assert _count() - _count(classes=1) == 3 * (96 + 1 + 2 * (64 * 9 + 2) + 256 + 2)
    assert _count(encoder="resnet50") == 30_909_662
    assert _count(width=16) < _count()


def test_training_gives_five_outputs_at_full_size_and_evaluation_the_finest() -> None:
    network, image = _small(), _image(32, 64)
    outputs = network.train()(image)
    assert isinstance(outputs, InfNetOutputs)
    assert [o.shape[1] for o in outputs] == [4, 4, 4, 4, 1]
    assert {tuple(o.shape[2:]) for o in outputs} == {(32, 64)}
    network.eval()
    logits = network(image)
    assert isinstance(logits, Tensor)
    assert torch.equal(logits, network.outputs(image).s3)


def test_outputs_keep_to_what_losses_rely_on() -> None:
    outputs = _small().train()(_image())
    assert isinstance(outputs, DeepOutputs)
    assert not isinstance(outputs.final, DeepOutputs)
    assert outputs.final is outputs.s3
    assert [id(m) for m in outputs.maps] == [
        id(m) for m in (outputs.s3, outputs.s4, outputs.s5, outputs.global_map)
    ]
    assert outputs.edge is outputs[-1]


def test_outputs_are_not_one_another() -> None:
    outputs = _small().train()(_image())
    maps = [*outputs.maps, outputs.edge.expand_as(outputs.s3)]
    for index, one in enumerate(maps):
        for other in maps[index + 1 :]:
            assert not torch.allclose(one, other, atol=1e-2)


def test_infection_is_any_lesion() -> None:
    share = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().view(1, 4, 1, 1)
    assert infection(share).item() == pytest.approx(0.7)
    assert infection(torch.zeros(1, 1, 1, 1)).item() == pytest.approx(0.5)
    assert infection(torch.full((1, 1, 1, 1), 2.0)).item() == pytest.approx(0.8807971)


@pytest.mark.parametrize("classes", [1, 4])
def test_reverse_attention_looks_only_where_no_lesion_was_found(classes: int) -> None:
    torch.manual_seed(0)
    part = ReverseAttention(6, 5, 3, 3, 2, 3, classes).eval()
    features, other, edge = (torch.randn(1, n, 8, 8) for n in (6, 6, 3))
    found, unseen = torch.zeros(1, classes, 4, 4), torch.zeros(1, classes, 4, 4)
    found[:, -1], unseen[:, -1] = 100, -100
    if classes == 4:
        unseen[:, 2] = -100
    assert torch.equal(part(features, found, edge), part(other, found, edge))
    assert not torch.allclose(part(features, unseen, edge), part(other, unseen, edge), atol=1e-4)


def test_reverse_attention_corrects_the_coarser_map() -> None:
    torch.manual_seed(0)
    part = ReverseAttention(6, 5, 3, 3, 2, 3, 4).eval()
    features, edge, coarser = (torch.randn(1, n, s, s) for n, s in ((6, 8), (3, 16), (4, 4)))
    larger = F.interpolate(coarser, (8, 8), mode="bilinear")
    assert not torch.allclose(part(features, coarser, edge), larger, atol=1e-3)
    nn.init.zeros_(part.head[1].weight)
    assert torch.equal(part(features, coarser, edge), larger)


@pytest.mark.parametrize("output", ["s3", "s4", "s5"])
def test_each_map_builds_on_the_coarser_ones_and_on_the_edge(output: str) -> None:
    network = _small().train()
    getattr(network(_image()), output).square().mean().backward()
    used = {
        name
        for name in ("edge", "decoder", "reverse5", "reverse4", "reverse3", "edge_head")
        if any(
            p.grad is not None and float(p.grad.abs().sum()) > 0
            for p in getattr(network, name).parameters()
        )
    }
    order = ["reverse5", "reverse4", "reverse3"]
    assert used == {"edge", "decoder", *order[: 6 - int(output[1])]}


def test_the_global_map_uses_the_three_coarsest_levels_and_the_edge_the_finest() -> None:
    network = _small()
    finest, *levels = (
        torch.randn(1, w, 32 // 2**k, 32 // 2**k, requires_grad=True)
        for k, w in enumerate(network.encoder.widths)
    )
    fields = (f(level) for f, level in zip(network.fields, levels, strict=True))
    network.decoder(*fields).square().mean().backward()
    assert all(f.grad is not None and float(f.grad.abs().sum()) > 0 for f in levels)
    network.edge_head(network.edge(finest)).square().mean().backward()
    assert finest.grad is not None


@pytest.mark.parametrize(("branch", "width"), [(0, 1), (1, 9), (2, 15), (3, 21)])
def test_branches_of_a_receptive_field_look_as_wide_as_they_should(branch: int, width: int) -> None:
    torch.manual_seed(0)
    part = ReceptiveField(2, 3).eval()
    features = torch.randn(1, 2, 31, 31, requires_grad=True)
    part.branches[branch](features)[0, :, 15, 15].sum().backward()
    assert features.grad is not None
    seen = features.grad[0].abs().amax(dim=0)
    for axis in (0, 1):
        along = seen.amax(dim=axis).nonzero()
        assert int(along.max()) - int(along.min()) + 1 == width


def test_deeper_features_switch_finer_ones_on_and_off() -> None:
    """The partial decoder multiplies: where the deepest says 0, the finer ones do not count."""
    torch.manual_seed(0)
    part = PartialDecoder(3, 2).eval()
    fine, middle, deep = (torch.randn(1, 3, s, s) for s in (8, 4, 2))
    other_fine, other_middle = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 4, 4)
    off = torch.zeros_like(deep)
    assert torch.equal(part(fine, middle, off), part(other_fine, other_middle, off))
    assert not torch.allclose(part(fine, middle, deep), part(other_fine, middle, deep))
    assert not torch.allclose(part(fine, middle, deep), part(fine, other_middle, deep))


def test_encoders_are_different_networks() -> None:
    assert set(_small().state_dict()) != set(_small(encoder="resnet50").state_dict())
    assert _small(encoder="resnet50").eval()(_image()).shape == (2, 4, 64, 64)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="1 class or 4, got 3"):
        InfNet2D(classes=3)
    with pytest.raises(ValueError, match="one or more feature maps, got 0"):
        InfNet2D(width=0)
    with pytest.raises(ValueError, match="not one of res2net50, resnet50"):
        InfNet2D("vgg16")
    with pytest.raises(ValueError, match=r"multiples of 32, got \(32, 40\)"):
        _small().eval()(torch.zeros(1, 1, 32, 40))
