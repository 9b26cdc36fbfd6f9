"""Deep supervision of networks with several outputs, and the edge they are taught."""

import math

import pytest
import torch
from torch import Tensor, nn

from napari_covseg.domain.labels import Label
from napari_covseg.models.networks import build
from napari_covseg.models.outputs import InfNetMultiOutputs, InfNetOutputs
from napari_covseg.training.dataset import allowed_table
from napari_covseg.training.losses_deep import edge_loss, lesion_edge
from napari_covseg.training.losses_iou import weighted_iou_bce
from napari_covseg.training.losses_named import LOSSES, build_loss

SMALL = {"width": 5, "encoder_width": 8}


def _allowed(codes: Tensor) -> Tensor:
    return allowed_table()[codes].movedim(-1, 1)


def _codes(rows: str) -> Tensor:
    """``.`` lung, ``g`` GGO, ``i`` infection, ``?`` left open."""
    meaning = {".": Label.LUNG, "g": Label.GGO, "i": Label.INFECTION, "?": Label.IGNORE}
    return torch.tensor([[int(meaning[one]) for one in row] for row in rows.split()])[None]


def _drawn(found: Tensor) -> str:
    return " ".join("".join("#" if one else "." for one in row) for row in found[0].tolist())


def test_the_edge_is_both_sides_of_the_outline() -> None:
    edge, known = lesion_edge(_allowed(_codes("...... .gig.. .ggg.. .ggg.. ......")))
    assert _drawn(edge) == ".###.. #####. ##.##. #####. .###.."
    assert known.all()


def test_where_a_neighbour_is_left_open_the_edge_is_unknown_unless_another_decides() -> None:
    edge, known = lesion_edge(_allowed(_codes("..gg?.... ..gg?....")))
    assert _drawn(edge) == ".##...... .##......"
    assert _drawn(known) == "###...### ###...###"


def test_the_edges_loss_is_binary_cross_entropy_of_what_is_known() -> None:
    allowed = _allowed(_codes("..gg?...."))
    logits = torch.tensor([0.0, 1.0, 2.0, 9.0, 9.0, 9.0, -1.0, -2.0, 3.0]).view(1, 1, 1, 9)
    p = logits.sigmoid().flatten().tolist()
    expected = -(
        math.log(1 - p[0]) + math.log(p[1]) + math.log(p[2]) + sum(math.log(1 - v) for v in p[6:])
    )
    assert math.isclose(float(edge_loss(logits, allowed)), expected / 6, rel_tol=1e-5)
    assert float(edge_loss(logits, torch.ones_like(allowed))) == 0.0


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_several_outputs_is_the_sum_over_maps_and_edge(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    allowed = _allowed(_codes("...... .gig.. .ggg.? .ggg.. ......"))
    maps = [torch.randn(1, 4, 5, 6, generator=generator) for _ in range(4)]
    edge = torch.randn(1, 1, 5, 6, generator=generator)
    loss = build_loss(name)
    expected = sum(loss(one, allowed) for one in maps) + edge_loss(edge, allowed)
    found = loss(InfNetOutputs(*maps, edge), allowed)
    torch.testing.assert_close(found, expected)
    assert float(found) != float(loss(maps[0], allowed))


def test_a_map_of_infection_alone_is_supervised_as_in_the_papers() -> None:
    generator = torch.Generator().manual_seed(0)
    allowed = _allowed(_codes("...... .gig.. .ggg.? .ggg.. ......"))
    logits = torch.randn(1, 4, 5, 6, generator=generator)
    single = [torch.randn(1, 1, 5, 6, generator=generator) for _ in range(5)]
    loss = build_loss("dice_ce")
    expected = loss(logits, allowed) + edge_loss(single[4], allowed)
    expected = expected + sum(weighted_iou_bce(one, allowed) for one in single[:4])
    found = loss(InfNetMultiOutputs(logits, *single), allowed)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        ("infnet2d", {}),
        ("infnet2d_multi", {"channels": [3, 5, 7]}),
        ("infnet2d_multi", {"channels": [3, 5, 7], "single_classes": 1}),
    ],
)
def test_every_branch_is_taught(name: str, network: str, arguments: dict[str, object]) -> None:
    torch.manual_seed(0)
    built: nn.Module = build(network, **arguments, **SMALL).train()
    codes = torch.full((2, 64, 64), int(Label.LUNG))
    codes[0, 10:30, 10:40] = Label.GGO
    codes[1, 20:50, 20:50] = Label.CONSOLIDATION
    outputs = built(torch.randn(2, 1, 64, 64))
    build_loss(name)(outputs, _allowed(codes)).backward()
    trained = {key: one for key, one in built.named_parameters() if one.requires_grad}
    dead = [k for k, p in trained.items() if p.grad is None or not float(p.grad.abs().sum()) > 0]
    assert dead == []


def test_ignored_voxels_teach_no_branch() -> None:
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(1, 4, 5, 6, generator=generator, requires_grad=True) for _ in range(4)]
    edge = torch.randn(1, 1, 5, 6, generator=generator, requires_grad=True)
    codes = _codes("...... .gig.. .ggg?? .gggg. ......")
    build_loss("iou_bce")(InfNetOutputs(*given, edge), _allowed(codes)).backward()
    for one in (*given, edge):
        assert one.grad is not None
        assert (one.grad[..., 2, 4:] == 0).all()
        assert (one.grad[..., 0, 0] != 0).all()
