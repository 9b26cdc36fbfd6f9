"""Boundary loss (Kervadec et al. 2019) beside binary cross-entropy and Dice, of partial labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_covseg.domain.errors import UsageError
from napari_covseg.training.losses import REGIONS, decided, region_logs, soft_dice_loss

_FAR = 1e12


def boundary_bce_dice(
    logits: Tensor,
    allowed: Tensor,
    *,
    weights: Sequence[float] = (0.01, 0.5),
    rebalance: bool = True,
    spacing: Sequence[float] = (),
    smooth: float = 50.0,
    done: float = 0.0,
) -> Tensor:
    """BCE + soft Dice and, with a weight that grows, the boundary loss, in float32.

    The loss of Singh & Krishna. They name its parts and cite Kervadec et al., whose scheme for the
    weight a of the boundary is followed: ``(1 - a) (BCE + Dice) + a boundary``, a growing evenly
    ("rebalance"), or ``(BCE + Dice) + a boundary`` ("increase").

    Parameters
    ----------
    logits
        ``(n, classes, *spatial)``.
    allowed
        bool, same shape.
    weights
        a at the start and at the end of the training. Kervadec et al. add 0.01 in each epoch; here
        a training has no fixed length. Where the boundary weighs nearly all, to predict no lesion
        is close to the least that the loss can be.
    rebalance
        Whether the rest weighs less as the boundary weighs more.
    spacing
        Size of a voxel along each axis in any unit, for patches of voxels that are no cubes; empty:
        all 1.
    smooth
        As for `soft_dice_loss`.
    done
        The share of the training (0 to 1) that is behind.

    Raises
    ------
    UsageError
        If there are not two weights of 0 to 1, or a size is not above 0.
    """
    if len(weights) != 2 or not all(0 <= one <= 1 for one in weights):
        raise UsageError(
            f"weights: expected two of 0 to 1, at the start and the end, got {weights}"
        )
    if not all(size > 0 for size in spacing):
        raise UsageError(f"spacing: expected sizes above 0, got {spacing}")
    logits = logits.float()
    entropy, boundary = _entropy_and_boundary(logits, allowed, spacing)
    region = entropy + soft_dice_loss(logits.softmax(dim=1), allowed, smooth)
    first, last = weights
    weight = first + (last - first) * min(1.0, max(0.0, done))
    return (1 - weight if rebalance else 1.0) * region + weight * boundary


def _entropy_and_boundary(
    logits: Tensor, allowed: Tensor, spacing: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and the boundary loss of `REGIONS`, each a mean over its known voxels.

    The boundary loss is the mean of probability times signed distance: 0 for a region that a
    sample does not hold, or does not leave, as in the published code.
    """
    entropies, boundaries = [], []
    for region in REGIONS:
        inside, known = decided(allowed, region)
        log_in, log_out = region_logs(logits, region)
        count = known.sum().clamp(min=1)
        entropies.append((-torch.where(inside, log_in, log_out) * known).sum() / count)
        distance = signed_distance(inside, known & ~inside, spacing)
        boundaries.append((log_in.exp() * distance).sum() / count)
    return torch.stack(entropies).mean(), torch.stack(boundaries).mean()


@torch.no_grad()
def signed_distance(inside: Tensor, outside: Tensor, spacing: Sequence[float] = ()) -> Tensor:
    """How far each voxel is from the outline, float32; bool ``(n, *spatial)`` in, same shape out.

    Outside, the distance to the nearest voxel inside; inside, 1 less than that to the nearest
    outside, negative (Kervadec et al. count so). 0 for voxels that are neither, and in samples that
    lack one of both.

    Raises
    ------
    UsageError
        If ``spacing`` has not a size for each axis.
    """
    sizes = tuple(float(size) for size in spacing) or (1.0,) * (inside.ndim - 1)
    if len(sizes) != inside.ndim - 1:
        raise UsageError(f"spacing: expected {inside.ndim - 1} sizes, got {len(sizes)}")
    distance = _exact if inside.device.type == "cpu" else _by_axis
    signed = distance(inside, sizes) * outside - (distance(outside, sizes) - 1) * inside
    axes = tuple(range(1, inside.ndim))
    both = inside.any(dim=axes, keepdim=True) & outside.any(dim=axes, keepdim=True)
    return torch.where(both, signed, 0.0)


def _exact(found: Tensor, sizes: tuple[float, ...]) -> Tensor:
    """Distance to the nearest voxel found, on the CPU; anything in a sample without."""
    planes: list[NDArray[np.float64]] = [
        np.asarray(ndimage.distance_transform_edt(~one, sampling=sizes)) for one in found.numpy()
    ]
    return torch.from_numpy(np.stack(planes).astype(np.float32))


def _by_axis(found: Tensor, sizes: tuple[float, ...]) -> Tensor:
    """The same where the tensor is, one axis after the other: nothing waits for the CPU."""
    squares = torch.where(found, 0.0, _FAR)
    for axis, size in enumerate(sizes, start=1):
        n = squares.shape[axis]
        shape = [n if one == axis else 1 for one in range(squares.ndim)]
        at = torch.arange(n, device=found.device, dtype=squares.dtype).view(shape) * size
        best = torch.full_like(squares, _FAR)
        for place in range(n):
            steps = (at - place * size).square()
            best = torch.minimum(best, squares.narrow(axis, place, 1) + steps)
        squares = best
    return squares.sqrt()
