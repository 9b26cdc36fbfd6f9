"""The U-Net with attention gates that Singh & Krishna describe."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EncoderBlock(nn.Module):
    """Convolution and ReLU; then max pooling, batch normalisation and dropout on the way down."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)
        )
        # An odd size keeps its last row; the decoder crops what that adds.
        self.down = nn.Sequential(
            nn.MaxPool2d(2, ceil_mode=True), nn.BatchNorm2d(outputs), nn.Dropout(dropout)
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """``(n, inputs, h, w)`` to what is skipped, ``(n, outputs, h, w)``, and half its size."""
        skipped: Tensor = self.convolve(features)
        return skipped, self.down(skipped)


class AttentionGate(nn.Module):
    """Additive attention (Oktay et al. 2018): the decoder says where the encoder's maps count."""

    def __init__(self, width: int) -> None:
        super().__init__()
        middle = max(1, width // 2)
        self.of_encoder = nn.Conv2d(width, middle, 1, bias=False)
        self.of_decoder = nn.Conv2d(width, middle, 1)
        self.weigh = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(middle, 1, 1), nn.Sigmoid())

    def forward(self, skipped: Tensor, decoded: Tensor) -> Tensor:
        """Both ``(n, width, h, w)``; returns the first, each pixel times its weight in (0, 1)."""
        weight: Tensor = self.weigh(self.of_encoder(skipped) + self.of_decoder(decoded))
        return skipped * weight


class DecoderBlock(nn.Module):
    """Up-convolution, the skip connection, then batch normalisation, convolution and ReLU."""

    def __init__(self, inputs: int, outputs: int, attention: bool) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False)
        self.gate = AttentionGate(outputs) if attention else None
        self.convolve = nn.Sequential(
            nn.BatchNorm2d(2 * outputs),
            nn.Conv2d(2 * outputs, outputs, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor, skipped: Tensor) -> Tensor:
        """``(n, inputs, h / 2, w / 2)`` and ``(n, outputs, h, w)`` to ``(n, outputs, h, w)``."""
        height, width = skipped.shape[-2:]
        larger = self.upsample(features)[..., :height, :width]
        if self.gate is not None:
            skipped = self.gate(skipped, larger)
        decoded: Tensor = self.convolve(torch.cat([skipped, larger], dim=1))
        return decoded


class AttentionUNet2D(nn.Module):
    """U-Net with an attention gate on every skip connection (Singh & Krishna, report of 2022).

    Each block of the encoder: 3x3 convolution, ReLU, max pooling, batch normalisation, dropout;
    what is skipped is taken before the pooling. Each block of the decoder: 2x2 up-convolution,
    concatenation, batch normalisation, 3x3 convolution, ReLU. What the report leaves open stands in
    ``docs/concepts/networks.md``.

    Parameters
    ----------
    blocks
        Of the encoder and of the decoder: 4 or 6 in the report ("block size").
    width
        Feature maps of the first block; each block doubles them.
    widest
        What no block's feature maps go beyond.
    attention
        Whether skip connections have gates.
    dropout
        Chance to drop a value, after each block of the encoder.
    classes
        Channels of the output (`NetworkClass`).
    inputs
        Channels of the input.

    Input ``(n, inputs, h, w)`` of any height and width, output logits ``(n, classes, h, w)``.

    Raises
    ------
    ValueError
        If the blocks or feature maps are not positive.
    """

    def __init__(
        self,
        blocks: int = 4,
        width: int = 64,
        widest: int = 512,
        attention: bool = True,
        dropout: float = 0.1,
        classes: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        if min(blocks, width, widest) < 1:
            raise ValueError(
                f"expected one or more blocks and feature maps, got {blocks} blocks of {width} to "
                f"{widest}"
            )
        widths = [min(width * 2**block, widest) for block in range(blocks)]
        self.encoder = nn.ModuleList()
        previous = inputs
        for outputs in widths:
            self.encoder.append(EncoderBlock(previous, outputs, dropout))
            previous = outputs
        self.decoder = nn.ModuleList()
        for outputs in reversed(widths):
            self.decoder.append(DecoderBlock(previous, outputs, attention))
            previous = outputs
        self.head = nn.Conv2d(previous, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits for each class and pixel."""
        skips: list[Tensor] = []
        features = image
        for block in self.encoder:
            skipped, features = block(features)
            skips.append(skipped)
        for block in self.decoder:
            features = block(features, skips.pop())
        logits: Tensor = self.head(features)
        return logits
