"""Losses for partial labels: each label allows a set of classes (``docs/concepts/labels.md``).

All take logits ``(n, classes, *spatial)``, for slices and volumes alike, and ``allowed``, bool of
the same shape: the classes that agree with each voxel's label. Voxels that allow every class
(ignore) cost nothing and get no gradient. `losses_named` has them all by name.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import NetworkClass

LESIONS = (NetworkClass.GGO, NetworkClass.CONSOLIDATION)
REGIONS: tuple[tuple[NetworkClass, ...], ...] = (
    (NetworkClass.GGO,),
    (NetworkClass.CONSOLIDATION,),
    LESIONS,
    (NetworkClass.LUNG, *LESIONS),
)
"""Unions of classes whose Dice is optimised: GGO, consolidation, infection, whole lung."""
PARTIAL_LABELS: tuple[tuple[NetworkClass, ...], ...] = (
    LESIONS,
    (NetworkClass.BACKGROUND, NetworkClass.LUNG),
)
"""The sets that partial labels allow: infection of unknown class, no lesion (perhaps lung)."""


def allowed_cross_entropy(logits: Tensor, allowed: Tensor) -> Tensor:
    """-log of the probability of each voxel's set of allowed classes, averaged over voxels.

    Voxels that allow every class are left out of the mean. With full labels this is categorical
    cross-entropy.
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
        is_in, known = decided(allowed, region)
        p = probability[:, list(region)].sum(dim=1) * known
        target = is_in.to(p.dtype)
        overlap = (p * target).sum()
        losses.append(1 - (2 * overlap + smooth) / (p.sum() + target.sum() + smooth))
    return torch.stack(losses).mean()


def tversky_loss(
    probability: Tensor,
    allowed: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1e-6,
    batch: bool = False,
    reduction: str = "sum",
) -> Tensor:
    """1 - Tversky index of each class, over the classes and the samples (Salehi et al. 2017).

    The index is ``(TP + smooth) / (TP + alpha FP + beta FN + smooth)`` of the probabilities; with
    one half for both it is soft Dice. The defaults are those of MIScnn, with which Mueller et al.
    trained: each sample has its own index, its classes are summed up (least 0, greatest their
    number), samples are averaged.

    A voxel counts for a class only where its label decides whether it belongs there. A partial
    label decides about its set as a whole, so a sample that holds one of `PARTIAL_LABELS` has a
    term for this set too, as if it was one more class.

    Parameters
    ----------
    probability
        ``(n, classes, *spatial)``, summing up to 1.
    allowed
        bool, same shape.
    alpha, beta
        Weights of false positives and of false negatives, named as Salehi et al. and MONAI do
        (Mueller et al. write them the other way round, and use one half for both).
    smooth
        Voxels added above and below the line, against 0 / 0.
    batch
        Whether the index is of all samples together rather than of each.
    reduction
        ``"sum"`` or ``"mean"`` over the classes (a partial label's set among them).

    Raises
    ------
    UsageError
        If a weight or the smoothing is negative, both weights are 0, or the reduction is unknown.
    """
    if min(alpha, beta, smooth) < 0 or alpha + beta <= 0:
        raise UsageError(
            "expected alpha, beta and smooth of at least 0 and alpha + beta above 0, "
            f"got {alpha}, {beta} and {smooth}"
        )
    if reduction not in ("sum", "mean"):
        raise UsageError(f"unknown reduction {reduction!r}: use sum or mean")
    axes = list(range(0 if batch else 1, allowed.ndim - 1))
    losses, weights = [], []
    for region in (*((c,) for c in NetworkClass), *PARTIAL_LABELS):
        is_in, known = decided(allowed, region)
        target = is_in.to(probability.dtype)
        p = probability[:, list(region)].sum(dim=1) * known
        true = (p * target).sum(dim=axes)
        false_positive, false_negative = p.sum(dim=axes) - true, target.sum(dim=axes) - true
        wrong = alpha * false_positive + beta * false_negative
        losses.append(1 - (true + smooth) / (true + wrong + smooth))
        weights.append(_is_there(allowed, region, axes).to(probability.dtype))
    weight = torch.stack(weights)
    total = (torch.stack(losses) * weight).sum(dim=0)
    return (total / weight.sum(dim=0) if reduction == "mean" else total).mean()


def partial_label_loss(logits: Tensor, allowed: Tensor, *, smooth: float = 50.0) -> Tensor:
    """Cross-entropy over the allowed sets plus soft Dice (`soft_dice_loss`), both in float32."""
    logits = logits.float()
    entropy = allowed_cross_entropy(logits, allowed)
    return entropy + soft_dice_loss(logits.softmax(dim=1), allowed, smooth)


def tversky_cross_entropy(
    logits: Tensor,
    allowed: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1e-6,
    batch: bool = False,
    reduction: str = "sum",
) -> Tensor:
    """Cross-entropy over the allowed sets plus `tversky_loss`, both in float32.

    With the defaults the loss of Mueller et al. (2021).
    """
    logits = logits.float()
    tversky = tversky_loss(
        logits.softmax(dim=1),
        allowed,
        alpha=alpha,
        beta=beta,
        smooth=smooth,
        batch=batch,
        reduction=reduction,
    )
    return allowed_cross_entropy(logits, allowed) + tversky


def decided(allowed: Tensor, region: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where labels say that a voxel is in the region, and where they say whether it is.

    Both bool ``(n, *spatial)``; ``region`` are classes.
    """
    outside = [c for c in range(allowed.shape[1]) if c not in region]
    is_in = ~allowed[:, outside].any(dim=1)
    return is_in, is_in | ~allowed[:, list(region)].any(dim=1)


def region_logs(logits: Tensor, region: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Logarithms of the probability of the region and of all else, ``(n, *spatial)`` each."""
    outside = [c for c in range(logits.shape[1]) if c not in region]
    log_all = torch.logsumexp(logits, dim=1)
    inside = torch.logsumexp(logits[:, list(region)], dim=1) - log_all
    return inside, torch.logsumexp(logits[:, outside], dim=1) - log_all


def _is_there(allowed: Tensor, region: Sequence[int], axes: list[int]) -> Tensor:
    """Whether a sample has a term for the region: a class always, a set where a label is it."""
    if len(region) == 1:
        return torch.ones_like(allowed[:, 0]).any(dim=axes)
    is_in, _ = decided(allowed, region)
    return (is_in & allowed[:, list(region)].all(dim=1)).any(dim=axes)
