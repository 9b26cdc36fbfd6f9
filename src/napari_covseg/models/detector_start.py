"""Weights that a detector starts from: of a segmentation model, or from a local file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.checkpoint import Model
from napari_covseg.models.mask_rcnn import LITE, LesionRCNN


def check_segmentation(model: Model) -> None:
    """Whether a detector of the backbone `LITE` can stand on this segmentation model.

    Raises
    ------
    ModelError
        If its network is another one.
    """
    kind = model.card["architecture"]
    if kind != "unet_lite":
        raise ModelError(
            f"{model.name}: a model of the network '{kind}'; backbone {LITE} stands on 'unet_lite' "
            "alone"
        )


def start_from(network: LesionRCNN, model: Model) -> str:
    """Take the weights of a segmentation model; returns a line that says so.

    Raises
    ------
    ModelError
        If they do not fit.
    """
    check_segmentation(model)
    try:
        network.backbone.body.network.load_state_dict(model.network.state_dict())
    except RuntimeError as error:
        raise ModelError(f"{model.name}: its network does not fit backbone {LITE}") from error
    return f"the segmentation network {model.name} {model.version}"


@torch.no_grad()
def load_pretrained(network: LesionRCNN, file: Path, backbone: str) -> str:
    """Take weights from a local file: of a whole detector, or of the ResNet alone (ImageNet's).

    ``.safetensors``, or what `torch.save` wrote of a state dict (read without running code). All of
    the ResNet must be there; of other parts what fits in name and shape is taken. Returns a line
    that says what was taken.

    Raises
    ------
    ModelError
        If the file cannot be read, or its weights are not those of this ResNet.
    """
    given = _read_weights(file)
    if "conv1.weight" in given:
        given = {f"backbone.body.{name}": value for name, value in given.items()}
    own = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    for name, value in own.items():
        if not name.startswith("backbone.body."):
            continue
        if name not in given:
            raise ModelError(
                f"{file.name}: has no {name.removeprefix('backbone.body.')}, so these are not "
                f"weights of {backbone}"
            )
        if given[name].shape != value.shape:
            raise ModelError(
                f"{file.name}: {name.removeprefix('backbone.body.')} is "
                f"{tuple(given[name].shape)}, {backbone} has {tuple(value.shape)}; give weights of "
                f"{backbone} for colour pictures"
            )
    taken = [name for name in own if name in given and given[name].shape == own[name].shape]
    for name in taken:
        own[name].copy_(given[name])
    heads = sum(not name.startswith("backbone.body.") for name in taken)
    return f"{file.name}: the weights of {backbone}" + (
        f" and {heads} more tensors" if heads else ""
    )


def _read_weights(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{file.name}: not found; give a local file with weights") from None
    except Exception as error:
        raise ModelError(
            f"{file.name}: not a readable file of weights; expected .safetensors, or a state dict "
            "that torch.save wrote"
        ) from error
    for key in ("model_weights", "state_dict", "model"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(f"{file.name}: holds no state dict; expected a dict of tensors")
    return content
