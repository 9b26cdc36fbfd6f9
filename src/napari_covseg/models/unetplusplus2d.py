"""U-Net++ (Zhou et al. 2018): a U-Net whose skip connections are convolutions of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class UNetPlusPlus2D(nn.Module):
    """U-Net++, the baseline of Singh & Krishna and of Fan et al.

    Node ``(i, j)`` is at level i (finest 0); those with j = 0 are the encoder. Each other one is
    given all nodes before it at its level and the one below that is before it, enlarged by a
    transposed convolution. The last node of the finest level is classified; there is no deep
    supervision. It is MONAI's ``BasicUNetPlusPlus`` with batch normalisation and ReLU, weight for
    weight but for its heads for deep supervision; here so that a model needs no MONAI.

    Parameters
    ----------
    channels
        Feature maps of each level, finest first; every level below the first halves the size, so
        height and width must be multiples of ``2 ** (len(channels) - 1)``.
    classes
        Channels of the output (`NetworkClass`).
    inputs
        Channels of the input.

    Input ``(n, inputs, h, w)``, output logits ``(n, classes, h, w)``.

    Raises
    ------
    ValueError
        If there are fewer than two levels, or an input's size is not such a multiple.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 256, 512),
        classes: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        if len(channels) < 2 or min(channels) < 1:
            raise ValueError(f"expected feature maps of two or more levels, got {channels}")
        levels = len(channels)
        self.multiple = 2 ** (levels - 1)
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(
            _block(given, width)
            for given, width in zip((inputs, *channels), channels, strict=False)
        )
        self.upsample = nn.ModuleDict()
        self.nodes = nn.ModuleDict()
        """By ``i_j``, in the order in which they are computed."""
        for column in range(1, levels):
            for level in range(levels - column):
                width, name = channels[level], f"{level}_{column}"
                below = channels[level + 1]
                self.upsample[name] = nn.ConvTranspose2d(below, width, 2, stride=2)
                self.nodes[name] = _block((column + 1) * width, width)
        self.head = nn.Conv2d(channels[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits for each class and pixel."""
        size = tuple(image.shape[2:])
        if any(n % self.multiple for n in size):
            raise ValueError(f"expected sizes that are multiples of {self.multiple}, got {size}")
        rows: list[list[Tensor]] = []
        for level, block in enumerate(self.encoder):
            rows.append([block(self.pool(rows[-1][0]) if level else image)])
        for name, node in self.nodes.items():
            level = int(name.partition("_")[0])
            enlarged = self.upsample[name](rows[level + 1][-1])
            rows[level].append(node(torch.cat([*rows[level], enlarged], dim=1)))
        logits: Tensor = self.head(rows[0][-1])
        return logits
