import math

import pytest
import torch
from monai.losses import TverskyLoss

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.training.dataset import NO_LESION, allowed_table
from napari_covseg.training.losses import (
    PARTIAL_LABELS,
    allowed_cross_entropy,
    partial_label_loss,
    soft_dice_loss,
    tversky_cross_entropy,
    tversky_loss,
)
from napari_covseg.training.losses_named import LOSSES, build_loss

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


SPATIAL = [(7,), (5, 6), (4, 5, 6)]
CERTAIN = (Label.BACKGROUND, Label.LUNG, Label.GGO, Label.CONSOLIDATION)


def _allowed(codes: torch.Tensor) -> torch.Tensor:
    """``(n, *spatial)`` codes to ``(n, 4, *spatial)``."""
    return allowed_table()[codes].movedim(-1, 1)


def _random(spatial: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and classes of which every voxel is certain."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, 4, *spatial, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 4, (3, *spatial), generator=generator)


@pytest.mark.parametrize("spatial", SPATIAL)
def test_with_full_labels_cross_entropy_is_torchs(spatial: tuple[int, ...]) -> None:
    logits, classes = _random(spatial)
    found = allowed_cross_entropy(logits, _allowed(torch.tensor(CERTAIN)[classes]))
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, classes))


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (0.3, 0.7), (1.0, 1.0)])
def test_with_full_labels_tversky_is_monais(
    spatial: tuple[int, ...], batch: bool, alpha: float, beta: float
) -> None:
    logits, classes = _random(spatial)
    truth = torch.nn.functional.one_hot(classes, 4).movedim(-1, 1)
    settings = {"alpha": alpha, "beta": beta, "batch": batch}
    reference = TverskyLoss(softmax=True, smooth_nr=1e-3, smooth_dr=1e-3, **settings)
    allowed = _allowed(torch.tensor(CERTAIN)[classes])
    for reduction, terms in (("mean", 1), ("sum", 4)):
        found = tversky_loss(
            logits.softmax(1), allowed, smooth=1e-3, reduction=reduction, **settings
        )
        torch.testing.assert_close(found, terms * reference(logits, truth))


def test_tversky_with_one_half_for_both_is_dice() -> None:
    probability = torch.tensor([0.8, 0.4]).view(1, 1, 2)
    probability = torch.cat([1 - probability, probability, 0 * probability, 0 * probability], 1)
    allowed = _allowed(torch.tensor([[Label.LUNG, Label.BACKGROUND]]))
    lung = 2 * 0.8 / (1.2 + 1)
    background = 2 * 0.6 / (0.8 + 1)
    found = tversky_loss(probability, allowed, smooth=1e-9)
    # GGO and consolidation: neither said nor there, so right.
    assert math.isclose(float(found), (1 - lung) + (1 - background), rel_tol=1e-5)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.9), (0.9, 0.1)])
def test_alpha_weighs_false_positives_and_beta_false_negatives(alpha: float, beta: float) -> None:
    truth = _codes(*[Label.GGO] * 3, *[Label.LUNG] * 5)
    too_much_ggo = tversky_loss(
        _probabilities(2, 2, 2, 2, 1, 1, 1, 1), truth, alpha=alpha, beta=beta
    )
    ggo, lung = 1 - 3 / (3 + alpha), 1 - 4 / (4 + beta)
    assert math.isclose(float(too_much_ggo), ggo + lung, rel_tol=1e-5)
    too_little_ggo = tversky_loss(
        _probabilities(2, 2, 1, 1, 1, 1, 1, 1), truth, alpha=alpha, beta=beta
    )
    ggo, lung = 1 - 2 / (2 + beta), 1 - 5 / (5 + alpha)
    assert math.isclose(float(too_little_ggo), ggo + lung, rel_tol=1e-5)
    assert (float(too_little_ggo) > float(too_much_ggo)) is (beta > alpha)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("spatial", SPATIAL)
def test_ignored_voxels_get_no_gradient_and_change_nothing(
    name: str, spatial: tuple[int, ...]
) -> None:
    logits, classes = _random(spatial, seed=1)
    codes = torch.tensor(CERTAIN)[classes]
    codes[classes == 3] = Label.INFECTION
    ignored = torch.rand(classes.shape, generator=torch.Generator().manual_seed(2)) < 0.4
    codes[ignored] = Label.IGNORE
    logits.requires_grad_()
    loss = LOSSES[name](logits, _allowed(codes))
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad.movedim(1, -1)[ignored] == 0).all()
    assert (logits.grad.movedim(1, -1)[~ignored].abs().sum(-1) > 0).all()
    other = torch.where(ignored[:, None], -logits.detach(), logits.detach())
    torch.testing.assert_close(LOSSES[name](other, _allowed(codes)), loss.detach())


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_ignored_voxels_costs_nothing(name: str) -> None:
    logits = torch.randn(2, 4, 3, 3, 3, requires_grad=True)
    loss = LOSSES[name](logits, torch.ones(2, 4, 3, 3, 3, dtype=torch.bool))
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_slices_and_the_volume_they_make_cost_the_same(name: str) -> None:
    """A volume one slice thick is its slice, whatever the axes."""
    logits, classes = _random((5, 6))
    allowed = _allowed(torch.tensor([*CERTAIN, Label.INFECTION, NO_LESION, Label.IGNORE])[classes])
    flat = LOSSES[name](logits, allowed)
    torch.testing.assert_close(LOSSES[name](logits[:, :, None], allowed[:, :, None]), flat)
    if name not in ("iou_bce", "boundary"):  # These look at a voxel's surroundings.
        torch.testing.assert_close(LOSSES[name](logits.flatten(2), allowed.flatten(2)), flat)


def test_infection_of_unknown_class_has_a_tversky_term_of_its_own() -> None:
    truth = _codes(Label.INFECTION, Label.INFECTION, Label.BACKGROUND)
    as_ggo = tversky_loss(_probabilities(2, 2, 0), truth)
    mixed = tversky_loss(_probabilities(3, 2, 0), truth)
    half_missed = tversky_loss(_probabilities(1, 2, 0), truth)
    assert float(as_ggo) == float(mixed) == 0.0
    # Infection: TP 1, FN 1. Lung: a false positive. Background is right.
    assert math.isclose(float(half_missed), (1 - 1 / 1.5) + 1, rel_tol=1e-5)


def test_no_lesion_perhaps_lung_has_a_tversky_term_of_its_own() -> None:
    truth = _codes(NO_LESION, NO_LESION, Label.GGO)
    assert float(tversky_loss(_probabilities(0, 1, 2), truth)) == 0.0
    as_lesion = tversky_loss(_probabilities(0, 3, 2), truth)
    # No lesion: TP 1, FN 1. Consolidation: a false positive.
    assert math.isclose(float(as_lesion), (1 - 1 / 1.5) + 1, rel_tol=1e-5)


def test_a_mean_over_classes_counts_partial_labels_where_they_are() -> None:
    """The first sample has five terms, the second four; MIScnn's sum has no such mean."""
    infection = _codes(Label.INFECTION, Label.BACKGROUND)
    certain = _codes(Label.GGO, Label.BACKGROUND)
    both, wrong = torch.cat([infection, certain]), _probabilities(1, 0).repeat(2, 1, 1, 1)
    found = tversky_loss(wrong, both, reduction="mean")
    # Lung said and not there, the lesion missed: two terms of 1.
    assert math.isclose(float(found), (2 / 5 + 2 / 4) / 2, rel_tol=1e-5)
    together = tversky_loss(wrong, both, reduction="mean", batch=True)
    assert math.isclose(float(together), 3 / 5, rel_tol=1e-5)


def test_every_partial_label_is_among_those_with_a_term() -> None:
    table = allowed_table()
    partial = {
        tuple(row.nonzero()[:, 0].tolist()) for row in table if 1 < int(row.sum()) < len(row)
    }
    assert partial == set(PARTIAL_LABELS)


def test_losses_are_in_float32_whatever_the_network_computes_in() -> None:
    logits, classes = _random((4, 5))
    allowed = _allowed(torch.tensor(CERTAIN)[classes])
    for loss in LOSSES.values():
        found = loss(logits.to(torch.bfloat16), allowed)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, loss(logits.to(torch.bfloat16).float(), allowed))


def test_the_default_models_loss_stays_what_it_was() -> None:
    """The value of the loss on this input when the shipped weights were trained with it."""
    logits = torch.linspace(-3, 3, 2 * 4 * 6 * 5).view(2, 4, 6, 5).sin() * 4
    codes = torch.arange(2 * 6 * 5).view(2, 6, 5) % (NO_LESION + 1)
    assert math.isclose(float(partial_label_loss(logits, _allowed(codes))), 1.9764795, rel_tol=1e-6)
    assert LOSSES["dice_ce"] is partial_label_loss


def test_losses_are_built_by_name_with_settings() -> None:
    logits, classes = _random((4, 5))
    allowed = _allowed(torch.tensor(CERTAIN)[classes])
    built = build_loss("tversky_ce", alpha=0.2, beta=0.8)(logits, allowed)
    assert float(built) == float(tversky_cross_entropy(logits, allowed, alpha=0.2, beta=0.8))
    assert float(built) != float(build_loss("tversky_ce")(logits, allowed))
    assert float(build_loss("dice_ce")(logits, allowed)) == float(
        partial_label_loss(logits, allowed)
    )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("focal", {}, "unknown loss 'focal': use dice_ce, tversky_ce"),
        ("dice_ce", {"alpha": 0.5}, "loss dice_ce has no setting 'alpha': use smooth"),
        ("tversky_ce", {"logits": 1}, "no setting 'logits'"),
        ("tversky_ce", {"alpha": -0.1}, "of at least 0"),
        ("tversky_ce", {"alpha": 0.0, "beta": 0.0}, "alpha . beta above 0"),
        ("tversky_ce", {"reduction": "max"}, "unknown reduction 'max': use sum or mean"),
        ("tversky_ce", {"alpha": "much"}, "cannot use these settings"),
    ],
)
def test_losses_that_cannot_be_built_are_refused_before_training(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build_loss(name, **settings)
    assert "\n" not in str(caught.value)
