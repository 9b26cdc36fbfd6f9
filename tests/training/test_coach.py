"""The coach's masks, and who learns what from them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from napari_covseg.models.device import Device
from napari_covseg.models.infnet2d import InfNet2D
from napari_covseg.models.networks import build
from napari_covseg.training.coach import (
    CoachedLearner,
    coach_mask,
    edges,
    reconstruction_loss,
)
from napari_covseg.training.pretrain_heads import put_linear_heads
from napari_covseg.training.pretrain_settings import Pretext
from napari_covseg.training.schedules import Preset

PRESET = Preset(
    network="unet2d",
    pretrained=False,
    optimiser="adam",
    learning_rate=1e-2,
    clip=0.0,
    ema=0.0,
    precision="float32",
)
CPU = Device("cpu", "CPU")


def _network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = build("unet2d", channels=[4, 8])
    put_linear_heads(network, "unet2d")
    return network


def _images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 1, 16, 16, generator=generator) * 2 - 1


def _learner(**pretext) -> CoachedLearner:
    task = Pretext(**{"coach_every": 1, **pretext})
    return CoachedLearner(_network(0), _network(1), PRESET, task, CPU)


@pytest.mark.parametrize("kept", [0.25, 0.75, 1.0])
def test_a_sharp_mask_keeps_that_share_of_every_image(kept: float) -> None:
    scores = torch.randn(3, 1, 20, 10, generator=torch.Generator().manual_seed(0)) * 5 + 3
    mask = coach_mask(scores, kept, alpha=1e6)
    for one, score in zip(mask, scores, strict=True):
        assert int((one >= 0.5).sum()) == round(kept * 200)
        assert int((one == 0.5).sum()) == 1
        if kept < 1:
            assert float(score[one >= 0.5].min()) > float(score[one < 0.5].max())


def test_a_mask_is_the_papers_formula() -> None:
    scores = torch.tensor([4.0, 1.0, 3.0, 2.0]).reshape(1, 1, 2, 2)
    # sorted 4, 3, 2, 1; three quarters of four: the third, 2
    expected = torch.sigmoid(2 * torch.tensor([[2.0, -1.0], [1.0, 0.0]]))
    assert torch.allclose(coach_mask(scores, 0.75, 2.0)[0, 0], expected)
    # the threshold has a gradient too: moving all scores moves nothing
    scores.requires_grad_()
    coach_mask(scores, 0.75, 1.0)[0, 0, 0, 1].backward()
    assert float(scores.grad.sum()) == pytest.approx(0, abs=1e-7)
    assert float(scores.grad[0, 0, 0, 1]) > 0


def test_the_network_lowers_what_the_coach_raises() -> None:
    """Each alone, on the same images, with the other held still."""
    images, codes = _images(), torch.zeros(4, 16, 16)
    learner = _learner(coach_rate=0.0)
    losses = [float(learner.step(images, codes, 1e-2, n + 1, 1.0).loss) for n in range(12)]
    assert losses[-1] < losses[0] - 0.005
    learner = _learner()
    coach_losses = []
    for number in range(12):
        learner._coach_step(images, (images + 1) / 2, 1e-2, number + 1)
        coach_losses.append(learner.coach_loss)
    assert coach_losses[-1] < coach_losses[0] - 0.005  # 1 - L_rec falls: L_rec rises


def test_a_step_of_the_coach_leaves_the_network_alone_and_the_other_way_round() -> None:
    images, codes = _images(), torch.zeros(4, 16, 16)
    learner = _learner(coach_every=2)
    weights = [
        [p.clone() for p in n.parameters()] for n in (learner.network, learner._coach.network)
    ]
    learner.step(images, codes, 1e-2, 1)  # the first step is not the coach's
    now = [list(n.parameters()) for n in (learner.network, learner._coach.network)]
    changed = [
        any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
        for old, new in zip(weights, now, strict=True)
    ]
    assert changed == [True, False]
    before = [p.clone() for p in learner.network.parameters()]
    learner._coach_step(images, (images + 1) / 2, 1e-2, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.network.parameters(), strict=True))
    coach = zip(weights[1], learner._coach.network.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in coach)
    assert all(p.requires_grad for p in learner.network.parameters())


def test_what_a_mask_hides_is_black_to_the_network() -> None:
    learner = _learner()
    glimpse = learner.look(_images())
    assert torch.allclose(glimpse.image, (_images()[:, 0] + 1) / 2)
    assert torch.allclose(glimpse.seen, glimpse.image * glimpse.mask)
    assert 0 <= float(glimpse.painted.min()) <= float(glimpse.painted.max()) <= 1
    assert learner.network.training


def test_masks_get_harder() -> None:
    task = Pretext(kept_first=0.95, kept=0.75, harder_until=0.5)
    assert [task.kept_at(done) for done in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(
        [0.95, 0.85, 0.75, 0.75]
    )
    hidden = []
    for done in (0.0, 1.0):
        learner = _learner(alpha=1e6)
        learner.step(_images(), torch.zeros(4, 16, 16), 0.0, 1, done)
        hidden.append(float((learner.look(_images()).mask < 0.5).float().mean()))
    assert hidden == pytest.approx([0.05, 0.25], abs=0.01)


def test_edges_are_steps_of_grey() -> None:
    image = torch.zeros(1, 1, 4, 6)
    image[..., 3:] = 0.5
    assert edges(image)[0, 0].tolist() == [[0, 0, 0.5, 0.5, 0, 0]] * 4


def test_every_map_of_inf_net_and_its_edge_paint() -> None:
    torch.manual_seed(0)
    network = InfNet2D("resnet50", 4, 4)
    put_linear_heads(network, "infnet2d")
    image = torch.rand(2, 1, 32, 32)
    outputs = network.train()(image * 2 - 1)
    assert [one.shape[1] for one in (*outputs.maps, outputs.edge)] == [1] * 5
    for how in ("squared", "cross_entropy"):
        reconstruction_loss(outputs, image, how).backward(retain_graph=True)
        for path in ("decoder.head", "reverse3.head", "reverse4.head", "reverse5.head"):
            assert float(network.get_submodule(path).weight.grad.abs().sum()) > 0
        assert float(network.edge_head.weight.grad.abs().sum()) > 0
    squared = reconstruction_loss(outputs, image, "squared")
    by_hand = [(one - image).square().mean() for one in outputs.maps]
    by_hand.append((outputs.edge - edges(image)).square().mean())
    assert squared.item() == pytest.approx(sum(by_hand).item() / 5, rel=1e-5)


def test_a_state_goes_on_exactly() -> None:
    images, codes = _images(), torch.zeros(4, 16, 16)
    first, second = _learner(), _learner()
    for number in (1, 2):
        first.step(images, codes, 1e-2, number, 0.1 * number)
    second.load_state_dict(first.state_dict())
    values = [one.step(images, codes, 1e-2, 3, 0.3).loss for one in (first, second)]
    assert torch.equal(*values)
    assert first.coach_loss == second.coach_loss
    assert not torch.equal(_learner().step(images, codes, 1e-2, 3, 0.3).loss, values[0])


def test_the_average_is_what_is_kept() -> None:
    learner = CoachedLearner(_network(0), _network(1), replace(PRESET, ema=0.5), Pretext(), CPU)
    learner.step(_images(), torch.zeros(4, 16, 16), 1e-2, 1)
    assert learner.kept is not learner.network
    assert learner._coach.kept is learner._coach.network
