"""The weights that a training begins with, and whether its network takes what it is given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.io.nnunet import RawDataset
from napari_covseg.models.checkpoint import AXIAL, VOLUME, Model
from napari_covseg.models.efficientnet_unet2d import EfficientNetUNet2D
from napari_covseg.models.imagenet import PublishedEncoder, load_imagenet
from napari_covseg.models.infnet2d_multi import InfNetMulti2D
from napari_covseg.models.unet_lite import UNetLite
from napari_covseg.models.zoo import holds_pretraining, load
from napari_covseg.training.pretrain_files import Pretraining, read_pretraining
from napari_covseg.training.pretrain_heads import load_body
from napari_covseg.training.pretrained import imagenet_weights, load_encoder
from napari_covseg.training.schedules import Preset
from napari_covseg.training.splits import Fold, hidden

_ORDER = ("network", "network_arguments", "recipe")
_TRIED = 64
"""Voxels of a patch along each axis, and up to 31 more, that a network is tried with."""


def read_start(name_or_folder: str) -> Model | Pretraining:
    """The model of that name or in that folder, or the pretraining in it.

    Raises
    ------
    ModelError
        If there is neither, or it cannot be read.
    """
    if holds_pretraining(name_or_folder):
        return read_pretraining(Path(name_or_folder))
    return load(name_or_folder)


def load_first(network: nn.Module, preset: Preset, start: Model | Pretraining | None) -> str:
    """Put the weights into ``network`` that a training begins with; returns whose they are.

    Raises
    ------
    UsageError, ModelError
        If ``start`` is of another network or preparation, what is frozen was never trained, or as
        `load_published`.
    """
    if start is None:
        _check_frozen(network, preset)
        load_published(network, preset)
        file = "ImageNet" if preset.pretrained is True else named(preset.pretrained)
        return f"the encoder's from {file}" if preset.pretrained else ""
    if isinstance(start, Pretraining):
        return _from_pretraining(network, preset, start)
    single = isinstance(network, InfNetMulti2D) and start.card["architecture"] == "infnet2d"
    _check_start(start, preset, single)
    weights = start.network.state_dict()
    if isinstance(network, InfNetMulti2D) and single:
        network.load_single(weights)
        return f"{start.name}: {len(weights)} tensors of its single network; the others are new"
    network.load_state_dict(weights)
    return f"{start.name}: all {len(weights)} tensors"


def _check_frozen(network: nn.Module, preset: Preset) -> None:
    """Whether something trained what stays as it is; found out before hours are spent on it."""
    if isinstance(network, InfNetMulti2D) and network.frozen:
        raise UsageError(
            "frozen keeps the single network of infnet2d_multi as it is, and nothing has trained "
            "it: start from a trained infnet2d (--from), or leave frozen away"
        )
    if isinstance(network, EfficientNetUNet2D) and network.frozen and not preset.pretrained:
        raise UsageError(
            "frozen keeps the encoder of efficientnet_unet2d as it is, and its weights are random: "
            "--set pretrained=FILE names ImageNet's, or leave frozen away"
        )


def _from_pretraining(network: nn.Module, preset: Preset, start: Pretraining) -> str:
    card = start.card
    kind = {"kind": AXIAL if preset.dimensions == 2 else VOLUME}
    _check_alike(
        start.name,
        {"network": card["network"], "recipe": card["recipe"]},
        {"network": preset.network, "recipe": {**kind, **preset.make_recipe().to_dict()}},
    )
    if isinstance(network, InfNetMulti2D) and network.frozen:
        raise UsageError(
            f"{start.name}: pretrained weights leave the last layers of a frozen single network "
            "untrained; train with frozen false, or start from a trained infnet2d"
        )
    new = load_body(network, preset.network, start.body, start.name)
    heads = sorted({key.rpartition(".")[0] for key in new})
    return f"{start.name}: {len(start.body)} tensors; new are the last layers ({', '.join(heads)})"


def _check_start(start: Model, preset: Preset, single: bool) -> None:
    """Whether a model's weights mean the same in the network that the settings describe."""
    wanted: dict[str, Any] = {"recipe": preset.make_recipe().to_dict()}
    card: dict[str, Any] = {"recipe": start.recipe.to_dict()}
    if not single:
        wanted |= {
            "network": preset.network,
            "network_arguments": _that_shape(preset.network_arguments),
        }
        card |= {
            "network": start.card["architecture"],
            "network_arguments": _that_shape(start.card["arguments"]),
        }
    _check_alike(start.name, card, wanted)


def _that_shape(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says only which weights learn: what was frozen may be trained further."""
    return {key: value for key, value in arguments.items() if key != "frozen"}


def _check_alike(whose: str, card: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name in (one for one in _ORDER if one in wanted):
        if json.loads(json.dumps(wanted[name])) != json.loads(json.dumps(card[name])):
            raise UsageError(
                f"{whose}: cannot start from this model, its {name} is {card[name]}, the "
                f"settings say {wanted[name]}; train with those of the model"
            )


def check_unseen(
    start: Model | Pretraining | None, datasets: Sequence[RawDataset], fold: Fold
) -> tuple[str, ...]:
    """Whether who measures was seen by what the training starts from; warnings, for a model.

    Raises
    ------
    UsageError
        If a pretraining saw them: it can be done again without.
    """
    if start is None or not fold.validation:
        return ()
    cases = {case.name: case.patient for dataset in datasets for case in dataset.cases}
    measured = {hidden(cases[name]) for name in fold.validation}
    about = start.card if isinstance(start, Pretraining) else start.card.get("training", {})
    keys = ("trained_patients", "training_cases")
    if isinstance(start, Pretraining):
        keys = ("patients", "cases")
    patients, names = (set(about.get(key, ())) for key in keys)
    known = {hidden(cases[name]) for name in names & set(fold.validation)}
    shared = measured & (patients | known)
    if not shared:
        return ()
    if isinstance(start, Pretraining):
        raise UsageError(
            f"{start.name}: {len(shared)} of the {len(measured)} patients who measure were looked "
            "at in this pretraining; pretrain again with the same --splits and --fold"
        )
    return (
        f"{start.name}, which this training started from, was trained on {len(shared)} of the "
        f"{len(measured)} patients who measure: figures flatter",
    )


def seen_before(start: Model | Pretraining | None) -> set[str]:
    """Patients, hashed, that the weights to start from have seen, those before them included."""
    if start is None:
        return set()
    if isinstance(start, Pretraining):
        return set(start.card["patients"])
    return set(start.card.get("training", {}).get("trained_patients", ()))


def named(pretrained: bool | str) -> bool | str:
    """``pretrained`` as a card has it: a file by its name, not by where it lies."""
    return Path(pretrained).name if isinstance(pretrained, str) else pretrained


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
