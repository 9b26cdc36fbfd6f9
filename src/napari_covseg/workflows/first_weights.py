"""The weights that a training begins with, and whether its network takes what it is given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models.imagenet import PublishedEncoder, load_imagenet
from napari_covseg.models.unet_lite import UNetLite
from napari_covseg.training.pretrained import imagenet_weights, load_encoder
from napari_covseg.training.schedules import Preset

_TRIED = 64
"""Voxels of a patch along each axis, and up to 31 more, that a network is tried with."""


def load_published(network: nn.Module, preset: Preset) -> None:
    """Put ImageNet's weights into the encoder, where the settings ask for them.

    Raises
    ------
    UsageError
        If there are none for this network, or no file of them was named.
    ModelError
        If the file or the package that holds them is not there, or holds others.
    """
    if isinstance(preset.pretrained, str):
        load_imagenet(network, Path(preset.pretrained))
    elif preset.pretrained and isinstance(network, UNetLite):
        load_encoder(network, imagenet_weights())
    elif preset.pretrained:
        encoders = [m for m in network.modules() if isinstance(m, PublishedEncoder)]
        if len(encoders) == 1:
            raise UsageError(
                f"the ImageNet weights of network {preset.network} ({encoders[0].weights}) do not "
                "come with covseg: --set pretrained=FILE names those you have, "
                "--set pretrained=false does without"
            )
        raise UsageError(
            f"there are no ImageNet weights for network {preset.network}: --set pretrained=false"
        )


def check_patch(network: nn.Module, preset: Preset) -> None:
    """Whether the network takes patches of this size: found out with fewer voxels of the same kind.

    Networks halve their input some times, so what decides is the remainder of a size by a power of
    two (32, five times); a whole patch of a volume would take seconds.

    Raises
    ------
    UsageError
        If it does not.
    """
    size = [min(n, n % 32 + _TRIED) for n in preset.patch]
    expected = (1, len(NetworkClass), *size)
    try:
        with torch.no_grad():
            output: Tensor = network.eval()(torch.zeros(1, 1, *size))
        given = tuple(output.shape)
        reason = f"its output is of {_shown(given)} for an input of {_shown((1, 1, *size))}"
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        given = ()
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    finally:
        network.train()
    if given != expected:
        raise UsageError(
            f"patch={_shown(preset.patch)} does not suit network {preset.network}: {reason}; "
            "take sizes that are multiples of 32, or change network_arguments"
        )


def _shown(values: Iterable[float]) -> str:
    return ",".join(str(value) for value in values)
