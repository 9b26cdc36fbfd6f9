"""Mask R-CNN for lesions in axial slices, after Ter-Sarkisov (Applied Intelligence 2022).

torchvision's parts (ResNet, feature pyramid, region proposals, regions of interest, masks) with
the small anchors of the paper. Two things are added: pictures keep their size (the recipe has
resampled them to millimetres), and places whose truth is unknown teach nothing. The backbone may be
the default segmentation network, too (`lite_pyramid`), with anchors of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from napari_covseg.domain.labels import Label
from napari_covseg.models.lite_pyramid import LitePyramid

CLASSES: Mapping[int, Label] = MappingProxyType({1: Label.GGO, 2: Label.CONSOLIDATION})
"""What the detector's class numbers mean; 0 is background, clean lung included."""
RESNETS = ("resnet18", "resnet34", "resnet50")
LITE = "lite0"
"""The default segmentation network, an EfficientNet-Lite0 U-Net."""
BACKBONES = (*RESNETS, LITE)
ANCHOR_SIZES = (2, 4, 8, 16, 32)
ANCHOR_RATIOS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)
RPN_NMS, ROI_NMS, SCORE = 0.75, 0.5, 0.05
CANDIDATES = 256
"""Anchors, and regions of interest, that each picture teaches with."""
IGNORED_SHARE = 0.5
"""A box with more of its area than this where the truth is unknown teaches nothing."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LEVELS = ("0", "1", "2", "3")
_MASK_LAYERS = {"resnet18": 1, "resnet34": 1, "resnet50": 4, LITE: 2}


@dataclass(frozen=True)
class _Anchors:
    """Sizes of five levels, ratios, and the proposals kept: before NMS (of a level), and after."""

    sizes: tuple[tuple[int, ...], ...]
    ratios: tuple[float, ...]
    training: tuple[int, int]
    testing: tuple[int, int]


_PAPER = _Anchors((ANCHOR_SIZES,) * 5, ANCHOR_RATIOS, (2000, 2000), (1000, 1000))
# Where levels begin at 1/2 each has lesions of its own size; a fifth of the anchors, as many found.
_OF_LITE = _Anchors(
    ((4, 6), (8, 12), (16, 24), (32, 48), (64, 96)), (0.5, 1.0, 2.0), (500, 500), (500, 500)
)


class LesionRCNN(GeneralizedRCNN):  # type: ignore[misc]
    """Finds lesions: boxes, classes (`CLASSES`), scores and masks.

    Called with pictures ``(1, h, w)`` in [-1, 1] (the recipe's), each of any size. In training
    targets are needed, one dict a picture: ``boxes`` float ``(n, 4)`` as x0, y0, x1, y1 in pixels,
    ``labels`` int64 ``(n,)``, ``masks`` uint8 ``(n, h, w)`` and ``ignored`` bool ``(h, w)``; it
    gives a dict of losses. In evaluation it gives a dict a picture: ``boxes``, ``labels``,
    ``scores`` (the highest first) and ``masks`` float ``(n, 1, h, w)``, 0 to 1.

    Parameters
    ----------
    backbone
        One of `BACKBONES`.
    channels
        Of the feature pyramid; 256 in the paper, fewer are faster.
    representation
        Features of a region; 128 in the author's code.
    mask_channels
        Of the mask branch: one layer for ResNet-18 and 34, four for ResNet-50, as in that code.
    roi_positive_iou
        Overlap from which a region teaches a lesion; below 0.5 it teaches background.
    positive_share
        Most of the candidates that may be lesions: of anchors, and of regions.
    regions
        That each picture teaches with.
    segmentation
        Arguments of the segmentation network, where that is the backbone.

    Raises
    ------
    ValueError
        If an argument cannot be used.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        channels: int = 256,
        representation: int = 128,
        mask_channels: int = 128,
        roi_positive_iou: float = 0.5,
        positive_share: tuple[float, float] | Sequence[float] = (0.5, 0.25),
        regions: int = CANDIDATES,
        segmentation: Mapping[str, Any] | None = None,
    ) -> None:
        if backbone not in BACKBONES:
            raise ValueError(f"backbone {backbone!r}: expected one of {', '.join(BACKBONES)}")
        if min(channels, representation, mask_channels, regions) < 1 or len(positive_share) != 2:
            raise ValueError("expected channels and regions above 0, and two positive shares")
        classes = 1 + len(CLASSES)
        self.lite = backbone == LITE
        asked = _OF_LITE if self.lite else _PAPER
        anchors = AnchorGenerator(asked.sizes, (asked.ratios,) * 5)
        kept = ({"training": asked.training[n], "testing": asked.testing[n]} for n in range(2))
        rpn = _Proposals(
            *(anchors, _ProposalHead(channels, anchors.num_anchors_per_location()[0])),
            *(0.7, 0.3, CANDIDATES, positive_share[0]),
            *(*kept, RPN_NMS),
        )
        layers = (mask_channels,) * _MASK_LAYERS[backbone]
        roi = _Regions(
            MultiScaleRoIAlign(list(_LEVELS), 7, 2),
            TwoMLPHead(channels * 7**2, representation),
            _Predictor(representation, classes),
            *(roi_positive_iou, 0.5, regions, positive_share[1], None, SCORE, ROI_NMS, 100),
            MultiScaleRoIAlign(list(_LEVELS), 14, 2),
            MaskRCNNHeads(channels, layers, 1),
            MaskRCNNPredictor(mask_channels, mask_channels, classes),
        )
        pyramid = _backbone(backbone, channels, segmentation or {})
        super().__init__(pyramid, rpn, roi, _KeepSize(self.lite))

    def forward(self, images: Sequence[Tensor], targets: Any = None) -> Any:
        """Losses in training, findings in evaluation (see the class)."""
        return super().forward(self.coloured(images), targets)

    def coloured(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Pictures as ``transform`` takes them: in 0 to 1, and in colour for a ResNet."""
        colours = 1 if self.lite else 3
        return [(image.float() + 1).div(2).expand(colours, -1, -1) for image in images]


class _KeepSize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Colours as ImageNet's, or grey in [-1, 1]; sizes as they come."""

    def __init__(self, grey: bool) -> None:
        super().__init__(1, 1, *([[0.5], [0.5]] if grey else [list(MEAN), list(STD)]))

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target


class _ProposalHead(RPNHead):  # type: ignore[misc]
    """In single precision: in bfloat16 the boxes made of it would be a pixel off."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores, changes = super().forward(features)
        return [one.float() for one in scores], [one.float() for one in changes]


class _Predictor(FastRCNNPredictor):  # type: ignore[misc]
    """In single precision, as `_ProposalHead`."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        scores, changes = super().forward(features)
        return scores.float(), changes.float()


class _Proposals(RegionProposalNetwork):  # type: ignore[misc]
    """Anchors in places of unknown truth teach nothing."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for one, places, target in zip(labels, anchors, targets, strict=True):
            leave_out(one, places, target["ignored"])
        return labels, boxes


class _Regions(RoIHeads):  # type: ignore[misc]
    """Regions in places of unknown truth teach nothing."""

    def select_training_samples(self, proposals: list[Tensor], targets: Any) -> Any:
        self._ignored = [target["ignored"] for target in targets]
        try:
            return super().select_training_samples(proposals, targets)
        finally:
            del self._ignored

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        for one, places, ignored in zip(labels, proposals, self._ignored, strict=True):
            leave_out(one, places, ignored)
        return matched, labels


def leave_out(labels: Tensor, boxes: Tensor, ignored: Tensor) -> None:
    """Set labels 0 (background) to -1 (not used) where boxes lie mostly in ``ignored``.

    One background box stays, that with least of it: with none at all the loss would be no number.
    """
    if not bool(ignored.any()):
        return
    share = covered_share(boxes, ignored)
    background = labels == 0
    labels[background & (share > IGNORED_SHARE)] = -1
    if bool(background.any()) and not bool((labels >= 0).any()):
        labels[torch.where(background, share, 2.0).argmin()] = 0


def covered_share(boxes: Tensor, where: Tensor) -> Tensor:
    """The share of each box ``(n, 4)``, as far as it is in the picture, that ``(h, w)`` covers."""
    height, width = where.shape
    sums = nn.functional.pad(where.float().cumsum(0).cumsum(1), (1, 0, 1, 0))
    x0, y0 = (boxes[:, i].floor().long().clamp(0, n) for i, n in ((0, width), (1, height)))
    x1, y1 = (boxes[:, i].ceil().long().clamp(0, n) for i, n in ((2, width), (3, height)))
    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return (inside / ((x1 - x0) * (y1 - y0)).clamp(min=1)).to(boxes.dtype)


def set_heads_only(network: LesionRCNN) -> None:
    """Train region proposals and regions of interest only; the ResNet and its pyramid stay.

    A segmentation network stays without its pyramid: that is made of fresh weights.
    """
    still = network.backbone.body if network.lite else network.backbone
    still.requires_grad_(False)


def set_to_train(network: LesionRCNN) -> None:
    """Training mode; what does not learn of the backbone keeps its batch statistics too."""
    network.train()
    for part in (network.backbone, network.backbone.body):
        if not any(parameter.requires_grad for parameter in part.parameters()):
            part.eval()


def _backbone(name: str, channels: int, segmentation: Mapping[str, Any]) -> nn.Module:
    if name == LITE:
        return LitePyramid(segmentation, channels)
    body: resnet.ResNet = getattr(resnet, name)(weights=None)
    width = body.inplanes // 8
    stages = {f"layer{number + 1}": level for number, level in enumerate(_LEVELS)}
    widths = [width * 2**n for n in range(4)]
    pyramid: nn.Module = BackboneWithFPN(body, stages, widths, channels)
    return pyramid
