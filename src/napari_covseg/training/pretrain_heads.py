"""The last layers of a network: a linear one to pretrain with, and the old ones afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from napari_covseg.domain.errors import ModelError, UsageError

_INFNET = ("decoder.head", "reverse3.head", "reverse4.head", "reverse5.head", "edge_head")
HEADS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "unet_lite": ("head",),
        "unet2d": ("head",),
        "attention_unet2d": ("head",),
        "efficientnet_unet2d": ("head",),
        "infnet2d": _INFNET,
        "infnet2d_multi": ("multi.head", *(f"single.{path}" for path in _INFNET)),
    }
)
"""The last layer of each output, by network: what a pretraining replaces and does not hand on."""


def check_network(name: str) -> None:
    """Whether a network can be pretrained.

    Raises
    ------
    UsageError
        If it cannot.
    """
    if name not in HEADS:
        raise UsageError(f"network {name} cannot be pretrained: use one of {', '.join(HEADS)}")


def put_linear_heads(network: nn.Module, name: str) -> None:
    """Replace the last layer of every output by a convolution of its size that gives one map."""
    for path in HEADS[name]:
        parent, _, attribute = path.rpartition(".")
        old = next(m for m in network.get_submodule(path).modules() if isinstance(m, nn.Conv2d))
        new = nn.Conv2d(
            old.in_channels,
            1,
            old.kernel_size,  # type: ignore[arg-type]
            padding=old.padding,  # type: ignore[arg-type]
        )
        setattr(network.get_submodule(parent), attribute, new)


def of_heads(key: str, name: str) -> bool:
    """Whether a tensor of that network belongs to a last layer."""
    return key.startswith(tuple(f"{path}." for path in HEADS[name]))


def body_of(network: nn.Module, name: str) -> dict[str, Tensor]:
    """Every tensor but those of the last layers, on the CPU."""
    return {
        key: value.detach().cpu().contiguous()
        for key, value in network.state_dict().items()
        if not of_heads(key, name)
    }


@torch.no_grad()
def load_body(network: nn.Module, name: str, body: Mapping[str, Tensor], whose: str) -> list[str]:
    """Copy `body_of` a pretrained network; returns the tensors that stay new.

    Raises
    ------
    ModelError
        If the network has other tensors or shapes; it is then left as it was.
    """
    mine = network.state_dict()
    expected = {key for key in mine if not of_heads(key, name)}
    differ = sorted(expected ^ body.keys())
    differ += [key for key in sorted(expected & body.keys()) if mine[key].shape != body[key].shape]
    if differ:
        raise ModelError(
            f"{whose}: {len(differ)} of its {len(body)} tensors do not fit network {name} as it is "
            f"set ({differ[0]}); give the network_arguments that it was pretrained with"
        )
    for key, value in body.items():
        mine[key].copy_(value)
    return sorted(mine.keys() - expected)
