"""Inf-Net (Fan et al. 2020; the baseline of Fung et al.): one network for all lesions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models.outputs import InfNetOutputs
from napari_covseg.models.resnet import ResNetEncoder

LESIONS = [NetworkClass.GGO, NetworkClass.CONSOLIDATION]
MULTIPLE = 32


def _conv_norm(
    inputs: int, outputs: int, kernel: int | tuple[int, int], dilation: int = 1
) -> nn.Sequential:
    """Convolution and batch normalisation that keep the size; no ReLU."""
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (rows // 2 * dilation, columns // 2 * dilation)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _resize(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the height and width of ``like``."""
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear")


def infection(logits: Tensor) -> Tensor:
    """Probability of any lesion, ``(n, 1, h, w)``, from the logits of one channel or of classes."""
    if logits.shape[1] == 1:
        return logits.sigmoid()
    return logits.softmax(dim=1)[:, LESIONS].sum(dim=1, keepdim=True)


class ReceptiveField(nn.Module):
    """Four branches that look 1, 9, 15 and 21 pixels wide, joined, beside a shortcut.

    After Liu et al. (2018), as Wu et al. (2019) changed it.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_conv_norm(inputs, outputs, 1)])
        for kernel in (3, 5, 7):
            self.branches.append(
                nn.Sequential(
                    _conv_norm(inputs, outputs, 1),
                    _conv_norm(outputs, outputs, (1, kernel)),
                    _conv_norm(outputs, outputs, (kernel, 1)),
                    _conv_norm(outputs, outputs, 3, dilation=kernel),
                )
            )
        self.join = _conv_norm(4 * outputs, outputs, 3)
        self.shortcut = _conv_norm(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """``(n, inputs, h, w)`` to ``(n, outputs, h, w)``."""
        joined: Tensor = self.join(torch.cat([b(features) for b in self.branches], dim=1))
        return F.relu(joined + self.shortcut(features))


class PartialDecoder(nn.Module):
    """Features of the three coarsest levels, multiplied and concatenated (Wu et al. 2019)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.deep_to_middle = _conv_norm(width, width, 3)
        self.deep_to_fine = _conv_norm(width, width, 3)
        self.middle_to_fine = _conv_norm(width, width, 3)
        self.deep_beside_middle = _conv_norm(width, width, 3)
        self.middle_beside_fine = _conv_norm(2 * width, 2 * width, 3)
        self.join_middle = _conv_norm(2 * width, 2 * width, 3)
        self.join_fine = _conv_norm(3 * width, 3 * width, 3)
        self.last = _conv_norm(3 * width, 3 * width, 3)
        self.head = nn.Conv2d(3 * width, outputs, 1)

    def forward(self, fine: Tensor, middle: Tensor, deep: Tensor) -> Tensor:
        """``(n, width, ...)`` at 1/8, 1/16 and 1/32 to ``(n, outputs, h / 8, w / 8)``."""
        deep_2, deep_4, middle_2 = _twice(deep), _twice(_twice(deep)), _twice(middle)
        middle = self.deep_to_middle(deep_2) * middle
        fine = self.deep_to_fine(deep_4) * self.middle_to_fine(middle_2) * fine
        middle = self.join_middle(torch.cat([middle, self.deep_beside_middle(deep_2)], dim=1))
        beside = self.middle_beside_fine(_twice(middle))
        fine = self.join_fine(torch.cat([fine, beside], dim=1))
        logits: Tensor = self.head(self.last(fine))
        return logits


def _twice(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)


class ReverseAttention(nn.Module):
    """Corrects a coarser map, looking only where that found no lesion (Chen et al. 2018)."""

    def __init__(
        self, inputs: int, width: int, edge: int, kernel: int, layers: int, head: int, outputs: int
    ) -> None:
        super().__init__()
        self.reduce = _conv_norm(inputs, width, 1)
        self.layers = nn.ModuleList(
            _conv_norm(width + (0 if layer else edge), width, kernel) for layer in range(layers)
        )
        self.head = _conv_norm(width, outputs, head)

    def forward(self, features: Tensor, coarser: Tensor, edge: Tensor) -> Tensor:
        """Logits ``(n, outputs, h, w)``, the coarser ones' size changed to that of ``features``."""
        coarser = _resize(coarser, features)
        unseen = features * (1 - infection(coarser))
        change = torch.cat([self.reduce(unseen), _resize(edge, features)], dim=1)
        for layer in self.layers:
            change = F.relu(layer(change))
        logits: Tensor = self.head(change)
        return logits + coarser


class InfNet2D(nn.Module):
    """Inf-Net: global map, edge attention and three steps of reverse attention.

    The layers are those of the code that Fan et al. published and that Fung et al. left unchanged.
    With ``classes=1`` it is their network, whose one output is infection. With the classes of
    `NetworkClass` every map has a channel for each, and what reverse attention hides is the
    probability of any lesion; see ``docs/concepts/networks.md``.

    Parameters
    ----------
    encoder
        ``"res2net50"`` or ``"resnet50"``.
    width
        Feature maps of the receptive fields and of the partial decoder, at each level.
    encoder_width
        Feature maps of the encoder's stem, and of all but the coarsest branch; 64 is the published
        one's, and the only one that ImageNet weights fit.
    classes
        Channels of the output: 4 (`NetworkClass`), or 1 for infection.
    inputs
        Channels of the input.

    Input ``(n, inputs, h, w)``, height and width multiples of 32. In evaluation mode the output is
    the finest map, logits ``(n, classes, h, w)``; in training mode it is `InfNetOutputs`.

    Raises
    ------
    ValueError
        If there is no such encoder, there are no feature maps, the classes are others, or an
        input's size is not such a multiple.
    """

    def __init__(
        self,
        encoder: str = "res2net50",
        width: int = 32,
        encoder_width: int = 64,
        classes: int = 4,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        if classes not in (1, len(NetworkClass)):
            raise ValueError(f"expected 1 class or {len(NetworkClass)}, got {classes}")
        if width < 1:
            raise ValueError(f"expected one or more feature maps, got {width}")
        self.encoder = ResNetEncoder(encoder, encoder_width, inputs)
        finest, *levels = self.encoder.widths
        edge = encoder_width
        self.edge = nn.Sequential(
            _conv_norm(finest, edge, 1), _conv_norm(edge, edge, 3), _conv_norm(edge, edge, 3)
        )
        self.edge_head = _conv_norm(edge, 1, 3)
        self.fields = nn.ModuleList(ReceptiveField(maps, width) for maps in levels)
        self.decoder = PartialDecoder(width, classes)
        fine, middle, deep = levels
        self.reverse3 = ReverseAttention(fine, edge, edge, 3, 2, 3, classes)
        self.reverse4 = ReverseAttention(middle, edge, edge, 3, 2, 3, classes)
        self.reverse5 = ReverseAttention(deep, 4 * edge, edge, 5, 3, 1, classes)

    def forward(self, image: Tensor) -> Tensor | InfNetOutputs:
        """Logits for each class and pixel; in training of every map, and of the edge."""
        size = tuple(image.shape[2:])
        if any(n % MULTIPLE for n in size):
            raise ValueError(f"expected sizes that are multiples of {MULTIPLE}, got {size}")
        outputs = self.outputs(image)
        return outputs if self.training else outputs.final

    def outputs(self, image: Tensor) -> InfNetOutputs:
        """Every map and the edge, in either mode."""
        finest, *levels = self.encoder(image)
        edge = self.edge(finest)
        whole = self.decoder(*(f(level) for f, level in zip(self.fields, levels, strict=True)))
        fine, middle, deep = levels
        s5 = self.reverse5(deep, whole, edge)
        s4 = self.reverse4(middle, s5, edge)
        s3 = self.reverse3(fine, s4, edge)
        maps = (s3, s4, s5, whole, self.edge_head(edge))
        return InfNetOutputs(*(_resize(one, image) for one in maps))
