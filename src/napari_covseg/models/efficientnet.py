"""EfficientNet-B0 to B7 as encoders (Tan & Le 2019), laid out as Google's weights need it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from napari_covseg.models.imagenet import PublishedEncoder
from napari_covseg.models.unet_lite import STAGES, STEM, SameConv2d

SCALES: Mapping[str, tuple[float, float]] = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}
"""How many times the feature maps and the blocks of B0 each variant has."""


def scaled_width(maps: int, scale: float) -> int:
    """Feature maps times the scale, to the nearest multiple of 8, but not below 90 %."""
    wanted = maps * scale
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class SqueezeExcite(nn.Module):
    """Weighs each feature map by what all of them hold on average (Hu et al. 2018)."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, middle, 1)
        self.expand = nn.Conv2d(middle, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """``(n, channels, h, w)`` to the same, each map times its weight in (0, 1)."""
        mean = features.mean(dim=(2, 3), keepdim=True)
        weight: Tensor = self.expand(nn.functional.silu(self.reduce(mean)))
        return features * weight.sigmoid()


class MBConv(nn.Module):
    """Expand, filter each map, weigh the maps, project; with stochastic depth."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, drop: float
    ) -> None:
        super().__init__()
        middle = inputs * expansion
        widen: list[nn.Module] = []
        if expansion != 1:
            widen = [nn.Conv2d(inputs, middle, 1, bias=False), _norm(middle), nn.SiLU(True)]
        self.layers = nn.Sequential(
            *widen,
            *(SameConv2d(middle, middle, kernel, stride, middle), _norm(middle), nn.SiLU(True)),
            SqueezeExcite(middle, max(1, inputs // 4)),
            *(nn.Conv2d(middle, outputs, 1, bias=False), _norm(outputs)),
        )
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

    def published(self, prefix: str) -> Iterator[tuple[str, nn.Module]]:
        """Its modules by their published names, which begin with ``prefix``."""
        leaves = [m for m in self.layers.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
        names = ["conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2"]
        if len(leaves) > len(names):
            names = ["conv_pw", "bn1", "conv_dw", "bn2", *names[2:4], "conv_pwl", "bn3"]
        for name, leaf in zip(names, leaves, strict=True):
            yield prefix + name, leaf


class EfficientNetEncoder(PublishedEncoder):
    """EfficientNet without its classifier: the features at 1/2, 1/4, 1/8, 1/16 and 1/32.

    Parameters
    ----------
    variant
        ``"b0"`` to ``"b7"``.
    drop_path
        Stochastic depth (Huang et al. 2016): chance to drop the last block, linear in depth.
    inputs
        Channels of the input.

    Input ``(n, inputs, h, w)``, height and width multiples of 32.

    Raises
    ------
    ValueError
        If there is no such variant.
    """

    def __init__(self, variant: str = "b0", drop_path: float = 0.2, inputs: int = 1) -> None:
        super().__init__()
        if variant not in SCALES:
            raise ValueError(f"EfficientNet variant {variant!r} is not one of {', '.join(SCALES)}")
        wider, deeper = SCALES[variant]
        self.weights = f"tf_efficientnet_{variant}"
        previous = scaled_width(STEM, wider)
        self.stem = nn.Sequential(
            SameConv2d(inputs, previous, 3, stride=2), _norm(previous), nn.SiLU(True)
        )
        repeats = [math.ceil(blocks * deeper) for blocks, *_ in STAGES]
        done, total = 0, sum(repeats)
        self.stages = nn.ModuleList()
        widths: list[int] = []
        for count, (_, kernel, stride, expansion, maps) in zip(repeats, STAGES, strict=True):
            outputs = scaled_width(maps, wider)
            if stride == 2:
                widths.append(previous)
            stage = nn.Sequential()
            for index in range(count):
                step, drop = stride if index == 0 else 1, drop_path * done / total
                stage.append(MBConv(previous, outputs, kernel, step, expansion, drop))
                previous, done = outputs, done + 1
            self.stages.append(stage)
        self.widths = (*widths, previous)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The last features of each size, finest first."""
        features: Tensor = self.stem(image)
        levels: list[Tensor] = []
        for stage, (_, _, stride, _, _) in zip(self.stages, STAGES, strict=True):
            if stride == 2:
                levels.append(features)
            features = stage(features)
        return [*levels, features]

    def published(self) -> Iterator[tuple[str, nn.Module]]:
        """Names as in timm's ``tf_efficientnet_b0`` to ``b7``."""
        yield "conv_stem", self.stem[0]
        yield "bn1", self.stem[1]
        for index, stage in enumerate(self.stages):
            for number, block in enumerate(stage.children()):
                assert isinstance(block, MBConv)
                yield from block.published(f"blocks.{index}.{number}.")
