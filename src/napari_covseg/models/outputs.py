"""What networks with several outputs give in training, for losses that supervise them all.

In evaluation mode every network gives one tensor of logits. In training mode those here give a
named tuple instead, which keeps to `DeepOutputs`: a loss needs to know no network.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class DeepOutputs(Protocol):
    """Several outputs at the size of the input, all of them logits, each to be supervised."""

    @property
    def final(self) -> Tensor:
        """``(n, classes, h, w)``: what the network gives in evaluation mode."""

    @property
    def maps(self) -> tuple[Tensor, ...]:
        """``(n, classes, h, w)`` each, the final one first; ``(n, 1, h, w)``: infection or none."""

    @property
    def edge(self) -> Tensor:
        """``(n, 1, h, w)``: whether a pixel is on the border of a lesion."""


class InfNetOutputs(NamedTuple):
    """Of `InfNet2D`: the three reverse attentions, finest first, the global map and the edge."""

    s3: Tensor
    s4: Tensor
    s5: Tensor
    global_map: Tensor
    edge: Tensor

    @property
    def final(self) -> Tensor:
        """S3, the finest."""
        return self.s3

    @property
    def maps(self) -> tuple[Tensor, ...]:
        """All but the edge."""
        return (self.s3, self.s4, self.s5, self.global_map)


class InfNetMultiOutputs(NamedTuple):
    """Of `InfNetMulti2D`: its own classes, then what the single network in it gives."""

    logits: Tensor
    s3: Tensor
    s4: Tensor
    s5: Tensor
    global_map: Tensor
    edge: Tensor

    @property
    def final(self) -> Tensor:
        """The second network's."""
        return self.logits

    @property
    def maps(self) -> tuple[Tensor, ...]:
        """All but the edge."""
        return (self.logits, self.s3, self.s4, self.s5, self.global_map)
