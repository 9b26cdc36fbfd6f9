"""On a CPU: a convolution and its activation in one pass over memory, weights laid out once.

PyTorch's plain convolution lays its weights out anew for oneDNN at every call, and every activation
reads and writes all features again. The operators that PyTorch's own compiler puts in their place
do neither, need no compiler on the user's machine, and give the same values to the last bit. They
are no public interface: where they are missing, or do not work, the network stays as it is.
"""

from __future__ import annotations

from functools import lru_cache

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
    if not _is_there(dtype):
        return network
    for module in list(network.modules()):
        for name, convolution in list(module.named_children()):
            if not isinstance(convolution, Convolution) or not _is_plain(convolution):
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
    if not isinstance(module, nn.Sequential):
        return None
    later = list(module.named_children())
    place = [other for other, _ in later].index(name)
    return next((n for n, m in later[place + 1 :] if not isinstance(m, nn.Identity)), None)


def _name_of(module: nn.Module) -> str:
    kind = type(module)
    return "relu" if kind is nn.ReLU else "hardtanh" if kind is nn.ReLU6 else "none"


@lru_cache
def _is_there(dtype: torch.dtype) -> bool:
    """Whether the operators exist, work and give what the plain ones give."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        plain = nn.Conv2d(3, 4, 3, padding=1).to(dtype)
        image = torch.linspace(-9, 9, 3 * 12 * 8).reshape(1, 3, 12, 8).to(dtype)
        try:
            found = FusedConv(plain, "hardtanh", dtype)(image)
        except (RuntimeError, AttributeError, TypeError):
            return False
        return torch.allclose(found.float(), F.relu6(plain(image)).float(), atol=0.05)
