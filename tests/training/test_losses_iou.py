"""Weighted IoU + BCE against the published formula (Wei et al. 2020, Fan et al. 2020)."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.training.dataset import NO_LESION, allowed_table
from napari_covseg.training.losses_iou import weighted_iou_bce


def _allowed(codes: Tensor) -> Tensor:
    return allowed_table()[codes].movedim(-1, 1)


def _published(pred: Tensor, mask: Tensor) -> Tensor:
    """``structure_loss`` of F3Net, weights as its paper says and nothing outside of the patch."""
    near = functional.avg_pool2d(mask, 31, stride=1, padding=15, count_include_pad=False)
    weight = 1 + 5 * (near - mask).abs()
    entropy = functional.binary_cross_entropy_with_logits(pred, mask, reduction="none")
    entropy = (weight * entropy).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))
    p = pred.sigmoid()
    both = (p * mask * weight).sum(dim=(2, 3))
    union = ((p + mask) * weight).sum(dim=(2, 3))
    return (entropy + 1 - (both + 1) / (union - both + 1)).mean()


def test_of_infection_alone_it_is_the_published_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 1, 40, 50, generator=generator)
    codes = torch.full((2, 40, 50), int(Label.LUNG))
    codes[0, 5:20, 8:30] = Label.GGO
    codes[1, 30:, 40:] = Label.INFECTION
    mask = ((codes == Label.GGO) | (codes == Label.INFECTION)).float()[:, None]
    expected = _published(logits, mask)
    torch.testing.assert_close(weighted_iou_bce(logits, _allowed(codes)), expected)
    without = weighted_iou_bce(logits, _allowed(codes), border=0.0)
    assert abs(float(without - expected)) > 1e-2


def test_of_two_pixels_it_is_what_one_counts_by_hand() -> None:
    logits = torch.tensor([math.log(0.8 / 0.2), math.log(0.4 / 0.6)]).view(1, 1, 2)
    allowed = _allowed(torch.tensor([[Label.GGO, Label.LUNG]]))
    # Half of the surroundings is lesion: both pixels count 1 + 5 * 0.5.
    entropy = -(math.log(0.8) + math.log(0.6)) / 2
    iou = (3.5 * 0.8 + 1) / (3.5 * (0.8 + 0.4 + 1 - 0.8) + 1)
    found = weighted_iou_bce(logits, allowed)
    assert math.isclose(float(found), entropy + 1 - iou, rel_tol=1e-5)
    half = weighted_iou_bce(logits, allowed, bce=0.5)
    assert math.isclose(float(half), 0.5 * entropy + 1 - iou, rel_tol=1e-5)


def test_classes_are_regions_and_are_averaged() -> None:
    """GGO, consolidation, infection and lung, each as the loss of its own probability."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 4, 9, 9, generator=generator)
    codes = torch.full((1, 9, 9), int(Label.LUNG))
    codes[:, :, :3] = Label.BACKGROUND
    codes[:, 2:5, 4:7] = Label.GGO
    codes[:, 6:, 6:] = Label.CONSOLIDATION
    p = logits.softmax(1)
    expected = []
    for classes, labels in (
        ([2], [Label.GGO]),
        ([3], [Label.CONSOLIDATION]),
        ([2, 3], [Label.GGO, Label.CONSOLIDATION]),
        ([1, 2, 3], [Label.LUNG, Label.GGO, Label.CONSOLIDATION]),
    ):
        mask = torch.isin(codes, torch.tensor([int(one) for one in labels])).float()[:, None]
        share = p[:, classes].sum(1, keepdim=True)
        expected.append(_published(share.logit(), mask))
    found = weighted_iou_bce(logits, _allowed(codes))
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_what_labels_leave_open_neither_costs_nor_weighs() -> None:
    """The right half is ignored: as if the patch ended there."""
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(1, 4, 6, 12, generator=generator)
    codes = torch.full((1, 6, 12), int(Label.LUNG))
    codes[:, 1:4, 2:5] = Label.GGO
    codes[:, :, 6:] = Label.IGNORE
    found = weighted_iou_bce(logits, _allowed(codes))
    left = weighted_iou_bce(logits[..., :6], _allowed(codes[..., :6]))
    torch.testing.assert_close(found, left)
    whole = weighted_iou_bce(logits, _allowed(codes.clamp(max=int(Label.LUNG))))
    assert abs(float(whole - left)) > 1e-2


def test_only_regions_that_labels_decide_about_are_averaged() -> None:
    """Of infection of unknown kind: infection and lung; of no lesion: all but the lung."""
    logits = torch.zeros(1, 4, 1, 1)
    infection = weighted_iou_bce(logits, _allowed(torch.full((1, 1, 1), int(Label.INFECTION))))
    expected = [-math.log(p) + 1 - (p + 1) / 2 for p in (0.5, 0.75)]
    assert math.isclose(float(infection), sum(expected) / 2, rel_tol=1e-5)
    none = weighted_iou_bce(logits, _allowed(torch.full((1, 1, 1), NO_LESION)))
    expected = [-math.log(1 - p) + 1 - 1 / (p + 1) for p in (0.25, 0.25, 0.5)]
    assert math.isclose(float(none), sum(expected) / 3, rel_tol=1e-5)


def test_settings_below_zero_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 0"):
        weighted_iou_bce(torch.zeros(1, 4, 2), _allowed(torch.zeros(1, 2).long()), bce=-1)
