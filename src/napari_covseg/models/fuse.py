"""On a CPU: a convolution and its activation in one pass over memory, weights laid out once.

PyTorch's plain convolution lays its weights out anew for oneDNN at every call, and every activation
reads and writes all features again. The operators that PyTorch's own compiler puts in their place
do neither, need no compiler on the user's machine, and give the same values to the last bit. They
are no public interface: where they are missing, or do not work, the network stays as it is.
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_covseg.models.unet_lite import SameConv2d

_KINDS = (nn.Conv2d, nn.Conv3d, SameConv2d)

Convolution = nn.Conv2d | nn.Conv3d


def fuse_activations(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Replace, in place, convolutions by `FusedConv`, with the ReLU that follows in a `Sequential`.

    For a network on the CPU in evaluation mode whose batch normalisation is folded already
    (`napari_covseg.models.fold`), run in arithmetic of ``dtype``.
    """
    for module in list(network.modules()):
        for name, convolution in list(module.named_children()):
            if not isinstance(convolution, Convolution) or not _is_plain(convolution):
                continue
            if not _is_there(dtype, len(convolution.kernel_size)):
                continue
            follower = _follower(module, name)
            activation = "none" if follower is None else _name_of(module.get_submodule(follower))
            setattr(module, name, FusedConv(convolution, activation, dtype))
            if follower is not None and activation != "none":
                setattr(module, follower, nn.Identity())
    return network


class FusedConv(nn.Module):
    """A convolution, with padding and activation; for inference only.

    ``activation`` is ``"none"``, ``"relu"`` or ``"hardtanh"`` (ReLU6).
    """

    def __init__(self, convolution: Convolution, activation: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.before = convolution.before if isinstance(convolution, SameConv2d) else ()
        self.activation = activation
        self.limits = [0.0, 6.0] if activation == "hardtanh" else []
        self.placed = (
            list(convolution.padding),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        bias = convolution.bias
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.dtype = dtype
        self.weight = convolution.weight.detach().to(dtype)
        self.laid_out = False

    def forward(self, image: Tensor) -> Tensor:
        """As the convolution and its activation, one after the other."""
        image = image.to(self.dtype)
        if self.before:
            image = F.pad(image, self.before)
        if not self.laid_out:  # The best order depends on the size of the features.
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self.placed, list(image.shape)
            )
            self.laid_out = True
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            image, self.weight, self.bias, *self.placed, self.activation, self.limits, ""
        )
        return out


def _is_plain(convolution: Convolution) -> bool:
    """Whether it pads by zeros, by a number of them, and is no kind with a way of its own."""
    zeros = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return zeros and type(convolution) in _KINDS


def _follower(module: nn.Module, name: str) -> str | None:
    """The module that gets a convolution's output in a `Sequential`, beyond what does nothing."""
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        return None
    later = list(module.named_children())
    place = [other for other, _ in later].index(name)
    return next((n for n, m in later[place + 1 :] if not isinstance(m, nn.Identity)), None)


def _name_of(module: nn.Module) -> str:
    kind = type(module)
    return "relu" if kind is nn.ReLU else "hardtanh" if kind is nn.ReLU6 else "none"


@lru_cache
def _is_there(dtype: torch.dtype, dimensions: int) -> bool:
    """Whether the operators exist, work and give what the plain ones give."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        return all(_works(dtype, dimensions, groups) for groups in (1, 4))
    except (RuntimeError, AttributeError, TypeError, ValueError):
        return False


@torch.inference_mode()
def _works(dtype: torch.dtype, dimensions: int, groups: int) -> bool:
    # No module: its random weights would come from the generator that others draw from.
    weight = torch.linspace(-1, 1, 4 * (4 // groups) * 3**dimensions)
    weight = weight.reshape(4, 4 // groups, *(3,) * dimensions).to(dtype)
    one: Any = (1,) * dimensions
    like: Any = SimpleNamespace(
        weight=weight, bias=None, padding=one, stride=one, dilation=one, groups=groups
    )
    shape = (1, 4, *(12, 8, 6)[:dimensions])
    image = torch.linspace(-9, 9, math.prod(shape)).reshape(shape).to(dtype)
    convolve = F.conv2d if dimensions == 2 else F.conv3d
    plain = F.relu6(convolve(image, weight, padding=one, groups=groups))
    found = FusedConv(like, "hardtanh", dtype)(image)
    return torch.allclose(found.float(), plain.float(), atol=0.05)
