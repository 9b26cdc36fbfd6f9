"""The default network: a 2D U-Net on axial slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class UNet2D(nn.Module):
    """U-Net (Ronneberger et al. 2015) with batch normalisation and strided down-sampling.

    Parameters
    ----------
    channels
        Feature maps of each level, finest first; every level below the first halves the size, so
        height and width must be multiples of ``2 ** (len(channels) - 1)``.
    classes
        Channels of the output (`NetworkClass`).
    inputs
        Channels of the input.

    Input ``(n, inputs, h, w)`` in [-1, 1], output logits ``(n, classes, h, w)``.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128, 256, 256),
        classes: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        previous = inputs
        for level, width in enumerate(channels):
            self.encoder.append(_block(previous, width, stride=1 if level == 0 else 2))
            previous = width
        self.upsample = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for width in reversed(channels[:-1]):
            self.upsample.append(nn.ConvTranspose2d(previous, width, 2, stride=2))
            self.decoder.append(_block(2 * width, width))
            previous = width
        self.head = nn.Conv2d(previous, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits for each class and pixel."""
        skips: list[Tensor] = []
        features = image
        for block in self.encoder:
            features = block(features)
            skips.append(features)
        skips.pop()
        for upsample, block in zip(self.upsample, self.decoder, strict=True):
            features = block(torch.cat([upsample(features), skips.pop()], dim=1))
        logits: Tensor = self.head(features)
        return logits
