"""A model on disk: ``NAME.safetensors`` (weights, float16) beside ``NAME.json`` (its card).

Weights are written as float16; vectors (normalisation, biases) stay float32. They are few, and a
running variance of a 3D network goes beyond what float16 holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models.networks import build, entry
from napari_covseg.models.zoo import weights_before, whole_weights
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

Recipe = AxialRecipe | VolumeRecipe
AXIAL, VOLUME = "axial", "volume"
DIMENSIONS: Mapping[str, int] = {AXIAL: 2, VOLUME: 3}
"""Of the network that each kind of recipe prepares for."""

UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
    OverflowError,
)
"""What reading a card raises that is no card, or has been tampered with."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network ready for inference (float32, evaluation mode, on the CPU), and what it needs.

    ``sha256`` is of the weights' file; ``card`` is the whole JSON beside it.
    """

    name: str
    version: str
    sha256: str
    network: nn.Module
    recipe: Recipe
    card: Mapping[str, Any]

    @property
    def tells_lesions_apart(self) -> bool:
        """Whether its training data said of any lesion that it is GGO or consolidation."""
        return bool(self.card.get("tells_lesions_apart", True))


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
        content = whole_weights(card_path, card).read_bytes()
        kind, recipe = _recipe_from_dict(card["recipe"])
        architecture, arguments = card["architecture"], dict(card["arguments"])
        classes, expected = card["classes"], card["sha256"]
        title, version = str(card["name"]), str(card["version"])
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ModelError(f"{missing}: not found; a model is a card (.json) and weights") from error
    except UNREADABLE as error:
        raise ModelError(f"{name}: not a readable model card; export the model again") from error
    _check_made_for(name, architecture, kind, classes)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ModelError(f"{name}: the weights are not those of this card (hash differs)")
    try:
        _check_holds(content, architecture, arguments)
        network = build(architecture, **arguments)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    try:
        load_weights(network, load(content))
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{name}: the weights do not fit network '{architecture}'") from error
    network.eval().requires_grad_(False)
    return Model(title, version, found, network, recipe, card)


def _check_holds(content: bytes, architecture: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a card whose network is larger than the weights, before it takes memory."""
    with torch.device("meta"):
        outline = build(architecture, **arguments)
    if sum(p.numel() for p in outline.parameters()) * 2 > len(content):
        raise ModelError(f"the weights do not fit network '{architecture}'")


def write_checkpoint(
    folder: Path,
    name: str,
    network: nn.Module,
    architecture: str,
    arguments: Mapping[str, Any],
    recipe: Recipe,
    about: Mapping[str, Any],
) -> Path:
    """Write the weights as safetensors, and the card; ``about`` adds fields to the card.

    ``about["version"]`` is needed to read the model again; ``about["patch"]``, ``(z, y, x)`` in
    voxels, is what a network on volumes is run on; ``about["tells_lesions_apart"]`` false makes
    every lesion it finds an infection of unknown class. The weights come first and each file
    replaces its older self in one step, so that a card never stands beside weights that are half
    written. Returns the card's path.

    Raises
    ------
    ModelError
        If the network is not known, or not one that this recipe prepares for.
    ResourceError
        If the disk is full or cannot be written to; files that were there before are as they were.
    """
    kind, fields = _recipe_to_dict(recipe)
    _check_made_for(f"{name}.json", architecture, kind, class_names())
    content = save(to_store(network))
    card = {
        "name": name,
        **about,
        "architecture": architecture,
        "arguments": dict(arguments),
        "recipe": fields,
        "classes": class_names(),
        "parameters": sum(p.numel() for p in network.parameters()),
        "weights": f"{name}.safetensors",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(card, indent=2) + "\n"
    path = folder / f"{name}.json"
    try:
        replace_model(path, text, content)
    except OSError as error:
        raise ResourceError(
            f"{name}: the model cannot be written ({error.strerror}); make room, or choose "
            "another folder"
        ) from error
    return path


def class_names() -> list[str]:
    """The channels' names, in order, as cards give them."""
    return [c.name.lower() for c in NetworkClass]


def _recipe_from_dict(fields: Mapping[str, Any]) -> tuple[str, Recipe]:
    """A card's recipe and its kind; cards older than kinds are axial."""
    kind = fields.get("kind", AXIAL)
    if kind == VOLUME:
        return kind, VolumeRecipe.from_dict(fields)
    if kind == AXIAL:
        return kind, AxialRecipe.from_dict(fields)
    raise ValueError(f"a recipe of kind {kind!r} is not known")


def _recipe_to_dict(recipe: Recipe) -> tuple[str, dict[str, Any]]:
    kind = VOLUME if isinstance(recipe, VolumeRecipe) else AXIAL
    return kind, {"kind": kind, **recipe.to_dict()}


def _check_made_for(name: str, architecture: object, kind: str, classes: object) -> None:
    try:
        network = entry(architecture)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    if classes != class_names():
        raise ModelError(f"{name}: classes {classes}, expected {class_names()}")
    if network.dimensions != DIMENSIONS[kind]:
        raise ModelError(
            f"{name}: network '{network.name}' takes {network.dimensions}D input, but the recipe "
            f"of kind '{kind}' gives {DIMENSIONS[kind]}D"
        )


def to_store(network: nn.Module) -> dict[str, torch.Tensor]:
    """A network's weights as files keep them: matrices float16 where that holds them."""
    stored = {}
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        if value.is_floating_point():
            half = value.half()
            value = half if value.ndim > 1 and bool(half.isfinite().all()) else value.float()
        stored[key] = value.detach().cpu().contiguous()
    return stored


def load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load strictly; only batch normalisation's step counters, needed by nothing, may be absent."""
    missing, unexpected = network.load_state_dict(
        {key: value.float() for key, value in weights.items()}, strict=False
    )
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"missing {missing}, unexpected {unexpected}")


def replace_model(card_path: Path, card: str, weights: bytes) -> None:
    """Write weights and card; killed at any moment, one of the models, old or new, can be read.

    The older weights are kept under another name until the new card is there (`whole_weights`).

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    target = card_path.with_suffix(".safetensors")
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = weights_before(target)
    # Where an earlier write was cut off, what is kept is what the card was written for.
    if target.is_file() and card_path.is_file() and _whole(card_path) != kept:
        with suppress(FileNotFoundError):
            kept.unlink()
        try:
            os.link(target, kept)
        except OSError:  # file systems without links
            replace_file(kept, target.read_bytes())
    try:
        replace_file(target, weights)
    except OSError:
        # The older weights are in their place still; where they are not, what is kept is needed.
        if kept.is_file() and _whole(card_path) != kept:
            kept.unlink()
        raise
    replace_file(card_path, card.encode())
    with suppress(OSError):
        kept.unlink()


def _whole(card_path: Path) -> Path | None:
    try:
        return whole_weights(card_path, json.loads(card_path.read_text(encoding="utf-8")))
    except UNREADABLE:
        return None


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step; raises `OSError` if it cannot be, with the older one in place."""
    temporary = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
