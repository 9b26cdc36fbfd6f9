"""QC-HC U-Net of Zhang et al.: a 3D U-Net with quick connections and hypercolumns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _conv_norm(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm3d(outputs),
    )


def _plain(inputs: int, outputs: int) -> nn.Sequential:
    """A level of the 3D U-Net that the paper starts from."""
    return nn.Sequential(
        *(*_conv_norm(inputs, outputs), nn.ReLU(inplace=True)),
        *(*_conv_norm(outputs, outputs), nn.ReLU(inplace=True)),
    )


class Quick(nn.Module):
    """Two Conv-BN, the first one's output added to the last one's before the last ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _conv_norm(inputs, outputs)
        self.last = _conv_norm(outputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """``(n, inputs, d, h, w)`` to ``(n, outputs, d, h, w)``, not yet rectified."""
        first: Tensor = self.first(features)
        changed: Tensor = self.last(F.relu(first))
        return first + changed


class QuickEncoder(nn.Module):
    """A level of the encoder: its input and what a `Quick` makes of it, concatenated.

    ``outputs`` counts both, so that it convolves to ``outputs - inputs`` feature maps only.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.quick = Quick(inputs, outputs - inputs)

    def forward(self, features: Tensor) -> Tensor:
        """``(n, inputs, d, h, w)`` to ``(n, outputs, d, h, w)``."""
        return torch.cat([features, F.relu(self.quick(features))], dim=1)


class QuickDecoder(nn.Module):
    """A level of the decoder: its input joins a `Quick` through a 1x1x1 convolution and BN."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.quick = Quick(inputs, outputs)
        self.cascade = _conv_norm(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """``(n, inputs, d, h, w)`` to ``(n, outputs, d, h, w)``."""
        return F.relu(self.quick(features) + self.cascade(features))


class QCHCUNet3D(nn.Module):
    """QC-HC U-Net (Zhang, Ren & Wei 2021, Sci Rep 11:22854).

    A 3D U-Net (`unet3d`) with two additions. Quick connections, after Jafari et al. (2020): in each
    level the output of the first Conv-BN is added to that of the last; in the encoder the level's
    input is concatenated to it, in the decoder it is added after a 1x1x1 convolution and BN.
    Hypercolumns, after Hariharan et al. (2015): each level of the decoder is classified by a 1x1x1
    convolution of its own, and the scores are brought to full size and summed. What the paper
    leaves open stands in ``docs/concepts/networks.md``.

    Parameters
    ----------
    channels
        Feature maps of each level, finest first; every level below the first halves the size, so
        depth, height and width must be multiples of ``2 ** (len(channels) - 1)``. With quick
        connections they grow from level to level, for they count the level's input.
    quick
        Whether there are quick connections; without them levels are those of `unet3d`.
    hypercolumns
        Whether there are hypercolumns; without them only the finest level is classified.
    classes
        Channels of the output (`NetworkClass`).
    inputs
        Channels of the input.

    Input ``(n, inputs, d, h, w)``, output logits ``(n, classes, d, h, w)``.

    Raises
    ------
    ValueError
        If there are fewer than two levels or they do not grow as they must, or an input's size is
        not such a multiple.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        quick: bool = True,
        hypercolumns: bool = True,
        classes: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        if len(channels) < 2 or min(channels) < 1:
            raise ValueError(f"expected feature maps of two or more levels, got {channels}")
        if quick and any(wide <= narrow for narrow, wide in pairwise((inputs, *channels))):
            raise ValueError(
                f"quick connections need more feature maps at each level than it is given, "
                f"got {channels} for {inputs} channels of input"
            )
        self.multiple = 2 ** (len(channels) - 1)
        self.encoder = nn.ModuleList()
        previous = inputs
        for width in channels:
            self.encoder.append((QuickEncoder if quick else _plain)(previous, width))
            previous = width
        self.pool = nn.MaxPool3d(2)
        self.upsample = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.heads = nn.ModuleList()
        """Coarsest first; without hypercolumns only the finest level has one."""
        for level, width in reversed(list(enumerate(channels[:-1]))):
            self.upsample.append(nn.ConvTranspose3d(previous, width, 2, stride=2))
            self.decoder.append((QuickDecoder if quick else _plain)(2 * width, width))
            if hypercolumns or level == 0:
                self.heads.append(nn.Conv3d(width, classes, 1))
            previous = width

    def forward(self, image: Tensor) -> Tensor:
        """Logits for each class and voxel."""
        size = tuple(image.shape[2:])
        if any(n % self.multiple for n in size):
            raise ValueError(f"expected sizes that are multiples of {self.multiple}, got {size}")
        skips: list[Tensor] = []
        features = image
        for level, block in enumerate(self.encoder):
            features = block(self.pool(features) if level else features)
            skips.append(features)
        skips.pop()
        columns: list[Tensor] = []
        for upsample, block in zip(self.upsample, self.decoder, strict=True):
            features = block(torch.cat([upsample(features), skips.pop()], dim=1))
            columns.append(features)
        *coarse, fine = self.heads
        logits: Tensor = fine(columns.pop())
        # To classify before enlarging is the same (both are linear), and takes far less memory.
        for head, column in zip(coarse, columns, strict=False):
            logits = logits + F.interpolate(head(column), size=size, mode="trilinear")
        return logits
