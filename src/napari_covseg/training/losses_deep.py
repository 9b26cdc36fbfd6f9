"""Deep supervision: every output of a network with several (`DeepOutputs`) has its loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from napari_covseg.models.outputs import DeepOutputs
from napari_covseg.training.losses import LESIONS, decided
from napari_covseg.training.losses_iou import weighted_iou_bce


def supervise(
    outputs: Tensor | DeepOutputs, allowed: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """``loss`` of every map, and `edge_loss` of the edge, summed up (Fung et al., eq. 2).

    Just ``loss`` where there is one output. A map of one channel says infection or none; whatever
    the loss, it is supervised by `weighted_iou_bce`, as the papers do.
    """
    if isinstance(outputs, Tensor):
        return loss(outputs, allowed)
    total = edge_loss(outputs.edge, allowed)
    for one in outputs.maps:
        total = total + (weighted_iou_bce if one.shape[1] == 1 else loss)(one, allowed)
    return total


def edge_loss(logits: Tensor, allowed: Tensor) -> Tensor:
    """Binary cross-entropy of ``(n, 1, *spatial)`` with `lesion_edge`, mean over known voxels."""
    edge, known = lesion_edge(allowed)
    entropy = functional.binary_cross_entropy_with_logits(
        logits[:, 0].float(), edge.float(), reduction="none"
    )
    return (entropy * known).sum() / known.sum().clamp(min=1)


@torch.no_grad()
def lesion_edge(allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Voxels on a lesion's outline, and those where the labels say whether they are.

    Both bool ``(n, *spatial)``. As Fan et al. take it, the gradient of the reference: voxels with a
    neighbour (by a side) on the other side of the outline, which makes it two voxels wide. A voxel
    that is left open is unknown, and so is one whose neighbour is, unless another one decides.
    """
    inside, known = decided(allowed, LESIONS)
    near_inside, near_outside = _or_neighbour(inside), _or_neighbour(known & ~inside)
    edge = known & near_inside & near_outside
    return edge, edge | (known & ~_or_neighbour(~known))


def _or_neighbour(found: Tensor) -> Tensor:
    """Whether the voxel or one that shares a side with it is among those found."""
    spread = found.clone()
    for axis in range(1, found.ndim):
        n = found.shape[axis]
        spread.narrow(axis, 1, n - 1).logical_or_(found.narrow(axis, 0, n - 1))
        spread.narrow(axis, 0, n - 1).logical_or_(found.narrow(axis, 1, n - 1))
    return spread
