"""Detectors on disk: ``NAME.safetensors`` beside ``NAME.json``, as `checkpoint` keeps models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.models.checkpoint import (
    UNREADABLE,
    load_weights,
    replace_model,
    to_store,
)
from napari_covseg.models.lesion_bodies import LesionBodies
from napari_covseg.models.mask_rcnn import CLASSES, LesionRCNN
from napari_covseg.models.networks import NETWORKS
from napari_covseg.models.zoo import find_card, whole_weights
from napari_covseg.models.zoo import load as load_model
from napari_covseg.preprocess.recipe import AxialRecipe

DETECTOR = "mask_rcnn"
"""``architecture`` of a detector's card."""


@dataclass(frozen=True, eq=False)
class Detector:
    """A detector ready for inference (float32, evaluation mode, on the CPU), and what it needs.

    ``sha256`` is of the weights' file; ``card`` is the whole JSON beside it.
    """

    name: str
    version: str
    sha256: str
    network: LesionRCNN | LesionBodies
    recipe: AxialRecipe
    card: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class TrainedDetector(Detector):
    """A Mask R-CNN."""

    network: LesionRCNN


def detector_classes() -> list[str]:
    """The classes' names in order, as cards give them; the first is background."""
    return ["background", *(label.name.lower() for label in CLASSES.values())]


def read_detector(name_or_folder: str | Path) -> TrainedDetector:
    """The trained detector in that folder, or of that card file.

    Raises
    ------
    ModelError
        If there is none, it is a model of another kind, or its files are missing or damaged.
    """
    path = find_card(name_or_folder)
    card, weights = read_card(path, DETECTOR, "a lesion detector (covseg detect-train)")
    if card["classes"] != detector_classes():
        raise ModelError(f"{path.name}: classes {card['classes']}, expected {detector_classes()}")
    try:
        recipe = AxialRecipe.from_dict(card["recipe"])
        network = LesionRCNN(**card["arguments"])
    except (*UNREADABLE, RuntimeError) as error:
        raise ModelError(
            f"{path.name}: not a readable model card; train the model again"
        ) from error
    fill(network, weights, path.name)
    network.eval().requires_grad_(False)
    return TrainedDetector(
        str(card["name"]), str(card["version"]), card["sha256"], network, recipe, card
    )


def find_detector(name_or_folder: str | Path) -> Detector:
    """A trained detector, or the connected bodies of a segmentation model (`LesionBodies`).

    Raises
    ------
    ModelError
        As `read_detector`; or if the segmentation model is one of volumes, or cannot tell GGO from
        consolidation.
    """
    path = find_card(name_or_folder)
    if not _segments(path):
        return read_detector(path)
    model = load_model(path)
    if not isinstance(model.recipe, AxialRecipe):
        raise ModelError(f"{path.name}: works on volumes; lesions are found in axial slices")
    if not model.tells_lesions_apart:
        raise ModelError(f"{path.name}: does not tell GGO from consolidation, as lesions need")
    bodies = LesionBodies(model.network).eval()
    return Detector(model.name, model.version, model.sha256, bodies, model.recipe, model.card)


def _segments(path: Path) -> bool:
    """Whether a card is that of a segmentation model; of a damaged one its reader will tell."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["architecture"] in NETWORKS
    except (OSError, *UNREADABLE):
        return False


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
        content = whole_weights(path, card).read_bytes() if kind == architecture else b""
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
        replace_model(path, json.dumps(card, indent=2) + "\n", content)
    except OSError as error:
        raise ResourceError(
            f"{name}: the model cannot be written ({error.strerror}); make room, or choose "
            "another folder"
        ) from error
    return path
