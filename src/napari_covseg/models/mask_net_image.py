"""A COVID-CT-Mask-Net as a classifier of pictures: it answers as the others do, without heat maps.

What module S reads, the 256 ranked predictions, are the features; S is the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_covseg.models.classifier_heads import LayersHead
from napari_covseg.models.feature_extractors import Extractor
from napari_covseg.models.image_classifier import ImageClassifier, References
from napari_covseg.models.mask_net_classifier import MASK_NET, MaskNetClassifier, read_mask_net


class MaskNetExtractor(Extractor):
    """Grey pictures in [0, 1] to their ranked predictions ``(n, 5 candidates)``."""

    has_map = False

    def __init__(self, network: MaskNetClassifier, sha256: str) -> None:
        super().__init__()
        self.name, self.sha256, self.network = MASK_NET, sha256, network

    def forward(self, grey: Tensor, pooled: bool = True) -> Tensor:
        """As `Extractor.forward`; there is nothing to pool."""
        # As it was trained: with half the digits boxes are ranked otherwise.
        with torch.autocast(grey.device.type, enabled=False):
            return self.network.features(grey.float() * 2 - 1).flatten(1)


@dataclass(frozen=True, eq=False)
class SharesHead:
    """Logits of classes that were trained each by itself, as shares of what they say together."""

    layers: LayersHead

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """As `Head.probabilities`."""
        with torch.inference_mode():
            logits = self.layers.logits(torch.from_numpy(features)).double()
            # In logarithms: also where no class has a probability to speak of.
            shares = torch.nn.functional.logsigmoid(logits).softmax(dim=-1)
        return np.asarray(shares.numpy())


def mask_net_as_classifier(path: Path) -> ImageClassifier:
    """The COVID-CT-Mask-Net of a card file.

    It is one network and has no level of doubt and no similar cases: none were kept in training.

    Raises
    ------
    ModelError
        If its files are missing or damaged.
    """
    found = read_mask_net(path)
    s = {name: value[None] for name, value in found.network.s.state_dict().items()}
    layers = LayersHead((s["0.weight"], s["2.weight"]), (s["0.bias"], s["2.bias"]))
    width = s["0.weight"].shape[-1]
    none = np.zeros((0, width), np.float32)
    return ImageClassifier(
        name=found.name,
        version=found.version,
        sha256=found.sha256,
        classes=found.classes,
        positive=None,
        recipe=found.recipe,
        extractor=MaskNetExtractor(found.network, found.sha256).eval(),
        pooled=True,
        head=SharesHead(layers),
        explain=layers,
        threshold=math.inf,
        references=References(none, (), (), none.sum(axis=0), np.ones(width, np.float32)),
        card=found.card,
    )
