"""Support vector machines that share the pictures they were trained on, as arrays.

All members stand on the same standardised training pictures, so a member is a number for each of
them: a hundred members take less room than one on its own, and they have gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

KERNELS = ("poly", "rbf")
_FIELDS = ("coefficients", "intercepts", "slopes", "offsets")


def kernel_values(name: str, one: Tensor, other: Tensor) -> Tensor:
    """``(n, d)`` and ``(m, d)`` to ``(n, m)``: ``(g x y + 1)^2`` or ``exp(-g |x - y|^2)``.

    ``g`` is one over the number of features, which are standardised.

    Raises
    ------
    KeyError
        If there is no such kernel.
    """
    products = one @ other.T / one.shape[1]
    if name == "poly":
        return (products + 1) ** 2
    if name != "rbf":
        raise KeyError(name)
    lengths = [(x**2).sum(dim=1) / one.shape[1] for x in (one, other)]
    return (2 * products - lengths[0][:, None] - lengths[1]).clamp(max=0).exp()


@dataclass(frozen=True, eq=False)
class KernelHead:
    """An ensemble of support vector machines.

    ``support`` ``(m, d)`` are the training pictures' features, standardised with ``mean`` and
    ``scale`` ``(d,)``. Each member has a machine for each class against the others, or one for the
    second of two: ``coefficients`` ``(members, machines, m)``, ``intercepts``, and Platt's
    ``slopes`` and ``offsets``, ``(members, machines)`` each.
    """

    kernel: str
    support: Tensor
    mean: Tensor
    scale: Tensor
    coefficients: Tensor
    intercepts: Tensor
    slopes: Tensor
    offsets: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """``(n, d)`` to ``(members, n, classes)``; gradients pass."""
        near = kernel_values(self.kernel, (features - self.mean) / self.scale, self.support)
        scores = torch.einsum("nm,ecm->enc", near, self.coefficients) + self.intercepts[:, None]
        scores = scores * self.slopes[:, None] + self.offsets[:, None]
        if scores.shape[2] == 1:
            return torch.cat([torch.zeros_like(scores), scores], dim=2)
        # Each machine's probability, as a share of those of all.
        return F.logsigmoid(scores)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """``(n, d)`` to what each member says, ``(members, n, classes)``; each row sums to 1."""
        with torch.inference_mode():
            said = self.logits(torch.from_numpy(features)).double().softmax(dim=-1)
        return np.asarray(said.numpy())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """For a file; the training pictures stand there by themselves (`References`)."""
        return {f"{name}.{self.kernel}.{field}": getattr(self, field) for field in _FIELDS}

    @classmethod
    def from_tensors(
        cls, name: str, stored: Mapping[str, Tensor], support: Tensor, mean: Tensor, scale: Tensor
    ) -> KernelHead:
        """What `tensors` gave, on the same training pictures.

        Raises
        ------
        KeyError
            If there is none of that name.
        ValueError
            If it is of another number of pictures.
        """
        for kernel in KERNELS:
            if f"{name}.{kernel}.coefficients" in stored:
                own = [stored[f"{name}.{kernel}.{field}"].float() for field in _FIELDS]
                if own[0].shape[2] != len(support):
                    raise ValueError("machines and training pictures differ in number")
                return cls(kernel, support, mean, scale, *own)
        raise KeyError(name)
