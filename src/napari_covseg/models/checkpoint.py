"""A model on disk: ``NAME.safetensors`` (weights, float16) beside ``NAME.json`` (its card)."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from napari_covseg.domain.errors import ModelError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models.unet2d import UNet2D
from napari_covseg.preprocess.recipe import AxialRecipe

ARCHITECTURES: Mapping[str, type[nn.Module]] = {"unet2d": UNet2D}
"""Networks by the name a card gives them."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network ready for inference (float32, evaluation mode, on the CPU), and what it needs.

    ``sha256`` is of the weights' file; ``card`` is the whole JSON beside it.
    """

    name: str
    version: str
    sha256: str
    network: nn.Module
    recipe: AxialRecipe
    card: Mapping[str, Any]


def read_checkpoint(card_path: Path) -> Model:
    """Read the model whose card is ``card_path``.

    Raises
    ------
    ModelError
        If the card or the weights are missing, damaged, not those that the card was written for,
        or made for a network or classes that this version does not know.
    """
    name = card_path.name
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        content = (card_path.parent / card["weights"]).read_bytes()
        recipe = AxialRecipe.from_dict(card["recipe"])
        architecture, arguments = card["architecture"], card["arguments"]
        classes, expected = card["classes"], card["sha256"]
        title, version = card["name"], card["version"]
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ModelError(f"{missing}: not found; a model is a card (.json) and weights") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{name}: not a readable model card; export the model again") from error
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"{name}: network '{architecture}' is not known (known: {known})")
    if classes != class_names():
        raise ModelError(f"{name}: classes {classes}, expected {class_names()}")
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ModelError(f"{name}: the weights are not those of this card (hash differs)")
    try:
        network = ARCHITECTURES[architecture](**arguments)
        _load_weights(network, load(content))
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{name}: the weights do not fit network '{architecture}'") from error
    network.eval().requires_grad_(False)
    return Model(title, version, found, network, recipe, card)


def write_checkpoint(
    folder: Path,
    name: str,
    network: nn.Module,
    architecture: str,
    arguments: Mapping[str, Any],
    recipe: AxialRecipe,
    about: Mapping[str, Any],
) -> Path:
    """Write weights as float16 safetensors, and the card; ``about`` adds fields to the card.

    The weights come first and each file replaces its older self in one step, so that a card never
    stands beside weights that are half written. Returns the card's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    half = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    content = save(half)
    _replace(folder / f"{name}.safetensors", content)
    card = {
        "name": name,
        **about,
        "architecture": architecture,
        "arguments": dict(arguments),
        "recipe": recipe.to_dict(),
        "classes": class_names(),
        "parameters": sum(p.numel() for p in network.parameters()),
        "weights": f"{name}.safetensors",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    path = folder / f"{name}.json"
    _replace(path, (json.dumps(card, indent=2) + "\n").encode())
    return path


def class_names() -> list[str]:
    """The channels' names, in order, as cards give them."""
    return [c.name.lower() for c in NetworkClass]


def _load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load strictly; only batch normalisation's step counters, needed by nothing, may be absent."""
    missing, unexpected = network.load_state_dict(
        {key: value.float() for key, value in weights.items()}, strict=False
    )
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"missing {missing}, unexpected {unexpected}")


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
