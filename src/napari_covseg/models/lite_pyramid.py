"""The default segmentation network as the backbone of a detector.

Its decoder is a feature pyramid already, and what it says of each pixel is the best that is known
of it: both are handed on, at 1/2 to 1/16 of the picture's size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from napari_covseg.models.unet_lite import UNetLite

STRIDES = (2, 4, 8, 16)


class LiteFeatures(nn.Module):
    """What a `UNetLite` knows of a picture, the finest level first.

    ``"0"`` to ``"3"``: the decoder's features at 1/2, 1/4, 1/8 and 1/16; with the finest the last
    features and the classes' probabilities, averaged over 2 x 2 pixels.

    Parameters
    ----------
    arguments
        Of `UNetLite`.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = UNetLite(**arguments)
        if self.network.head.kernel_size != (1, 1) or len(self.network.decoder) != 5:
            raise ValueError("expected a segmentation network with five levels")
        widths = [_width(block) for block in self.network.decoder]
        coarsest, *middle, half, full = widths
        self.widths = [half + full + self.network.head.out_channels, *middle[::-1], coarsest]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """``(n, 1, h, w)`` in [-1, 1], height and width multiples of 32."""
        network = self.network
        levels = network.decoded(images)
        shares = network.head(levels[-1]).softmax(dim=1)
        fine = F.avg_pool2d(torch.cat([levels[-1], shares], dim=1), 2)
        finest = torch.cat([levels[-2], fine], dim=1)
        ordered = [finest, *levels[-3::-1]]
        return OrderedDict((str(number), level) for number, level in enumerate(ordered))


class LitePyramid(nn.Module):
    """`LiteFeatures` and a feature pyramid of ``channels`` on them, with a level more at 1/32."""

    def __init__(self, arguments: Mapping[str, Any], channels: int) -> None:
        super().__init__()
        self.body = LiteFeatures(arguments)
        self.fpn = FeaturePyramidNetwork(self.body.widths, channels, LastLevelMaxPool())
        self.out_channels = channels

    def forward(self, images: Tensor) -> Any:
        """Levels ``"0"`` to ``"3"`` and ``"pool"``, each of ``channels``."""
        return self.fpn(self.body(images))


def _width(block: nn.Module) -> int:
    return [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels
