"""Features of two encoders of one kind: one that knows lesions, and one that knows pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_covseg.models.feature_extractors import (
    LITE0_FIRST,
    STEP,
    TWIN,
    Extractor,
    encoded,
    mean_over,
    seen,
)

if TYPE_CHECKING:
    from napari_covseg.models.unet_lite import UNetLite


class TwinExtractor(Extractor):
    """The shipped segmentation network, and an EfficientNet-Lite0 with ImageNet's weights.

    Maps are 640, those of the first encoder before those of the second. Pooled features are 1286:
    the first's mean over the lungs and six numbers (as `CovsegExtractor`), the second's mean over
    the lungs, the first's mean over the lesions, the second's standard deviation over the lungs;
    lungs and lesions are those that the first finds. Chosen by cross-validation inside of
    COVID-CT's training part.

    ``sha256`` is that of the segmentation network; the other encoder's weights stand with the
    classifier.
    """

    def __init__(self, network: UNetLite, encoder: nn.ModuleList, sha256: str) -> None:
        super().__init__()
        self.name, self.sha256 = TWIN, sha256
        self.network, self.encoder = network, encoder

    def centres(self, pixels: int, places: int) -> tuple[float, float]:
        """As `Extractor.centres`."""
        return LITE0_FIRST, STEP

    def maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """As `Extractor.maps`."""
        first, classes = encoded(self.network, grey)
        second = grey * 2 - 1
        for block in self.encoder:
            second = block(second)
        where, numbers = seen(classes, first.shape[-2:])
        return torch.cat([first, second.float()], dim=1), torch.cat([where, numbers], dim=1)

    def from_maps(self, maps: Tensor, beside: Tensor, pooled: bool = True) -> Tensor:
        """As `Extractor.from_maps`."""
        numbers = beside[:, 2:].mean(dim=(2, 3))
        if not pooled:
            return torch.cat([maps.flatten(1), numbers], dim=1)
        first, second = maps.chunk(2, dim=1)
        lung, lesion = beside[:, :1], beside[:, 1:2]
        mean = mean_over(second, lung)
        # Below this a map is as good as flat, and the root has no gradient at 0.
        spread = (mean_over(second**2, lung) - mean**2).clamp(min=1e-6).sqrt()
        return torch.cat(
            [mean_over(first, lung), numbers, mean, mean_over(first, lesion), spread], 1
        )
