"""ImageNet weights for an encoder, from a file that the user has.

Nothing is downloaded, and which file it was is no argument of the network: a trained model carries
all its weights itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_covseg.domain.errors import ModelError


class PublishedEncoder(nn.Module):
    """An encoder whose ImageNet weights are published.

    ``weights`` says which, by the name they are known by; ``widths`` are the feature maps of each
    level that it returns, finest first.
    """

    weights: str
    widths: tuple[int, ...]

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(n, inputs, h, w)`` to the features of each level, finest first."""
        raise NotImplementedError

    def published(self) -> Iterator[tuple[str, nn.Module]]:
        """Every module with weights of its own, by its published name; the stem's comes first."""
        raise NotImplementedError


def load_imagenet(network: nn.Module, file: Path) -> None:
    """Copy ImageNet weights into the network's encoder; a grey image counts as equal colours.

    ``file`` is a ``.safetensors``, or a ``.pth`` of tensors only. The network is left as it was
    where the weights do not fit.

    Raises
    ------
    ModelError
        If the network has no such encoder, the file cannot be read, or the weights are others.
    """
    encoders = [m for m in network.modules() if isinstance(m, PublishedEncoder)]
    if len(encoders) != 1:
        raise ModelError("this network has no encoder that ImageNet weights are published for")
    (encoder,) = encoders
    weights = read_weights(file, encoder.weights)
    try:
        pairs = list(_pairs(encoder, weights))
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{file.name}: expected the ImageNet weights {encoder.weights}, but "
            f"{error.args[0]}; give the file of that name, or train without ImageNet weights"
        ) from error
    with torch.no_grad():
        for mine, theirs in pairs:
            mine.copy_(theirs)


def read_weights(file: Path, expected: str) -> Mapping[str, Tensor]:
    """The tensors of a ``.safetensors``, or of a ``.pth`` of tensors only, by their names.

    Raises
    ------
    ModelError
        If the file is not there, not readable or holds no weights; says that ``expected`` was.
    """
    advice = f"expected the ImageNet weights {expected}, as .safetensors or .pth"
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(
            f"{file.name}: not found; {advice}, or train without ImageNet weights"
        ) from error
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(f"{file.name}: not readable; {advice}") from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        raise ModelError(f"{file.name}: holds no weights; {advice}")
    return found


def _pairs(
    encoder: PublishedEncoder, weights: Mapping[str, Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each tensor of the encoder, and what to copy into it."""
    for index, (name, module) in enumerate(encoder.published()):
        for field, mine in module.state_dict(keep_vars=True).items():
            if field == "num_batches_tracked":
                continue
            key = f"{name}.{field}"
            theirs = weights.get(key)
            if not isinstance(theirs, Tensor):
                raise KeyError(f"{key} is not in it")
            if index == 0 and mine.shape[1] != theirs.shape[1]:
                theirs = theirs.sum(dim=1, keepdim=True).expand_as(mine) / mine.shape[1]
            if theirs.shape != mine.shape:
                sizes = [" x ".join(map(str, tensor.shape)) for tensor in (theirs, mine)]
                raise ValueError(f"{key} is of {sizes[0]} where {sizes[1]} was expected")
            yield mine, theirs
