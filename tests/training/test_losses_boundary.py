"""The boundary loss against the formula of Kervadec et al. (2019) and against hand counts."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.training import losses_boundary
from napari_covseg.training.dataset import allowed_table
from napari_covseg.training.losses import soft_dice_loss
from napari_covseg.training.losses_boundary import boundary_bce_dice, signed_distance
from napari_covseg.training.losses_named import build_loss

REGIONS = ([2], [3], [2, 3], [1, 2, 3])
CERTAIN = (Label.BACKGROUND, Label.LUNG, Label.GGO, Label.CONSOLIDATION)


def _allowed(codes: Tensor) -> Tensor:
    return allowed_table()[codes].movedim(-1, 1)


def _published_map(inside: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """``one_hot2dist`` of the published code, for one class of one sample."""
    result = np.zeros(inside.shape)
    if inside.any():
        outside = ~inside
        result = (
            distance_transform_edt(outside, sampling=spacing) * outside
            - (distance_transform_edt(inside, sampling=spacing) - 1) * inside
        )
    return result


def _blobs(spatial: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and classes in blocks."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 4, *spatial, generator=generator)
    coarse = torch.randint(0, 4, (2, 1, *(n // 4 for n in spatial)), generator=generator)
    return logits, torch.nn.functional.interpolate(coarse.float(), spatial)[:, 0].long()


def test_distances_of_a_row_are_what_one_counts() -> None:
    inside = torch.tensor([[0, 0, 1, 1, 1, 0]]).bool()
    found = signed_distance(inside, ~inside)
    assert found.tolist() == [[2.0, 1.0, 0.0, -1.0, 0.0, 1.0]]
    left_open = signed_distance(inside, torch.tensor([[1, 0, 0, 0, 0, 0]]).bool())
    assert left_open.tolist() == [[2.0, 0.0, -1.0, -2.0, -3.0, 0.0]]


@pytest.mark.parametrize("spatial", [(12, 16), (8, 12, 16)])
@pytest.mark.parametrize("ways", ["_exact", "_by_axis"])
def test_distances_are_those_of_the_published_code(
    spatial: tuple[int, ...], ways: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses_boundary, "_exact", getattr(losses_boundary, ways))
    spacing = (2.7, 1.6, 1.5)[-len(spatial) :]
    _, classes = _blobs(spatial)
    inside = classes == 2
    found = signed_distance(inside, ~inside, spacing)
    expected = np.stack([_published_map(one, spacing) for one in inside.numpy()])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert not np.allclose(signed_distance(inside, ~inside).numpy(), expected, atol=0.1)


@pytest.mark.parametrize("ways", ["_exact", "_by_axis"])
def test_a_sample_without_the_region_or_without_its_outside_has_no_distances(
    ways: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses_boundary, "_exact", getattr(losses_boundary, ways))
    inside = torch.zeros(3, 4, 4, dtype=torch.bool)
    inside[1] = True
    inside[2, 0, 0] = True
    found = signed_distance(inside, ~inside)
    assert (found[:2] == 0).all()
    assert float(found[2, 3, 3]) == pytest.approx(math.sqrt(18))


@pytest.mark.parametrize("spatial", [(12, 16), (8, 12, 16)])
def test_with_full_labels_the_boundary_part_is_the_published_loss(spatial: tuple[int, ...]) -> None:
    logits, classes = _blobs(spatial)
    allowed = _allowed(torch.tensor([int(one) for one in CERTAIN])[classes])
    p = logits.softmax(1)
    terms = []
    for region in REGIONS:
        mask = torch.isin(classes, torch.tensor(region)).numpy()
        maps = np.stack([_published_map(one, (1.0,) * len(spatial)) for one in mask])
        terms.append((p[:, region].sum(1) * torch.from_numpy(maps)).mean())
    alone = boundary_bce_dice(logits, allowed, weights=(1.0, 1.0))
    torch.testing.assert_close(alone, torch.stack(terms).mean().float())


def test_without_the_boundary_it_is_binary_cross_entropy_and_dice() -> None:
    logits, classes = _blobs((12, 16))
    allowed = _allowed(torch.tensor([int(one) for one in CERTAIN])[classes])
    p = logits.softmax(1)
    entropy = [
        torch.nn.functional.binary_cross_entropy(
            p[:, region].sum(1).clamp(max=1), torch.isin(classes, torch.tensor(region)).float()
        )
        for region in REGIONS
    ]
    expected = torch.stack(entropy).mean() + soft_dice_loss(p, allowed)
    torch.testing.assert_close(boundary_bce_dice(logits, allowed, weights=(0.0, 0.0)), expected)


def test_the_weight_grows_over_the_training() -> None:
    logits, classes = _blobs((12, 16))
    allowed = _allowed(torch.tensor([int(one) for one in CERTAIN])[classes])
    region = boundary_bce_dice(logits, allowed, weights=(0, 0))
    boundary = boundary_bce_dice(logits, allowed, weights=(1, 1))
    for done, weight in ((0.0, 0.1), (0.5, 0.3), (1.0, 0.5)):
        given = {"weights": (0.1, 0.5), "done": done}
        both = boundary_bce_dice(logits, allowed, **given)
        torch.testing.assert_close(both, (1 - weight) * region + weight * boundary)
        added = boundary_bce_dice(logits, allowed, rebalance=False, **given)
        torch.testing.assert_close(added, region + weight * boundary)
        named = build_loss("boundary", weights=[0.1, 0.5]).at(done)
        torch.testing.assert_close(named(logits, allowed), both)
    assert build_loss("boundary")(logits, allowed) != build_loss("boundary").at(1.0)(
        logits, allowed
    )


def test_to_move_a_lesion_away_costs_more_the_farther_it_goes() -> None:
    codes = torch.full((1, 1, 12), int(Label.LUNG))
    codes[..., 1:4] = Label.GGO
    costs = []
    for at in (1, 2, 5, 8):
        classes = torch.ones(1, 1, 12, dtype=torch.long)
        classes[..., at : at + 3] = 2
        logits = 20 * torch.nn.functional.one_hot(classes, 4).movedim(-1, 1).float()
        costs.append(float(boundary_bce_dice(logits, _allowed(codes), weights=(1, 1))))
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": [0.1]}, "expected two of 0 to 1"),
        ({"weights": [0.1, 1.5]}, "expected two of 0 to 1"),
        ({"weights": "ab"}, "cannot use these settings"),
        ({"spacing": [1, 0]}, "expected sizes above 0"),
        ({"spacing": [1, 1, 1]}, "expected 2 sizes, got 3"),
        ({"done": 0.5}, "no setting 'done': use weights, rebalance, spacing, smooth"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_loss("boundary", **settings)
    assert build_loss("boundary", 3, spacing=[1, 1, 1]).done == 0.0
