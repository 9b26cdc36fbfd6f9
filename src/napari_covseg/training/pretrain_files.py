"""A pretrained network on disk: every weight but those of its last layers, and what it saw.

``pretraining.json`` beside ``weights.safetensors`` (float32). It is no model: it segments nothing
until a training has given it last layers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from napari_covseg.domain.errors import ModelError
from napari_covseg.io.atomic import atomic_file, write_json
from napari_covseg.models.zoo import PRETRAINING

WEIGHTS = "weights.safetensors"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Pretraining:
    """What `read_pretraining` gives.

    Parameters
    ----------
    name, sha256
        Of the folder, and of the weights' file.
    body
        Tensors by their names in the network.
    card
        ``network``, ``network_arguments``, ``recipe`` (as a model's card has them), ``task``,
        ``patients`` (hashed) and ``cases`` that it was trained on, ``settings`` and what else
        `write_pretraining` was given.
    """

    name: str
    sha256: str
    body: Mapping[str, Tensor]
    card: Mapping[str, Any]


def write_pretraining(folder: Path, body: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Write the weights, then the card; returns the card's path.

    Raises
    ------
    ResourceError, InputError
        If the disk is full or the folder cannot be written to.
    """
    content = save(dict(body))
    with atomic_file(folder / WEIGHTS) as file:
        file.write(content)
    about = {"format": _FORMAT, **card, "sha256": hashlib.sha256(content).hexdigest()}
    return write_json(folder / PRETRAINING, about)


def read_pretraining(folder: Path) -> Pretraining:
    """Read what `write_pretraining` wrote.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or the weights are not those of the card.
    """
    try:
        card = json.loads((folder / PRETRAINING).read_text(encoding="utf-8"))
        content = (folder / WEIGHTS).read_bytes()
        version, expected = card["format"], card["sha256"]
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ModelError(f"{folder.name}: {missing} is missing; pretrain again") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder.name}: its {PRETRAINING} cannot be read") from error
    if version != _FORMAT:
        raise ModelError(f"{folder.name}: a pretraining of another version (format {version})")
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise ModelError(
            f"{folder.name}: the weights are not those of its {PRETRAINING} (hash differs)"
        )
    try:
        return Pretraining(folder.resolve().name, found, load(content), card)
    except SafetensorError as error:
        raise ModelError(f"{folder.name}: {WEIGHTS} is damaged; pretrain again") from error
