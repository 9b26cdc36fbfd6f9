"""COVID-CT-Mask-Net: a picture's class from what a lesion detector sees in it.

Ter-Sarkisov, Applied Intelligence 2022: all that the detector's regions of interest say, however
unsure, is ranked by score; the best 256 (box as encoded, and score) are one vector, which two
fully connected layers (module S) turn into a logit a class. No mask is computed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.ops import boxes as box_ops

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.detector_files import fill, read_card, write_card
from napari_covseg.models.mask_rcnn import LesionRCNN
from napari_covseg.models.zoo import find_card
from napari_covseg.preprocess.pictures import PictureRecipe

MASK_NET = "mask_net"
"""``architecture`` of a card."""
CANDIDATES, HIDDEN = 256, 1760
"""Ranked predictions of a picture; width of S, whose 2.26 million parameters the paper gives."""
SCORE, NMS = -0.01, 0.75
"""Below every score, so that none is left out; overlap beyond which the lower score is."""
Mode = Literal["s", "s+bn", "all"]
MODES: tuple[Mode, ...] = ("s", "s+bn", "all")
"""What is trained: S; S and batch normalisation; everything that the loss reaches."""


class MaskNetClassifier(nn.Module):
    """Pictures ``(n, 1, h, w)`` in [-1, 1] to logits ``(n, classes)``.

    Parameters
    ----------
    detector
        Copied, without its masks; it stays in evaluation mode also in training, as in the paper,
        so that it finds and its batch statistics stand.
    classes
        How many, from 2.
    candidates
        Ranked predictions of a picture; where there are fewer, rows of 0 follow.
    hidden
        Width of S.
    least_side
        In pixels: boxes with a shorter side are left out.

    Raises
    ------
    ValueError
        If a number cannot be used.
    """

    def __init__(
        self,
        detector: LesionRCNN,
        classes: int,
        candidates: int = CANDIDATES,
        hidden: int = HIDDEN,
        least_side: float = 1.0,
    ) -> None:
        super().__init__()
        if classes < 2 or candidates < 1 or hidden < 1 or not least_side >= 0:
            raise ValueError("expected 2 classes or more, and numbers above 0")
        self.detector = copy.deepcopy(detector)
        heads = self.detector.roi_heads
        heads.mask_roi_pool = heads.mask_head = heads.mask_predictor = None
        self.candidates, self.least_side = candidates, least_side
        self.s = nn.Sequential(
            nn.Linear(5 * candidates, hidden), nn.ReLU(), nn.Linear(hidden, classes)
        )
        self.train()

    def train(self, mode: bool = True) -> MaskNetClassifier:
        """Training mode; never of the detector."""
        super().train(mode)
        self.detector.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self.classify(self.features(images))

    def classify(self, features: Tensor) -> Tensor:
        """Features ``(n, candidates, 5)`` to logits ``(n, classes)``."""
        logits: Tensor = self.s(features.flatten(1))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """``(n, candidates, 5)``: encoded box (x, y, width, height) and score, highest first."""
        detector, heads = self.detector, self.detector.roi_heads
        batch, _ = detector.transform(detector.coloured(list(images)))
        maps = detector.backbone(batch.tensors)
        proposals, _ = detector.rpn(batch, maps)
        regions = heads.box_roi_pool(maps, proposals, batch.image_sizes)
        logits, encoded = heads.box_predictor(heads.box_head(regions))
        decoded = heads.box_coder.decode(encoded.detach(), proposals)
        counts = [len(one) for one in proposals]
        parts = zip(
            *(part.split(counts) for part in (logits, encoded, decoded)),
            batch.image_sizes,
            strict=True,
        )
        return torch.stack([self._ranked(*part) for part in parts])

    def _ranked(
        self, logits: Tensor, encoded: Tensor, decoded: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Of one picture: ``(regions, classes)``, ``(regions, 4 classes)`` and boxes decoded."""
        kinds = logits.shape[1] - 1
        scores = logits.softmax(dim=1)[:, 1:].flatten()
        encoded = encoded.view(-1, kinds + 1, 4)[:, 1:].reshape(-1, 4)
        places = box_ops.clip_boxes_to_image(decoded.view(-1, kinds + 1, 4)[:, 1:], size)
        places = places.reshape(-1, 4)
        labels = torch.arange(kinds, device=logits.device).repeat(len(logits))
        kept = torch.where(scores > SCORE)[0]
        kept = kept[box_ops.remove_small_boxes(places[kept], self.least_side)]
        best = box_ops.batched_nms(places[kept], scores[kept].detach(), labels[kept], NMS)
        kept = kept[best[: self.candidates]]
        rows = torch.cat([encoded[kept], scores[kept, None]], dim=1)
        return nn.functional.pad(rows, (0, 0, 0, self.candidates - len(rows)))


def set_mode(network: MaskNetClassifier, mode: Mode) -> None:
    """Choose what is trained. Proposals are ranked, not weighed: no loss reaches how they score."""
    network.requires_grad_(mode == "all")
    network.s.requires_grad_(True)
    if mode == "s+bn":
        for module in network.detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(True)


@dataclass(frozen=True, eq=False)
class MaskNet:
    """A classifier ready for inference (on the CPU), its classes' names, and what it needs."""

    name: str
    version: str
    sha256: str
    network: MaskNetClassifier
    classes: tuple[str, ...]
    recipe: PictureRecipe
    card: Mapping[str, Any]


def read_mask_net(name_or_folder: str | Path) -> MaskNet:
    """The classifier in that folder, or of that card file.

    Raises
    ------
    ModelError
        If there is none, it is a model of another kind, or its files are missing or damaged.
    """
    path = find_card(name_or_folder)
    card, weights = read_card(path, MASK_NET, "a COVID-CT-Mask-Net (covseg mask-net-train)")
    try:
        classes = tuple(str(name) for name in card["classes"])
        recipe = PictureRecipe.from_dict(card["recipe"])
        detector = LesionRCNN(**card["detector"])
        network = MaskNetClassifier(detector, len(classes), **card["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path.name}: not a readable model card; train the model again"
        ) from error
    fill(network, weights, path.name)
    network.eval().requires_grad_(False)
    return MaskNet(
        str(card["name"]), str(card["version"]), card["sha256"], network, classes, recipe, card
    )


def write_mask_net(
    folder: Path,
    name: str,
    network: MaskNetClassifier,
    detector_arguments: Mapping[str, Any],
    classes: Sequence[str],
    recipe: PictureRecipe,
    about: Mapping[str, Any],
) -> Path:
    """Write weights, then card; ``about`` adds fields (``version`` must be there). Gives the card.

    Raises
    ------
    ResourceError
        If the disk is full or cannot be written to; files from before stay.
    """
    first = network.s[0]
    more = {
        **about,
        "detector": dict(detector_arguments),
        "arguments": {
            "candidates": network.candidates,
            "hidden": first.out_features,
            "least_side": network.least_side,
        },
        "recipe": recipe.to_dict(),
        "classes": list(classes),
    }
    return write_card(folder, name, network, MASK_NET, more)
