"""Small picture sets that a classifier can learn, and classifiers that need no training."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from napari_covseg.models.classifier_heads import LayersHead
from napari_covseg.models.feature_extractors import Extractor
from napari_covseg.models.image_classifier import ImageClassifier, References
from napari_covseg.preprocess.pictures import PictureRecipe


def write_pictures(folder: Path, each: int = 12, size: int = 40, seed: int = 0) -> Path:
    """Class ``dark`` and class ``light``: noise around two levels, ``each`` pictures of both."""
    rng = np.random.default_rng(seed)
    for label, level in (("dark", 60), ("light", 180)):
        (folder / label).mkdir(parents=True)
        for index in range(each):
            grey = np.clip(rng.normal(level, 12, (size, size)), 0, 255).astype(np.uint8)
            Image.fromarray(grey).save(folder / label / f"{index:02d}.png")
    return folder


class CornerExtractor(Extractor):
    """A network that can only look at the upper left quarter: 8 x 8 means, all else is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.sha256 = "corner", "0"

    def maps(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = torch.nn.functional.adaptive_avg_pool2d(grey, 8).clone()
        maps[:, :, 4:, :] = 0
        maps[:, :, :, 4:] = 0
        return maps, maps[:, :0]


def corner_classifier(size: int = 32) -> ImageClassifier:
    """Class ``light`` where the corner is lighter than a quarter grey on average of the picture."""
    weight = torch.tensor([[[0.0], [80.0]], [[0.0], [60.0]]])
    head = LayersHead((weight,), (torch.tensor([[0.0, -10.0], [0.0, -7.5]]),))
    features = np.array([[0.0], [0.05], [0.2], [0.25]], np.float32)
    names = ("a.png", "b.png", "c.png", "d.png")
    return ImageClassifier(
        name="corner",
        version="1",
        sha256="0",
        classes=("dark", "light"),
        positive="light",
        recipe=PictureRecipe(size),
        extractor=CornerExtractor().eval(),
        pooled=True,
        head=head,
        explain=head,
        threshold=0.5,
        references=References.of(features, names, ("dark", "dark", "light", "light")),
        card={"licence": "test"},
    )
