"""The standard 3D U-Net, as Mueller et al. used it for lungs and infection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
    )


class UNet3D(nn.Module):
    """3D U-Net (Cicek et al. 2016; Mueller et al. 2021): batch normalisation, max pooling.

    Each level is two 3x3x3 convolutions, each followed by batch normalisation (which stands in for
    their bias) and ReLU. Levels are joined by 2x2x2 max pooling on the way down, by 2x2x2
    transposed convolutions of stride 2 and concatenation on the way up; a 1x1x1 convolution gives
    the logits.

    Parameters
    ----------
    channels
        Feature maps of each level, finest first; every level below the first halves the size, so
        depth, height and width must be multiples of ``2 ** (len(channels) - 1)``.
    classes
        Channels of the output (`NetworkClass`).
    inputs
        Channels of the input.

    Input ``(n, inputs, d, h, w)``, output logits ``(n, classes, d, h, w)``.

    Raises
    ------
    ValueError
        If there is no level, or an input's size is not such a multiple.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        classes: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise ValueError(f"expected feature maps of one or more levels, got {channels}")
        self.multiple = 2 ** (len(channels) - 1)
        self.encoder = nn.ModuleList()
        previous = inputs
        for width in channels:
            self.encoder.append(_block(previous, width))
            previous = width
        self.pool = nn.MaxPool3d(2)
        self.upsample = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for width in reversed(channels[:-1]):
            self.upsample.append(nn.ConvTranspose3d(previous, width, 2, stride=2))
            self.decoder.append(_block(2 * width, width))
            previous = width
        self.head = nn.Conv3d(previous, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits for each class and voxel."""
        if any(size % self.multiple for size in image.shape[2:]):
            sizes = tuple(image.shape[2:])
            raise ValueError(f"expected sizes that are multiples of {self.multiple}, got {sizes}")
        skips: list[Tensor] = []
        features = image
        for level, block in enumerate(self.encoder):
            features = block(self.pool(features) if level else features)
            skips.append(features)
        skips.pop()
        for upsample, block in zip(self.upsample, self.decoder, strict=True):
            features = block(torch.cat([upsample(features), skips.pop()], dim=1))
        logits: Tensor = self.head(features)
        return logits
