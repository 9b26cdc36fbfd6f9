import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.models.device import Device
from napari_covseg.training.dataset import NO_LESION, UNLABELLED
from napari_covseg.training.distillation import distillation_loss
from napari_covseg.training.learner import Learner
from napari_covseg.training.losses import partial_label_loss
from napari_covseg.training.parallel import Alone
from napari_covseg.training.schedules import Preset

PRESET = Preset(pretrained=False, patch=(8, 8), ema=0.0, weight_decay=0.0, compile=False)
EVERYWHERE = torch.ones(1, 1, 1, dtype=torch.bool)


def voxel(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).log().view(1, -1, 1, 1)


def test_the_divergence_of_a_voxel():
    teacher, student = voxel(0.7, 0.1, 0.1, 0.1), voxel(0.25, 0.25, 0.25, 0.25)
    expected = 0.7 * math.log(0.7 / 0.25) + 3 * 0.1 * math.log(0.1 / 0.25)
    found = distillation_loss(student, teacher, EVERYWHERE, temperature=1.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    other = distillation_loss(teacher, student, EVERYWHERE, temperature=1.0)
    assert float(other) != pytest.approx(expected, rel=1e-3)


def test_at_a_temperature():
    teacher, student = torch.randn(2, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    every = torch.ones(1, 3, 3, dtype=torch.bool)
    wanted, given = (teacher / 3).softmax(1), (student / 3).log_softmax(1)
    expected = 9 * functional.kl_div(given, wanted, reduction="none").sum(1).mean()
    assert float(distillation_loss(student, teacher, every, 3.0)) == pytest.approx(float(expected))


def test_it_pulls_nowhere_where_both_agree():
    teacher = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    taught = torch.ones(2, 5, 5, dtype=torch.bool)
    student = teacher.clone().requires_grad_()
    loss = distillation_loss(student, teacher, taught)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(student.grad, torch.zeros_like(teacher), atol=1e-7, rtol=0)
    other = (teacher + torch.tensor([1.0, 0, 0, 0]).view(1, 4, 1, 1)).requires_grad_()
    loss = distillation_loss(other, teacher, taught)
    loss.backward()
    assert float(loss) > 0.05
    assert bool((other.grad[:, 0] > 0).all()), "what is said too loudly is to be said less"


def test_only_taught_voxels_count():
    teacher, student = torch.randn(2, 1, 4, 2, 2, generator=torch.Generator().manual_seed(2))
    taught = torch.tensor([[[True, False], [False, False]]])
    student.requires_grad_()
    loss = distillation_loss(student, teacher, taught)
    alone = distillation_loss(student[..., :1, :1], teacher[..., :1, :1], EVERYWHERE)
    assert float(loss) == pytest.approx(float(alone))
    loss.backward()
    assert bool((student.grad[:, :, 0, 0] != 0).any())
    assert not student.grad[:, :, ~taught[0]].any()
    nowhere = distillation_loss(student, teacher, torch.zeros_like(taught))
    assert float(nowhere) == 0


def test_a_teacher_that_cannot_tell_lesions_apart_teaches_only_that_it_is_one():
    teacher, student = voxel(0.3, 0.1, 0.2, 0.4), voxel(0.3, 0.1, 0.55, 0.05)
    both = {"temperature": 1.0, "lesions_apart": False}
    assert float(distillation_loss(student, teacher, EVERYWHERE, **both)) == pytest.approx(
        0, abs=1e-6
    )
    assert float(distillation_loss(student, teacher, EVERYWHERE, 1.0)) > 0.1
    less = voxel(0.6, 0.1, 0.2, 0.1)
    expected = 0.3 * math.log(0.3 / 0.6) + 0.6 * math.log(0.6 / 0.3)
    assert float(distillation_loss(less, teacher, EVERYWHERE, **both)) == pytest.approx(expected)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Conv2d(1, 4, 3, padding=1)


def learner(distillation: float, lesions_apart: bool = True, **changes) -> Learner:
    device = Device("cpu", "CPU")
    preset = replace(PRESET, **changes)
    made = (network(), partial_label_loss, preset, device, Alone(), distillation, lesions_apart)
    return Learner(*made)


def batch(*codes: int) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(len(codes), 1, 8, 8, generator=torch.Generator().manual_seed(4))
    return images, torch.tensor(codes, dtype=torch.uint8).view(-1, 1, 1).expand(-1, 8, 8)


def test_a_case_without_labels_brings_back_the_teacher():
    with_it, without = learner(1.0), learner(0.0)
    images, codes = batch(UNLABELLED)
    wanted = with_it.network(images).detach()
    for one in (with_it, without):
        with torch.no_grad():
            one.network.bias += torch.tensor([2.0, -1.0, 0.5, 0.0])
    far = (with_it.network(images).softmax(1) - wanted.softmax(1)).abs().mean()
    for number in range(1, 61):
        with_it.step(images, codes, 0.05, number)
        without.step(images, codes, 0.05, number)
    near = (with_it.network(images).softmax(1) - wanted.softmax(1)).abs().mean()
    assert float(near) < 0.1 * float(far)
    moved = torch.tensor([2.0, -1.0, 0.5, 0.0])
    torch.testing.assert_close(without.network.bias, network().bias + moved)


@pytest.mark.parametrize("lesions_apart", [True, False])
def test_lesions_of_another_name_are_named_back_only_by_a_teacher_that_can_tell(
    lesions_apart: bool,
):
    one = learner(1.0, lesions_apart)
    ggo, other = int(NetworkClass.GGO), int(NetworkClass.CONSOLIDATION)
    with torch.no_grad():
        for part in (one.network.weight, one.network.bias):
            part[[ggo, other]] = part[[other, ggo]]
    loss, _ = one.step(*batch(UNLABELLED), 0.0, 1).values()
    assert (loss > 1e-3) == lesions_apart


def test_it_teaches_nothing_at_first():
    one = learner(5.0)
    step = one.step(*batch(UNLABELLED), 0.1, 1)
    # The optimiser is Adam's, which makes steps of rounding errors; so the gradient is held.
    assert step.values()[0] == pytest.approx(0, abs=1e-6)
    assert step.values()[1] < 1e-5


@pytest.mark.parametrize("code", [Label.GGO, Label.INFECTION, NO_LESION, Label.IGNORE])
def test_labelled_and_unreviewed_voxels_are_left_alone(code: int):
    with_it, without = learner(1.0), learner(0.0)
    for one in (with_it, without):
        with torch.no_grad():
            one.network.bias += 1.0 * torch.arange(4)
        for number in range(1, 4):
            one.step(*batch(code, Label.LUNG), 0.1, number)
    assert torch.equal(with_it.network.weight, without.network.weight)
    with_it.step(*batch(code, UNLABELLED), 0.1, 4)
    without.step(*batch(code, UNLABELLED), 0.1, 4)
    assert not torch.equal(with_it.network.weight, without.network.weight)


def test_the_teacher_stays_as_it_was():
    one = learner(1.0, ema=0.5)
    before = one._teacher.weight.clone()
    for number in range(1, 5):
        one.step(*batch(Label.GGO, UNLABELLED), 0.1, number)
    assert torch.equal(one._teacher.weight, before)
    assert not one._teacher.weight.requires_grad
    assert not torch.equal(one.network.weight, before)
    assert "teacher" not in str(list(one.state_dict()))
