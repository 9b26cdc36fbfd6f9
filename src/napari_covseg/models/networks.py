"""Networks by name. To add one: its file in this folder, and its line in `NETWORKS`.

Nothing here imports torch before a network is built, so command lines can list the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from napari_covseg.domain.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

_MOST_CHANNELS, _MOST_LEVELS = 65_536, 32


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """A network that training and inference find by its name.

    Parameters
    ----------
    name
        What cards (``architecture``) and settings call it.
    module
        The file in this folder that defines it, without ``.py``.
    factory
        The class or function there that builds it. It takes keyword arguments of plain values,
        which are kept in the card, and each of them has a default. The network takes
        ``(n, 1, *spatial)`` and gives logits ``(n, classes, *spatial)`` (`NetworkClass`).
    dimensions
        2 for axial slices (`AxialRecipe`), 3 for volumes (`VolumeRecipe`).
    description
        One line for lists.
    outputs
        Whether it gives several outputs in training (`outputs.DeepOutputs`), each to be supervised.
    """

    name: str
    module: str
    factory: str
    dimensions: Literal[2, 3]
    description: str
    outputs: bool = False


NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            NetworkEntry("unet2d", "unet2d", "UNet2D", 2, "2D U-Net with strided convolutions"),
            NetworkEntry("unet_lite", "unet_lite", "UNetLite", 2, "EfficientNet-Lite0 U-Net, 2D"),
            NetworkEntry(
                "unetplusplus2d", "unetplusplus2d", "UNetPlusPlus2D", 2, "U-Net++ of Zhou et al."
            ),
            NetworkEntry("unet3d", "unet3d", "UNet3D", 3, "standard 3D U-Net of Mueller et al."),
            NetworkEntry(
                "qchc_unet3d", "qchc_unet3d", "QCHCUNet3D", 3, "QC-HC U-Net of Zhang et al."
            ),
            NetworkEntry(
                "attention_unet2d",
                "attention_unet2d",
                "AttentionUNet2D",
                2,
                "U-Net with attention gates of Singh & Krishna",
            ),
            NetworkEntry(
                "efficientnet_unet2d",
                "efficientnet_unet2d",
                "EfficientNetUNet2D",
                2,
                "U-Net on EfficientNet-B0 to B7, after Singh & Krishna",
            ),
            NetworkEntry(
                "infnet2d", "infnet2d", "InfNet2D", 2, "Inf-Net of Fan et al., Fung et al.", True
            ),
            NetworkEntry(
                "infnet2d_multi",
                "infnet2d_multi",
                "InfNetMulti2D",
                2,
                "Inf-Net, and a U-Net that makes classes of what it finds",
                True,
            ),
        )
    }
)
"""Every network there is, by name."""


def entry(name: object) -> NetworkEntry:
    """The network of that name.

    Raises
    ------
    ModelError
        If there is none.
    """
    if not isinstance(name, str) or name not in NETWORKS:
        raise ModelError(f"network '{name}' is not known (known: {', '.join(NETWORKS)})")
    return NETWORKS[name]


def build(name: str, /, **arguments: Any) -> nn.Module:
    """A new network with random weights, on the CPU; ``arguments`` are its factory's.

    Raises
    ------
    ModelError
        If there is no such network or it does not take these arguments.
    """
    found = entry(name)
    module = import_module(f"{__package__}.{found.module}")
    try:
        for value in arguments.values():
            _check_modest(value)
        network: nn.Module = getattr(module, found.factory)(**arguments)
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"these arguments do not fit network '{name}': {reason}") from error
    return network


def _check_modest(value: Any) -> None:
    """Cards come from anywhere: one number in them must not take all memory, or hours."""
    if isinstance(value, str):
        return
    if isinstance(value, Mapping | Sequence):
        if len(value) > _MOST_LEVELS:
            raise ValueError(f"{len(value)} values, expected {_MOST_LEVELS} at most")
        for one in value.values() if isinstance(value, Mapping) else value:
            _check_modest(one)
    elif isinstance(value, int | float) and not abs(value) <= _MOST_CHANNELS:
        raise ValueError(f"{value} is beyond any network's")
