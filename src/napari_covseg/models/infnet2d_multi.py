"""Inf-Net for several classes (Fan et al. 2020, Fung et al.): both of its networks as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.infnet2d import MULTIPLE, InfNet2D, infection
from napari_covseg.models.outputs import InfNetMultiOutputs


def _block(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 3, padding=1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class PriorUNet2D(nn.Module):
    """U-Net on an image and what another network thinks of it, concatenated.

    Max pooling and bilinear enlargement; see `InfNetMulti2D` for its parameters and sizes.
    """

    def __init__(self, channels: Sequence[int], classes: int, inputs: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        previous = inputs
        for width in channels:
            self.encoder.append(_block(previous, width, width))
            previous = width
        self.pool = nn.MaxPool2d(2)
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(channels) - 1)):
            joined = previous + channels[level]
            previous = channels[max(0, level - 1)]
            self.decoder.append(_block(joined, joined // 2, previous))
        self.head = nn.Conv2d(previous, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits for each class and pixel."""
        skips: list[Tensor] = []
        features = image
        for level, block in enumerate(self.encoder):
            features = block(self.pool(features) if level else features)
            skips.append(features)
        skips.pop()
        for block in self.decoder:
            larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
            features = block(torch.cat([skips.pop(), larger], dim=1))
        logits: Tensor = self.head(features)
        return logits


class InfNetMulti2D(nn.Module):
    """A single Inf-Net finds infection; a U-Net is given it beside the image and finds classes.

    The single network learns from its own outputs alone: no gradient reaches it through the prior,
    as in the papers, where it was trained before.

    Parameters
    ----------
    channels
        Feature maps of each level of the second network, finest first; at most 6 levels.
    frozen
        Whether the single network stays as it is, as in the papers: then its weights come from a
        trained `infnet2d` (`load_single`). Otherwise both train side by side.
    single_classes
        Channels of the single network's output: 4 as `infnet2d` trains them, or 1 for infection.
    encoder, width, encoder_width
        Of the single network: see `InfNet2D`.
    classes
        Channels of the output (`NetworkClass`).
    inputs
        Channels of the input.

    Input ``(n, inputs, h, w)``, height and width multiples of 32. In evaluation mode the output is
    logits ``(n, classes, h, w)``; in training mode it is `InfNetMultiOutputs`, but where the single
    network is frozen logits too, for there is nothing else to train.

    Raises
    ------
    ValueError
        If there are no or too many levels, what `InfNet2D` refuses, or an input's size is not such
        a multiple.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 256, 512, 512),
        frozen: bool = False,
        single_classes: int = 4,
        encoder: str = "res2net50",
        width: int = 32,
        encoder_width: int = 64,
        classes: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        if not 2 <= len(channels) <= 6 or min(channels) < 1:
            raise ValueError(f"expected feature maps of 2 to 6 levels, got {channels}")
        self.frozen = frozen
        self.single = InfNet2D(encoder, width, encoder_width, single_classes, inputs)
        if frozen:
            self.single.requires_grad_(False)
        self.multi = PriorUNet2D(channels, classes, inputs + 1)
        self.train()

    def train(self, mode: bool = True) -> InfNetMulti2D:
        """As ever; a frozen single network stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.single.eval()
        return self

    def load_single(self, weights: Mapping[str, Tensor]) -> None:
        """Take over the weights of a trained `infnet2d` (its ``state_dict``).

        Raises
        ------
        ModelError
            If they are not those of an `infnet2d` with this one's settings.
        """
        try:
            self.single.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise ModelError(
                "these weights are not those of an infnet2d with the same encoder, widths and "
                "classes as the single network of this infnet2d_multi"
            ) from error

    def forward(self, image: Tensor) -> Tensor | InfNetMultiOutputs:
        """Logits for each class and pixel; in training those of the single network too."""
        size = tuple(image.shape[2:])
        if any(n % MULTIPLE for n in size):
            raise ValueError(f"expected sizes that are multiples of {MULTIPLE}, got {size}")
        single = self.single.outputs(image)
        prior = infection(single.final.detach())
        logits: Tensor = self.multi(torch.cat([image, prior.to(image.dtype)], dim=1))
        if self.training and not self.frozen:
            return InfNetMultiOutputs(logits, *single)
        return logits
