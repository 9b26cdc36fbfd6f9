"""Learning without forgetting: where nobody has drawn labels, stay with what the old model says.

The old model, frozen, is the teacher; the network in training is to give the same probabilities on
the same changed patch (knowledge distillation, Hinton et al. 2015, arXiv:1503.02531; against
forgetting, Li and Hoiem 2018, "Learning without forgetting", IEEE TPAMI 40(12)).
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_covseg.domain.labels import NetworkClass

TEMPERATURE = 2.0
"""Softens both, so that also what the teacher holds for unlikely is kept; as Li and Hoiem do."""


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    taught: Tensor,
    temperature: float = TEMPERATURE,
    lesions_apart: bool = True,
) -> Tensor:
    """Kullback-Leibler divergence of the student's classes from the teacher's, mean over voxels.

    Its gradient is that of the soft cross-entropy; unlike that it is 0 where both agree. Times the
    square of the temperature, so that the gradient's size does not depend on it.

    Parameters
    ----------
    student, teacher
        Logits ``(n, classes, *spatial)``; the teacher's need no gradient.
    taught
        bool ``(n, *spatial)``: the voxels that count. 0 without any.
    temperature
        Logits are divided by it.
    lesions_apart
        Whether the teacher can tell GGO from consolidation; else what it says of the two is chance,
        and only that it is one of them is taught.
    """
    wanted = (teacher.float() / temperature).log_softmax(dim=1)
    given = (student.float() / temperature).log_softmax(dim=1)
    if not lesions_apart:
        wanted, given = _as_one_lesion(wanted), _as_one_lesion(given)
    apart = (wanted.exp() * (wanted - given)).sum(dim=1)
    return temperature**2 * (apart * taught).sum() / taught.sum().clamp(min=1)


def _as_one_lesion(log: Tensor) -> Tensor:
    """Logarithms of probabilities ``(n, classes, *spatial)``, those of both lesions added up."""
    lesion = torch.logaddexp(log[:, NetworkClass.GGO], log[:, NetworkClass.CONSOLIDATION])
    return torch.cat([log[:, : NetworkClass.GGO], lesion.unsqueeze(1)], dim=1)
