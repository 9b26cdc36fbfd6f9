"""Models by name or folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.errors import ModelError

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = "covseg-default"
PRETRAINING = "pretraining.json"
"""The card of a pretrained network, which is no model yet (`training.pretrain_files`)."""


def available() -> tuple[str, ...]:
    """Names of the models that ship with the package, the default first."""
    names = sorted(path.stem for path in WEIGHTS.glob("*.json"))
    return tuple(sorted(names, key=lambda name: name != DEFAULT))


def shipped_sha256(name: str = DEFAULT) -> str | None:
    """The hash of a shipped model's weights, as its card says; None if it does not ship.

    Reads no weights.
    """
    try:
        card = json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
        return str(card["sha256"])
    except (OSError, ValueError, KeyError):
        return None


def weights_before(weights: Path) -> Path:
    """Where the older weights are kept while a model is written over another."""
    return weights.with_name(f".{weights.name}.before")


def whole_weights(card_path: Path, card: Mapping[str, Any]) -> Path:
    """The weights that a card was written for: the file it names, beside it and nowhere else.

    Where the writing of a newer model was cut off before its card, they are the kept ones.

    Raises
    ------
    ValueError, KeyError, OSError
        If the card names a file in another folder, or none, or it cannot be read.
    """
    named = card["weights"]
    if not isinstance(named, str) or Path(named).name != named or "\\" in named:
        raise ValueError("weights lie beside their card")
    weights = card_path.parent / named
    kept = weights_before(weights)
    if not kept.is_file():
        return weights
    hashes = [_sha256(file) if file.is_file() else "" for file in (weights, kept)]
    return kept if card["sha256"] == hashes[1] != hashes[0] else weights


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def holds_pretraining(folder: str | Path) -> bool:
    """Whether a folder holds a pretrained network rather than a model."""
    return (Path(folder) / PRETRAINING).is_file()


def load(name_or_folder: str | Path = DEFAULT) -> Model:
    """The shipped model of that name, or the one in that folder (or of that card file).

    Raises
    ------
    ModelError
        If there is no such model, more than one in the folder, or it cannot be read.
    """
    from napari_covseg.models.checkpoint import read_checkpoint

    return read_checkpoint(find_card(name_or_folder))


def find_card(name_or_folder: str | Path) -> Path:
    """The card of the shipped model of that name, of the one in that folder, or that file itself.

    Raises
    ------
    ModelError
        If there is no such model, or more than one in the folder.
    """
    if str(name_or_folder) in available():
        return WEIGHTS / f"{name_or_folder}.json"
    path = Path(name_or_folder)
    if path.is_file():
        return path.with_suffix(".json")
    cards = sorted(path.glob("*.json")) if path.is_dir() else []
    cards = [card for card in cards if card.with_suffix(".safetensors").is_file()]
    if len(cards) == 1:
        return cards[0]
    if cards:
        names = ", ".join(card.name for card in cards)
        raise ModelError(f"{path.name}: holds several models ({names}); name one of these files")
    if holds_pretraining(path):
        raise ModelError(
            f"{path.name}: a pretraining, which segments nothing yet; train a model from it: "
            f"covseg train DATA --from {path.name}"
        )
    known = ", ".join(available()) or "none"
    raise ModelError(f"{name_or_folder}: no such model; shipped: {known}, or give a model's folder")
