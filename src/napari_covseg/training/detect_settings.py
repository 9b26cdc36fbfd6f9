"""The settings of a detector's training, and the presets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from napari_covseg.domain.errors import UsageError
from napari_covseg.training.settings import read_settings, readers_of, setting

RATE_RULES = ("constant", "cosine")
OPTIMISERS = ("adam", "adamw")
CHANGEABLE = ("minutes",)
"""Settings that may differ when a training is resumed."""


@dataclass(frozen=True)
class DetectPreset:
    """Every setting of a detector's training.

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    name: str
    backbone: str = setting("resnet18", "resnet18, resnet34, resnet50 or lite0")
    channels: int = setting(256, "of the feature pyramid; fewer are faster")
    representation: int = setting(128, "features of a region")
    mask_channels: int = setting(128, "of the mask branch")
    roi_positive_iou: float = setting(0.5, "overlap from which a region teaches a lesion")
    rpn_positive_share: float = setting(0.5, "most of the anchors that may be lesions")
    roi_positive_share: float = setting(0.25, "most of the regions that may be lesions")
    regions: int = setting(256, "of interest that each picture teaches with")
    pretrained: bool = setting(
        False,
        "start from weights: lite0 from --from MODEL (the shipped one), a ResNet from --weights",
    )
    heads_only: bool = setting(False, "train region proposals and regions only, not the backbone")
    pixel_mm: float = setting(1.35, "size of a pixel the network sees")
    patch: tuple[int, int] = setting((256, 256), "height and width of training pictures")
    batch: int = setting(4, "pictures a step")
    batches: int = setting(100, "steps an epoch")
    epochs: int = setting(60, "epochs at most")
    optimiser: str = setting("adamw", "adam or adamw")
    learning_rate: float = setting(3e-4, "the highest")
    weight_decay: float = setting(1e-3, "of the optimiser")
    rate_rule: str = setting("cosine", "constant, or cosine: up over 5 % and down to 0")
    clip: float = setting(5.0, "longest gradient; 0: any")
    lesion_share: float = setting(0.8, "share of pictures with a lesion")
    dataset_weights: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"help": "how often each dataset is drawn: NAME:WEIGHT,...; empty: by patients"},
    )
    least_pixels: int = setting(8, "lesions of fewer pixels are neither taught nor measured")
    validate_every: int = setting(5, "epochs between measurements; the last is always measured")
    minutes: float = setting(0.0, "train for so long at most; 0: to the last epoch")
    seed: int = setting(0, "of every random choice but the folds")

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not value >= least:
                raise UsageError(f"{name}={value}: expected {least} or more")
        for name in ("learning_rate", "pixel_mm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name}={getattr(self, name)}: expected a number above 0")
        for name in ("lesion_share", "rpn_positive_share", "roi_positive_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}={getattr(self, name)}: expected 0 to 1")
        if not 0.5 <= self.roi_positive_iou < 1:
            raise UsageError(f"roi_positive_iou={self.roi_positive_iou}: expected 0.5 to below 1")
        if len(self.patch) != 2 or min(self.patch) < 64:
            raise UsageError(f"patch={self.patch}: expected height and width of 64 or more")
        for name, known in (("rate_rule", RATE_RULES), ("optimiser", OPTIMISERS)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name}={getattr(self, name)}: expected {' or '.join(known)}")
        if self.heads_only and not self.pretrained:
            raise UsageError(
                "heads_only=true without pretrained weights: a backbone that learned nothing would "
                "stay so; set pretrained=true and give --weights"
            )

    @property
    def from_segmentation(self) -> bool:
        """Whether a segmentation model's weights are what it starts from."""
        return self.pretrained and self.backbone == "lite0"

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.epochs * self.batches

    @property
    def arguments(self) -> dict[str, Any]:
        """Of `LesionRCNN`."""
        return {
            "backbone": self.backbone,
            "channels": self.channels,
            "representation": self.representation,
            "mask_channels": self.mask_channels,
            "roi_positive_iou": self.roi_positive_iou,
            "positive_share": [self.rpn_positive_share, self.roi_positive_share],
            "regions": self.regions,
        }

    def with_settings(self, settings: Iterable[str]) -> DetectPreset:
        """A copy with each ``FIELD=VALUE`` of ``settings`` in place.

        Raises
        ------
        UsageError
            If there is no such field, or its value cannot be read or used.
        """
        return replace(self, **read_settings(settings, _READERS))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON gives them back."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content


_LEAST: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("channels", "representation", "mask_channels", "regions"), 1),
        **dict.fromkeys(("batch", "batches", "epochs", "validate_every", "least_pixels"), 1),
        **dict.fromkeys(("weight_decay", "clip", "minutes", "seed"), 0),
    }
)


_READERS = readers_of(DetectPreset, without=("name",))

PRESETS: Mapping[str, DetectPreset] = MappingProxyType(
    {
        "lite0": DetectPreset(
            name="lite0",
            backbone="lite0",
            channels=32,
            representation=96,
            mask_channels=32,
            regions=64,
            pretrained=True,
            heads_only=True,
            patch=(192, 192),
            batches=50,
            epochs=60,
            learning_rate=1e-3,
        ),
        "scratch": DetectPreset(name="scratch"),
        "ter-sarkisov2022": DetectPreset(
            name="ter-sarkisov2022",
            backbone="resnet50",
            mask_channels=256,
            roi_positive_iou=0.75,
            rpn_positive_share=0.75,
            roi_positive_share=0.75,
            pretrained=True,
            pixel_mm=0.7,
            patch=(512, 512),
            batch=1,
            batches=650,
            epochs=100,
            optimiser="adam",
            learning_rate=1e-5,
            weight_decay=1e-3,
            rate_rule="constant",
            clip=0.0,
            lesion_share=1.0,
        ),
    }
)
"""On a segmentation network, from fresh weights, and as published from weights in a file."""


def find_preset(name: str) -> DetectPreset:
    """The preset of that name.

    Raises
    ------
    UsageError
        If there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name!r} is not known; known: {', '.join(PRESETS)}")
    return PRESETS[name]
