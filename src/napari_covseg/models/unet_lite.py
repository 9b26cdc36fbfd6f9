"""The default network: a 2D U-Net whose encoder is EfficientNet-Lite0.

The encoder's weights from ImageNet (`training/pretrained.py`) let few annotated slices go far. It
has neither squeeze-and-excitation nor swish, so it is quick on a CPU and safe in bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = (
    # blocks, kernel, stride, expansion, feature maps
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""EfficientNet-B0 and Lite0 (Tan & Le 2019; Lite: Google 2020, "EfficientNet-Lite")."""
STEM = 32


class SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow pads for even sizes, as the encoder was trained.

    With stride 2 that is one pixel more on the right and below than on the left and above.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(
            inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False
        )
        first = (kernel - 2) // 2
        self.before = (first, first + 1) * 2 if stride == 2 else ()
        """What is padded beforehand: left, right, above, below."""

    def forward(self, image: Tensor) -> Tensor:
        """``(n, inputs, h, w)`` to ``(n, outputs, h / stride, w / stride)``."""
        return super().forward(F.pad(image, self.before) if self.before else image)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)


class InvertedResidual(nn.Module):
    """Expand, filter each map, project (Sandler et al. 2018), with stochastic depth."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, drop: float
    ) -> None:
        super().__init__()
        middle = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [nn.Conv2d(inputs, middle, 1, bias=False), _norm(middle), nn.ReLU6(True)]
        layers += [
            *(SameConv2d(middle, middle, kernel, stride, middle), _norm(middle), nn.ReLU6(True)),
            *(nn.Conv2d(middle, outputs, 1, bias=False), _norm(outputs)),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = inputs == outputs and stride == 1
        self.drop = drop

    def forward(self, features: Tensor) -> Tensor:
        """The features, changed by the block; in training the change is dropped at random."""
        change: Tensor = self.layers(features)
        if not self.residual:
            return change
        if self.training and self.drop > 0:
            keep = torch.rand(len(change), 1, 1, 1, device=change.device) >= self.drop
            change = change * (keep.to(change.dtype) / (1 - self.drop))
        return features + change


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class UNetLite(nn.Module):
    """U-Net with an EfficientNet-Lite0 encoder and a branch at full resolution.

    Parameters
    ----------
    decoder
        Feature maps of each level of the decoder, coarsest (1/16) first.
    fine
        Feature maps of the full-resolution branch: the encoder starts at half.
    drop_path
        Stochastic depth (Huang et al. 2016): chance to drop the last block, linear in depth.
    dropout
        Chance to drop a map of the coarsest features.
    classes
        Channels of the output (`NetworkClass`).
    inputs
        Channels of the input.

    Input ``(n, inputs, h, w)`` in [-1, 1], height and width multiples of 32; output logits
    ``(n, classes, h, w)``.
    """

    def __init__(
        self,
        decoder: Sequence[int] = (128, 64, 48, 32, 16),
        fine: int = 16,
        drop_path: float = 0.1,
        dropout: float = 0.2,
        classes: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        stem = nn.Sequential(SameConv2d(inputs, STEM, 3, stride=2), _norm(STEM), nn.ReLU6(True))
        self.encoder = nn.ModuleList([stem])
        self._skips: list[int] = []
        skipped, width = [fine], STEM
        count = sum(stage[0] for stage in STAGES)
        for blocks, kernel, stride, expansion, outputs in STAGES:
            if stride == 2:
                self._skips.append(len(self.encoder) - 1)
                skipped.append(width)
            for index in range(blocks):
                drop = drop_path * (len(self.encoder) - 1) / count
                first = stride if index == 0 else 1
                self.encoder.append(
                    InvertedResidual(width, outputs, kernel, first, expansion, drop)
                )
                width = outputs
        self.fine = _block(inputs, fine)
        self.reduce = nn.Sequential(
            nn.Conv2d(width, decoder[0], 1, bias=False),
            nn.BatchNorm2d(decoder[0]),
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Dropout2d(dropout)
        self.decoder = nn.ModuleList()
        previous = decoder[0]
        for outputs, beside in zip(decoder, reversed(skipped), strict=True):
            self.decoder.append(_block(previous + beside, outputs))
            previous = outputs
        self.head = nn.Conv2d(previous, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits for each class and pixel."""
        logits: Tensor = self.head(self.decoded(image)[-1])
        return logits

    def decoded(self, image: Tensor) -> list[Tensor]:
        """The features of each level of the decoder, coarsest (1/16) first."""
        skips: list[Tensor] = [self.fine(image)]
        features = image
        for index, block in enumerate(self.encoder):
            features = block(features)
            if index in self._skips:
                skips.append(features)
        features = self.dropout(self.reduce(features))
        levels: list[Tensor] = []
        for block in self.decoder:
            beside = skips.pop()
            larger = F.interpolate(features, size=beside.shape[-2:], mode="nearest")
            features = block(torch.cat([larger, beside], dim=1))
            levels.append(features)
        return levels
