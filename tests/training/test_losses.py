import math

import torch

from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.training.dataset import NO_LESION, allowed_table
from napari_covseg.training.losses import allowed_cross_entropy, soft_dice_loss

PROBABILITY = (0.1, 0.2, 0.3, 0.4)


def _one_voxel(code: int) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.tensor(PROBABILITY).log().view(1, 4, 1, 1)
    return logits, allowed_table()[code].view(1, 4, 1, 1)


def test_a_certain_label_costs_its_own_log_probability() -> None:
    assert math.isclose(allowed_cross_entropy(*_one_voxel(Label.GGO)), -math.log(0.3), rel_tol=1e-6)


def test_a_partial_label_costs_the_log_of_the_sum() -> None:
    assert math.isclose(
        allowed_cross_entropy(*_one_voxel(Label.INFECTION)), -math.log(0.7), rel_tol=1e-6
    )
    assert math.isclose(allowed_cross_entropy(*_one_voxel(NO_LESION)), -math.log(0.3), rel_tol=1e-6)


def test_ignored_voxels_cost_nothing_and_dilute_nothing() -> None:
    logits, ggo = _one_voxel(Label.GGO)
    _, ignore = _one_voxel(Label.IGNORE)
    both = allowed_cross_entropy(torch.cat([logits, logits], 3), torch.cat([ggo, ignore], 3))
    assert math.isclose(both, -math.log(0.3), rel_tol=1e-6)
    assert float(allowed_cross_entropy(logits, ignore)) == 0.0


def _codes(*codes: int) -> torch.Tensor:
    return allowed_table()[torch.tensor(codes)].T.reshape(1, 4, 1, -1)


def _probabilities(*classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 4).T.reshape(1, 4, 1, -1).float()


def test_dice_loss_is_zero_for_the_truth_and_large_for_its_opposite() -> None:
    truth = _codes(Label.BACKGROUND, Label.LUNG, Label.GGO, Label.CONSOLIDATION)
    right = _probabilities(*NetworkClass)
    wrong = _probabilities(*reversed(NetworkClass))
    assert float(soft_dice_loss(right, truth, smooth=1e-6)) < 1e-6
    assert float(soft_dice_loss(wrong, truth, smooth=1e-6)) > 0.6


def test_infection_of_unknown_class_teaches_the_union_only() -> None:
    truth = _codes(Label.INFECTION, Label.INFECTION, Label.BACKGROUND)
    as_ggo = soft_dice_loss(_probabilities(2, 2, 0), truth)
    mixed = soft_dice_loss(_probabilities(3, 2, 0), truth)
    missed = soft_dice_loss(_probabilities(1, 2, 0), truth)
    assert float(as_ggo) == float(mixed)
    assert float(missed) > float(mixed)
