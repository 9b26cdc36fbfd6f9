"""A U-Net on an EfficientNet encoder, for the transfer learning of Singh & Krishna."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_covseg.models.efficientnet import EfficientNetEncoder


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class EfficientNetUNet2D(nn.Module):
    """Features of EfficientNet-B0 to B7, and a decoder trained on them (Singh & Krishna 2022).

    The report says of the decoder only that "standard neural networks" learn from the features; the
    choices made here stand in ``docs/concepts/networks.md``. The encoder's ImageNet weights come
    from a file (`imagenet.load_imagenet`); it starts with random ones.

    Parameters
    ----------
    variant
        Of EfficientNet, ``"b0"`` to ``"b7"``.
    frozen
        Whether the encoder keeps its weights and its statistics, as in the report. That is of use
        only with ImageNet weights.
    decoder
        Feature maps of each level of the decoder, coarsest (1/16) first, full size last.
    drop_path
        Stochastic depth of the encoder; none where it is frozen.
    classes
        Channels of the output (`NetworkClass`).
    inputs
        Channels of the input.

    Input ``(n, inputs, h, w)``, height and width multiples of 32; output logits
    ``(n, classes, h, w)``.

    Raises
    ------
    ValueError
        If there is no such variant, the decoder has not five levels of feature maps, or an input's
        size is not such a multiple.
    """

    def __init__(
        self,
        variant: str = "b0",
        frozen: bool = False,
        decoder: Sequence[int] = (256, 128, 64, 32, 16),
        drop_path: float = 0.2,
        classes: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.frozen = frozen
        self.encoder = EfficientNetEncoder(variant, drop_path, inputs)
        if frozen:
            self.encoder.requires_grad_(False)
        *skipped, previous = self.encoder.widths
        if len(decoder) != len(skipped) + 1 or min(decoder) < 1:
            raise ValueError(
                f"expected feature maps of {len(skipped) + 1} levels of the decoder, got {decoder}"
            )
        self.decoder = nn.ModuleList()
        for outputs, beside in zip(decoder, (*reversed(skipped), 0), strict=True):
            self.decoder.append(_block(previous + beside, outputs))
            previous = outputs
        self.head = nn.Conv2d(previous, classes, 1)
        self.train()

    def train(self, mode: bool = True) -> EfficientNetUNet2D:
        """As ever; a frozen encoder stays in evaluation mode, so that its statistics stay too."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Logits for each class and pixel."""
        size = tuple(image.shape[2:])
        if any(n % 32 for n in size):
            raise ValueError(f"expected sizes that are multiples of 32, got {size}")
        *skips, features = self.encoder(image)
        for block in self.decoder:
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            if skips:
                features = torch.cat([features, skips.pop()], dim=1)
            features = block(features)
        logits: Tensor = self.head(features)
        return logits
