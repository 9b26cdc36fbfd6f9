"""Weighted intersection over union plus weighted binary cross-entropy, of partial labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from napari_covseg.domain.errors import UsageError
from napari_covseg.training.losses import LESIONS, REGIONS, decided, region_logs


def weighted_iou_bce(
    logits: Tensor,
    allowed: Tensor,
    *,
    bce: float = 1.0,
    border: float = 5.0,
    radius: int = 15,
    smooth: float = 1.0,
) -> Tensor:
    """``L_IoU + bce L_BCE`` of each region, in float32 (Fan et al. 2020, Fung et al.; eq. 1).

    Both are weighted: a pixel counts ``1 + border |share - target|``, the share of the region in
    the square around it, so pixels near an outline count up to six times (Wei et al. 2020, F3Net).
    The published code means this but weighs the intersection over union only (its cross-entropy is
    averaged first, ``reduce='none'``), and has air outside of the patch where here nothing is.

    The papers' one region is infection. With the classes of `NetworkClass` there are four
    (`REGIONS`), averaged over regions and samples in which labels decide about a voxel at all.

    Parameters
    ----------
    logits
        ``(n, classes, *spatial)``, or ``(n, 1, *spatial)``: infection or none.
    allowed
        bool ``(n, classes, *spatial)``.
    bce
        Weight of the cross-entropy, lambda of the papers.
    border, radius
        How much an outline counts more, and half the side of that square, in pixels.
    smooth
        Pixels added above and below the line, against 0 / 0.

    Raises
    ------
    UsageError
        If a setting is negative.
    """
    if min(bce, border, radius, smooth) < 0:
        raise UsageError(
            "expected bce, border, radius and smooth of at least 0, "
            f"got {bce}, {border}, {radius} and {smooth}"
        )
    logits = logits.float()
    regions = (LESIONS,) if logits.shape[1] == 1 else REGIONS
    axes = list(range(1, allowed.ndim - 1))
    losses, counted = [], []
    for region in regions:
        target, known = decided(allowed, region)
        log_in, log_out = _logs(logits, region)
        wanted = target.to(logits.dtype)
        weight = _border_weight(wanted, known, border, radius)
        entropy = -torch.where(target, log_in, log_out)
        p = log_in.exp() * weight
        both, sizes = (p * wanted).sum(dim=axes), (p + wanted * weight).sum(dim=axes)
        iou = 1 - (both + smooth) / (sizes - both + smooth).clamp(min=1e-6)
        mean = (entropy * weight).sum(dim=axes) / weight.sum(dim=axes).clamp(min=1)
        there = known.flatten(1).any(dim=1)
        losses.append((iou + bce * mean) * there)
        counted.append(there)
    return torch.stack(losses).sum() / torch.stack(counted).sum().clamp(min=1)


def _logs(logits: Tensor, region: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    if logits.shape[1] == 1:
        return functional.logsigmoid(logits[:, 0]), functional.logsigmoid(-logits[:, 0])
    return region_logs(logits, region)


@torch.no_grad()
def _border_weight(target: Tensor, known: Tensor, border: float, radius: int) -> Tensor:
    """How much each pixel counts, ``(n, *spatial)``; 0 where nothing is known."""
    inside = known.to(target.dtype)
    share = _box_sum(target * inside, radius) / _box_sum(inside, radius).clamp(min=1)
    return (1 + border * (share - target).abs()) * inside


def _box_sum(values: Tensor, radius: int) -> Tensor:
    """Sum over the square (cube) around each pixel of ``(n, *spatial)``, cut off at the border."""
    for axis in range(1, values.ndim):
        n = values.shape[axis]
        at = torch.arange(n, device=values.device)
        so_far = torch.cat([torch.zeros_like(values.narrow(axis, 0, 1)), values.cumsum(axis)], axis)
        values = so_far.index_select(axis, (at + radius + 1).clamp(max=n)) - so_far.index_select(
            axis, (at - radius).clamp(min=0)
        )
    return values
