"""Detectors on disk: ``NAME.safetensors`` beside ``NAME.json``, as `checkpoint` keeps models.

One ships with the package (`SHIPPED`), without the weights of the segmentation network that it
stands on: that ships too, and the card names its hash (``base``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.models.checkpoint import (
    UNREADABLE,
    load_weights,
    replace_file,
    to_store,
    weights_beside,
)
from napari_covseg.models.mask_rcnn import CLASSES, LesionRCNN
from napari_covseg.models.zoo import WEIGHTS, find_card
from napari_covseg.models.zoo import load as load_model
from napari_covseg.preprocess.recipe import AxialRecipe

DETECTOR = "mask_rcnn"
"""``architecture`` of a detector's card."""
SHIPPED = "covseg-detect"
FOLDER = WEIGHTS / "detect"
_BODY = "backbone.body.network."


@dataclass(frozen=True, eq=False)
class Detector:
    """A detector ready for inference (float32, evaluation mode, on the CPU), and what it needs.

    ``sha256`` is of the weights' file; ``card`` is the whole JSON beside it.
    """

    name: str
    version: str
    sha256: str
    network: LesionRCNN
    recipe: AxialRecipe
    card: Mapping[str, Any]


def detector_classes() -> list[str]:
    """The classes' names in order, as cards give them; the first is background."""
    return ["background", *(label.name.lower() for label in CLASSES.values())]


def read_detector(name_or_folder: str | Path) -> Detector:
    """The detector in that folder, or of that card file, or the one that ships (`SHIPPED`).

    Raises
    ------
    ModelError
        If there is none, it is a model of another kind, or its files are missing or damaged.
    """
    shipped = str(name_or_folder) == SHIPPED
    path = FOLDER / f"{SHIPPED}.json" if shipped else find_card(name_or_folder)
    card, weights = read_card(path, DETECTOR, "a lesion detector (covseg detect-train)")
    if card["classes"] != detector_classes():
        raise ModelError(f"{path.name}: classes {card['classes']}, expected {detector_classes()}")
    try:
        recipe = AxialRecipe.from_dict(card["recipe"])
        network = LesionRCNN(**card["arguments"])
        base = card.get("base")
        stands_on = (str(base["name"]), str(base["sha256"])) if base else None
    except (*UNREADABLE, RuntimeError) as error:
        raise ModelError(
            f"{path.name}: not a readable model card; train the model again"
        ) from error
    if stands_on is not None:
        weights = _with_base(weights, *stands_on)
    fill(network, weights, path.name)
    network.eval().requires_grad_(False)
    return Detector(str(card["name"]), str(card["version"]), card["sha256"], network, recipe, card)


def write_detector(
    folder: Path,
    name: str,
    network: LesionRCNN,
    arguments: Mapping[str, Any],
    recipe: AxialRecipe,
    about: Mapping[str, Any],
) -> Path:
    """Write weights, then card; ``about`` adds fields (``version`` must be there). Gives the card.

    Raises
    ------
    ResourceError
        If the disk is full or cannot be written to; files from before stay.
    """
    more = {
        **about,
        "arguments": dict(arguments),
        "recipe": {"kind": "axial", **recipe.to_dict()},
        "classes": detector_classes(),
    }
    return write_card(folder, name, network, DETECTOR, more)


def write_for_shipping(
    detector: Detector, base: str, folder: Path, about: Mapping[str, Any]
) -> Path:
    """Write a detector without the weights of the shipped segmentation network it stands on.

    ``about`` adds fields to the card. Gives the card.

    Raises
    ------
    ModelError
        If its weights are not those of ``base``.
    ResourceError
        As `write_card`.
    """
    model = load_model(base)
    own, theirs = to_store(detector.network), to_store(model.network)
    body = {name: value for name, value in own.items() if name.startswith(_BODY)}
    same = {_BODY + name for name in theirs} == set(body) and all(
        torch.equal(body[_BODY + name], value) for name, value in theirs.items()
    )
    if not same:
        raise ModelError(f"{detector.name}: its segmentation network is not {base}")
    kept = {name: value for name, value in own.items() if name not in body}
    more = {**detector.card, **about, "base": {"name": base, "sha256": model.sha256}}
    return _write(folder, SHIPPED, save(kept), more)


def _with_base(content: bytes, name: str, sha256: str) -> bytes:
    """Weights completed by those of the segmentation network that they were trained on."""
    model = load_model(name)
    if model.sha256 != sha256:
        raise ModelError(f"{name}: is not the version that this detector stands on (hash differs)")
    body = {_BODY + key: value for key, value in to_store(model.network).items()}
    try:
        heads: dict[str, Tensor] = load(content)
    except SafetensorError:
        return content
    return bytes(save(heads | body))


def read_card(path: Path, architecture: str, wanted: str) -> tuple[dict[str, Any], bytes]:
    """A card and the bytes of its weights, which are those that it was written for.

    Raises
    ------
    ModelError
        If a file is missing or damaged, or the card is of another architecture.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        kind, expected = card["architecture"], card["sha256"]
        _ = card["name"], card["version"], card["classes"]
        weights = weights_beside(path, card["weights"])
        content = weights.read_bytes() if kind == architecture else b""
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ModelError(f"{missing}: not found; a model is a card (.json) and weights") from error
    except UNREADABLE as error:
        raise ModelError(
            f"{path.name}: not a readable model card; train the model again"
        ) from error
    if kind != architecture:
        raise ModelError(f"{path.name}: a model of the network '{kind}', expected {wanted}")
    if hashlib.sha256(content).hexdigest() != expected:
        raise ModelError(f"{path.name}: the weights are not those of this card (hash differs)")
    return card, content


def fill(network: nn.Module, content: bytes, name: str) -> None:
    """Load a network's weights from the bytes of a safetensors file.

    Raises
    ------
    ModelError
        If they do not fit.
    """
    try:
        load_weights(network, load(content))
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{name}: the weights do not fit its network") from error


def write_card(
    folder: Path, name: str, network: nn.Module, architecture: str, about: Mapping[str, Any]
) -> Path:
    """Write a network's weights, then its card.

    Raises
    ------
    ResourceError
        If the disk is full or cannot be written to; files from before stay.
    """
    more = {
        "architecture": architecture,
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    return _write(folder, name, save(to_store(network)), {"name": name, **about, **more})


def _write(folder: Path, name: str, content: bytes, about: Mapping[str, Any]) -> Path:
    card = {
        **about,
        "name": name,
        "weights": f"{name}.safetensors",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    path = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{name}.safetensors", content)
        replace_file(path, (json.dumps(card, indent=2) + "\n").encode())
    except OSError as error:
        raise ResourceError(
            f"{name}: the model cannot be written ({error.strerror}); make room, or choose "
            "another folder"
        ) from error
    return path
