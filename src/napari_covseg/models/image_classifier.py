"""A classifier of pictures on disk: ``NAME.json`` (card), ``NAME.safetensors``, ``NAME.skops``.

The safetensors hold the head as arrays, or, where the head is scikit-learn's (``.skops``), a linear
stand-in that heat maps are made with; the training pictures' features, for similar cases; and the
encoder's weights where it was trained itself. Nothing is a pickle.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.models.checkpoint import replace_file, replace_model
from napari_covseg.models.classifier_heads import (
    Head,
    LayersHead,
    MembersHead,
    read_members,
    write_members,
)
from napari_covseg.models.feature_extractors import (
    TRAINED,
    TWIN,
    CovsegExtractor,
    Extractor,
    TrainedExtractor,
    covseg_extractor,
    lite0_encoder,
    load_extractor,
)
from napari_covseg.models.kernel_head import KernelHead
from napari_covseg.models.twin_extractor import TwinExtractor
from napari_covseg.models.zoo import whole_weights
from napari_covseg.preprocess.pictures import PictureRecipe

FOLDER = Path(__file__).parent / "weights" / "classify"
DEFAULT = "covseg-classify"
NOTICE = "Not a diagnosis. Research use only: not a medical device."
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
    *(SafetensorError, RuntimeError, OverflowError),
)


@dataclass(frozen=True, eq=False)
class References:
    """Training pictures: features float32 ``(n, d)``, standardised; names and labels, one each."""

    features: NDArray[np.float32]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    def standardised(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features ``(n, d)`` as those of the references are."""
        return np.asarray((features - self.mean) / self.scale, np.float32)

    @classmethod
    def of(
        cls, features: NDArray[np.float32], names: tuple[str, ...], labels: tuple[str, ...]
    ) -> References:
        """Of raw features."""
        mean = features.mean(axis=0)
        scale = features.std(axis=0)
        # A feature that never changed tells no two pictures apart.
        scale = np.where(scale > 1e-6, scale, 1).astype(np.float32)
        return cls(((features - mean) / scale).astype(np.float32), names, labels, mean, scale)


@dataclass(frozen=True, eq=False)
class ImageClassifier:
    """A frozen network, what stands on its features, and what is known of both.

    ``positive`` is the class that figures are about, or None; ``threshold`` the entropy (nats) of
    the mean answer above which a picture is called unsure; ``explain`` the head that heat maps are
    made with, which is ``head`` itself where that has gradients; ``card`` the whole JSON.
    """

    name: str
    version: str
    sha256: str
    classes: tuple[str, ...]
    positive: str | None
    recipe: PictureRecipe
    extractor: Extractor
    pooled: bool
    head: Head
    explain: LayersHead | KernelHead
    threshold: float
    references: References
    card: Mapping[str, Any]


def shipped_classifiers() -> tuple[str, ...]:
    """Names of the classifiers that ship with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def write_classifier(folder: Path, classifier: ImageClassifier) -> Path:
    """Write a classifier's files into ``folder``; returns the card, which is written last.

    ``sha256`` and what the files hold is filled in.

    Raises
    ------
    ResourceError
        If the files cannot be written.
    """
    name = classifier.name
    stored = {**classifier.explain.tensors("head"), **_reference_tensors(classifier.references)}
    if isinstance(classifier.extractor, TrainedExtractor | TwinExtractor):
        weights = classifier.extractor.encoder.state_dict()
        stored |= {f"encoder.{k}": _half(v) for k, v in weights.items() if v.is_floating_point()}
    content = save({key: value.contiguous() for key, value in stored.items()})
    card = {**classifier.card, **_described(classifier), "weights": f"{name}.safetensors"}
    card["sha256"] = hashlib.sha256(content).hexdigest()
    try:
        if isinstance(classifier.head, MembersHead):
            members = write_members(classifier.head.members)
            card["members_sha256"] = hashlib.sha256(members).hexdigest()
            replace_file(folder / f"{name}.skops", members)
        text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        replace_model(folder / f"{name}.json", text, content)
    except OSError as error:
        raise ResourceError(
            f"{name}: the classifier cannot be written ({error.strerror}); make room, or choose "
            "another folder"
        ) from error
    return folder / f"{name}.json"


def read_classifier(
    name_or_path: str | Path = DEFAULT, weights: Path | None = None
) -> ImageClassifier:
    """The shipped classifier of that name, the one in that folder, or that of a card file.

    A COVID-CT-Mask-Net is one too.

    ``weights`` is the file of ImageNet weights that it was trained with, where it was.

    Raises
    ------
    ModelError
        If there is none or it cannot be read, or the network's weights are others than those it
        was trained with.
    """
    path = _card_path(name_or_path)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if card.get("architecture") == "mask_net":
            from napari_covseg.models.mask_net_image import mask_net_as_classifier

            return mask_net_as_classifier(path)
        if card["kind"] != "image classifier":
            raise ModelError(f"{path.name}: is the card of another kind of model")
        beside = path.with_suffix(".safetensors").name
        content = whole_weights(path, {"weights": beside, **card}).read_bytes()
        if hashlib.sha256(content).hexdigest() != card["sha256"]:
            raise ModelError(f"{path.name}: the weights are not those of this card (hash differs)")
        stored = load(content)
        references = _references(card, stored)
        explain = _explaining(stored, references)
        return ImageClassifier(
            name=str(card["name"]),
            version=str(card["version"]),
            sha256=str(card["sha256"]),
            classes=tuple(map(str, card["classes"])),
            positive=card["positive"],
            recipe=PictureRecipe.from_dict(card["recipe"]),
            extractor=_extractor(card, stored, weights, path.name),
            pooled=bool(card["pooled"]),
            head=_members(card, path) if "members_sha256" in card else explain,
            explain=explain,
            threshold=_threshold(card["unsure_above"]),
            references=references,
            card=card,
        )
    except FileNotFoundError as error:
        raise ModelError(f"{Path(error.filename).name}: not found beside the card") from error
    except _UNREADABLE as error:
        raise ModelError(f"{path.name}: not a readable classifier; train it again") from error


def _card_path(name_or_path: str | Path) -> Path:
    if str(name_or_path) in shipped_classifiers():
        return FOLDER / f"{name_or_path}.json"
    path = Path(name_or_path)
    if path.is_file():
        return path.with_suffix(".json")
    cards = sorted(path.glob("*.json")) if path.is_dir() else []
    cards = [card for card in cards if card.with_suffix(".safetensors").is_file()]
    if len(cards) == 1:
        return cards[0]
    if cards:
        names = ", ".join(card.name for card in cards)
        raise ModelError(f"{path.name}: holds several models ({names}); name one of these files")
    known = ", ".join(shipped_classifiers()) or "none"
    raise ModelError(f"{path.name}: no such classifier; shipped: {known}, or give its folder")


def _threshold(stored: float | None) -> float:
    """JSON has no endless number."""
    return math.inf if stored is None else float(stored)


def _described(classifier: ImageClassifier) -> dict[str, Any]:
    return {
        "kind": "image classifier",
        "name": classifier.name,
        "version": classifier.version,
        "notice": NOTICE,
        "classes": list(classifier.classes),
        "positive": classifier.positive,
        "recipe": classifier.recipe.to_dict(),
        "features": {
            "network": classifier.extractor.name,
            "sha256": classifier.extractor.sha256,
            "version": classifier.extractor.version,
        },
        "pooled": classifier.pooled,
        "unsure_above": classifier.threshold if math.isfinite(classifier.threshold) else None,
        "references": {
            "names": list(classifier.references.names),
            "labels": list(classifier.references.labels),
        },
    }


def _extractor(
    card: Mapping[str, Any], stored: Mapping[str, Tensor], weights: Path | None, name: str
) -> Extractor:
    network, expected = str(card["features"]["network"]), str(card["features"]["sha256"])
    if network == TRAINED:
        encoder = _encoder(stored)
        return TrainedExtractor(encoder, str(card["sha256"])).eval().requires_grad_(False)
    extractor: Extractor
    if network == TWIN:
        covseg = covseg_extractor()
        extractor = TwinExtractor(covseg.network, _encoder(stored), covseg.sha256)
        extractor = extractor.eval().requires_grad_(False)
    else:
        extractor = load_extractor(network, weights)
    if isinstance(extractor, CovsegExtractor):
        # Cards that do not tell are older than the second.
        extractor.version = int(card["features"].get("version", 1))
    if extractor.sha256 != expected:
        raise ModelError(
            f"{name}: was trained on features of other weights of {network} than these; give the "
            "file it was trained with, or train it again"
        )
    return extractor


def _explaining(stored: Mapping[str, Tensor], references: References) -> LayersHead | KernelHead:
    if any(key.endswith(".coefficients") for key in stored):
        arrays = (references.features, references.mean, references.scale)
        return KernelHead.from_tensors("head", stored, *map(torch.from_numpy, arrays))
    return LayersHead.from_tensors("head", stored)


def _encoder(stored: Mapping[str, Tensor]) -> nn.ModuleList:
    encoder = lite0_encoder()
    own = {
        k.removeprefix("encoder."): v.float() for k, v in stored.items() if k.startswith("encoder.")
    }
    missing, unexpected = encoder.load_state_dict(own, strict=False)
    if unexpected or any(not key.endswith("num_batches_tracked") for key in missing):
        raise ValueError("not this encoder's weights")
    return encoder


def _members(card: Mapping[str, Any], path: Path) -> MembersHead:
    file = path.with_suffix(".skops")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != card["members_sha256"]:
        raise ModelError(f"{file.name}: is not that of this card (hash differs)")
    return read_members(content, file.name)


def _half(value: Tensor) -> Tensor:
    half = value.half()
    return half if value.ndim > 1 and bool(half.isfinite().all()) else value.float()


def _reference_tensors(references: References) -> dict[str, Tensor]:
    return {
        "references.features": torch.from_numpy(references.features).half(),
        "references.mean": torch.from_numpy(references.mean),
        "references.scale": torch.from_numpy(references.scale),
    }


def _references(card: Mapping[str, Any], stored: Mapping[str, Tensor]) -> References:
    names, labels = card["references"]["names"], card["references"]["labels"]
    features = stored["references.features"].float().numpy()
    if not len(names) == len(labels) == len(features):
        raise ValueError("references and their names differ in number")
    mean, scale = (stored[f"references.{key}"].float().numpy() for key in ("mean", "scale"))
    return References(features, tuple(names), tuple(labels), mean, scale)
