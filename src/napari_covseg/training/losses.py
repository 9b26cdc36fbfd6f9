"""Losses for partial labels: each label allows a set of classes (``docs/concepts/labels.md``)."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_covseg.domain.labels import NetworkClass

LESIONS = (NetworkClass.GGO, NetworkClass.CONSOLIDATION)
REGIONS: tuple[tuple[NetworkClass, ...], ...] = (
    (NetworkClass.GGO,),
    (NetworkClass.CONSOLIDATION,),
    LESIONS,
    (NetworkClass.LUNG, *LESIONS),
)
"""Unions of classes whose Dice is optimised: GGO, consolidation, infection, whole lung."""


def allowed_cross_entropy(logits: Tensor, allowed: Tensor) -> Tensor:
    """-log of the probability of each voxel's set of allowed classes, averaged over voxels.

    Parameters
    ----------
    logits
        ``(n, classes, h, w)``.
    allowed
        bool, same shape; voxels that allow every class (ignore) are left out of the mean.
    """
    log_all = torch.logsumexp(logits, dim=1)
    log_allowed = torch.logsumexp(logits.masked_fill(~allowed, -torch.inf), dim=1)
    known = ~allowed.all(dim=1)
    return ((log_all - log_allowed) * known).sum() / known.sum().clamp(min=1)


def soft_dice_loss(probability: Tensor, allowed: Tensor, smooth: float = 50.0) -> Tensor:
    """1 - soft Dice over the batch, averaged over `REGIONS`.

    A voxel counts for a region only where its label decides whether it belongs there. ``smooth``
    (voxels) keeps a batch without the region from punishing a few stray voxels out of proportion.
    """
    losses = []
    for region in REGIONS:
        inside = list(region)
        outside = [c for c in range(probability.shape[1]) if c not in region]
        is_in = ~allowed[:, outside].any(dim=1)
        known = is_in | ~allowed[:, inside].any(dim=1)
        p = probability[:, inside].sum(dim=1) * known
        target = is_in.to(p.dtype)
        overlap = (p * target).sum()
        losses.append(1 - (2 * overlap + smooth) / (p.sum() + target.sum() + smooth))
    return torch.stack(losses).mean()


def partial_label_loss(logits: Tensor, allowed: Tensor) -> Tensor:
    """Cross-entropy over the allowed sets plus soft Dice, both in float32."""
    logits = logits.float()
    return allowed_cross_entropy(logits, allowed) + soft_dice_loss(logits.softmax(dim=1), allowed)
