"""ResNet-50 and Res2Net-50 as encoders, laid out as their published weights need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from napari_covseg.models.imagenet import PublishedEncoder

BLOCKS = (3, 4, 6, 3)
"""Of each level, in both."""
EXPANSION = 4
"""Feature maps of a level's output, for each of its inner ones."""
SCALES = 4
"""Groups that Res2Net splits a block's feature maps into ("4s")."""
WEIGHTS: Mapping[str, str] = {"res2net50": "res2net50_v1b_26w_4s", "resnet50": "resnet50"}


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _conv_norm_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return _conv_norm(inputs, outputs, kernel, stride).append(nn.ReLU(inplace=True))


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1, around a shortcut (He et al. 2016; stride as in torchvision).

    ``inner`` are the feature maps of the 3x3 convolution, a quarter of the output's.
    """

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        outputs = inner * EXPANSION
        self.reduce = _conv_norm_relu(inputs, inner, 1)
        self.filter = _conv_norm_relu(inner, inner, 3, stride)
        self.expand = _conv_norm(inner, outputs, 1)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = _conv_norm(inputs, outputs, 1, stride)

    def forward(self, features: Tensor) -> Tensor:
        """``(n, inputs, h, w)`` to ``(n, 4 * inner, h / stride, w / stride)``."""
        change: Tensor = self.expand(self.filter(self.reduce(features)))
        return torch.relu(change + self.shortcut(features))

    def published(self, prefix: str) -> Iterator[tuple[str, nn.Module]]:
        """Its modules by their published names, which begin with ``prefix``."""
        for number, part in enumerate((self.reduce, self.filter, self.expand), start=1):
            yield f"{prefix}conv{number}", part[0]
            yield f"{prefix}bn{number}", part[1]
        if isinstance(self.shortcut, nn.Sequential):
            yield f"{prefix}downsample.0", self.shortcut[0]
            yield f"{prefix}downsample.1", self.shortcut[1]


class Bottle2neck(nn.Module):
    """A bottleneck whose 3x3 filters work in a chain of groups (Gao et al. 2021; "v1b").

    The feature maps are split into four groups. Each but the last is filtered, after what the group
    before it gave was added; in the ``first`` block of a level nothing is added and the last group
    is averaged instead of left alone. Where the level halves the size, the shortcut averages too.
    """

    def __init__(self, inputs: int, inner: int, stride: int, first: bool) -> None:
        super().__init__()
        outputs = inner * EXPANSION
        self.group = inner * 26 // 64
        self.first = first
        self.reduce = _conv_norm_relu(inputs, self.group * SCALES, 1)
        self.filters = nn.ModuleList(
            _conv_norm_relu(self.group, self.group, 3, stride) for _ in range(SCALES - 1)
        )
        self.rest: nn.Module = nn.AvgPool2d(3, stride, 1) if first else nn.Identity()
        self.expand = _conv_norm(self.group * SCALES, outputs, 1)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.AvgPool2d(stride), *_conv_norm(inputs, outputs, 1))

    def forward(self, features: Tensor) -> Tensor:
        """``(n, inputs, h, w)`` to ``(n, 4 * inner, h / stride, w / stride)``."""
        *groups, rest = self.reduce(features).split(self.group, dim=1)
        filtered: list[Tensor] = []
        for group, filters in zip(groups, self.filters, strict=True):
            chained = group + filtered[-1] if filtered and not self.first else group
            filtered.append(filters(chained))
        change: Tensor = self.expand(torch.cat([*filtered, self.rest(rest)], dim=1))
        return torch.relu(change + self.shortcut(features))

    def published(self, prefix: str) -> Iterator[tuple[str, nn.Module]]:
        """Its modules by their published names, which begin with ``prefix``."""
        for name, part in (("1", self.reduce), ("3", self.expand)):
            yield f"{prefix}conv{name}", part[0]
            yield f"{prefix}bn{name}", part[1]
        for number, filters in enumerate(self.filters):
            convolution, norm, _ = filters.children()
            yield f"{prefix}convs.{number}", convolution
            yield f"{prefix}bns.{number}", norm
        if isinstance(self.shortcut, nn.Sequential):
            yield f"{prefix}downsample.1", self.shortcut[1]
            yield f"{prefix}downsample.2", self.shortcut[2]


class ResNetEncoder(PublishedEncoder):
    """ResNet-50 or Res2Net-50 without classifier: the features at 1/4, 1/8, 1/16 and 1/32.

    Parameters
    ----------
    kind
        ``"res2net50"`` (26 maps a group, 4 groups, version 1b) or ``"resnet50"``.
    width
        Feature maps of the stem; 64 is the published one's. Levels have 4, 8, 16 and 32 times that.
    inputs
        Channels of the input.

    Input ``(n, inputs, h, w)``, height and width multiples of 32.

    Raises
    ------
    ValueError
        If there is no such kind, or too few feature maps for its groups.
    """

    def __init__(self, kind: str = "res2net50", width: int = 64, inputs: int = 1) -> None:
        super().__init__()
        if kind not in WEIGHTS:
            raise ValueError(f"encoder {kind!r} is not one of {', '.join(WEIGHTS)}")
        if width < SCALES:
            raise ValueError(f"expected {SCALES} or more feature maps in the stem, got {width}")
        self.kind, self.weights = kind, WEIGHTS[kind]
        if kind == "res2net50":
            self.stem = nn.Sequential(
                *_conv_norm_relu(inputs, width // 2, 3, 2),
                *_conv_norm_relu(width // 2, width // 2, 3),
                *_conv_norm_relu(width // 2, width, 3),
            )
        else:
            self.stem = _conv_norm_relu(inputs, width, 7, 2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.levels = nn.ModuleList()
        previous = width
        for level, blocks in enumerate(BLOCKS):
            inner = width * 2**level
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if level and not block else 1
                stage.append(self._block(previous, inner, stride, not block))
                previous = inner * EXPANSION
            self.levels.append(stage)
        self.widths = tuple(width * EXPANSION * 2**level for level in range(len(BLOCKS)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _block(self, inputs: int, inner: int, stride: int, first: bool) -> nn.Module:
        if self.kind == "res2net50":
            return Bottle2neck(inputs, inner, stride, first)
        return Bottleneck(inputs, inner, stride)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The features of the four levels, finest first."""
        features: Tensor = self.pool(self.stem(image))
        levels: list[Tensor] = []
        for level in self.levels:
            features = level(features)
            levels.append(features)
        return levels

    def published(self) -> Iterator[tuple[str, nn.Module]]:
        """Names as in torchvision's ``resnet50`` and in Res2Net's own files."""
        leaves = [m for m in self.stem if not isinstance(m, nn.ReLU)]
        names = ["conv1", "bn1"]
        if self.kind == "res2net50":
            names = ["conv1.0", "conv1.1", "conv1.3", "conv1.4", "conv1.6", "bn1"]
        yield from zip(names, leaves, strict=True)
        for level, stage in enumerate(self.levels, start=1):
            for number, block in enumerate(stage.children()):
                assert isinstance(block, Bottleneck | Bottle2neck)
                yield from block.published(f"layer{level}.{number}.")
