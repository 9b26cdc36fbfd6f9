"""The settings of a detector's training, and the presets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from napari_covseg.domain.errors import UsageError

RATE_RULES = ("constant", "cosine")
OPTIMISERS = ("adam", "adamw")
CHANGEABLE = ("minutes",)
"""Settings that may differ when a training is resumed."""


def setting(value: Any, text: str) -> Any:
    """A field with its value and what it means."""
    return field(default=value, metadata={"help": text})


@dataclass(frozen=True)
class DetectPreset:
    """Every setting of a detector's training.

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    name: str
    backbone: str = setting("resnet18", "resnet18, resnet34 or resnet50")
    channels: int = setting(256, "of the feature pyramid; fewer are faster")
    representation: int = setting(128, "features of a region")
    mask_channels: int = setting(128, "of the mask branch")
    roi_positive_iou: float = setting(0.5, "overlap from which a region teaches a lesion")
    rpn_positive_share: float = setting(0.5, "most of the anchors that may be lesions")
    roi_positive_share: float = setting(0.25, "most of the regions that may be lesions")
    pretrained: bool = setting(False, "needs --weights FILE: a ResNet's or a detector's weights")
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
        **dict.fromkeys(("channels", "representation", "mask_channels", "batch", "batches"), 1),
        **dict.fromkeys(("epochs", "validate_every", "least_pixels"), 1),
        **dict.fromkeys(("weight_decay", "clip", "minutes", "seed"), 0),
    }
)


def read_settings(
    settings: Iterable[str], readers: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """Values of ``FIELD=VALUE``, each read by its field's reader.

    Raises
    ------
    UsageError
        If there is no such field or its value cannot be read.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in readers:
            known = ", ".join(readers)
            raise UsageError(f"{setting!r}: expected FIELD=VALUE, with FIELD one of {known}")
        try:
            changes[name] = readers[name](text.strip())
        except ValueError:
            raise UsageError(f"{setting}: {text!r} is not a value for {name}") from None
    return changes


def readers_of(preset: type) -> dict[str, Callable[[str], Any]]:
    """How the text of each field of a preset is read; its name is no setting."""
    return {one.name: _BY_TYPE[str(one.type)] for one in fields(preset) if one.name != "name"}


def help_of(presets: Mapping[str, Any]) -> str:
    """A line for each field: its name, what it means, its value, or that in each preset."""
    lines = []
    for one in fields(next(iter(presets.values()))):
        if one.name == "name":
            continue
        values = {key: _shown(getattr(preset, one.name)) for key, preset in presets.items()}
        shown = ", ".join(f"{key} {value}" for key, value in values.items())
        if len(set(values.values())) == 1:
            shown = next(iter(values.values()))
        lines.append(f"  {one.name}: {one.metadata['help']} ({shown})")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "yes", "1")


_BY_TYPE: Mapping[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _truth,
    "tuple[int, int]": lambda text: tuple(int(part) for part in text.split(",")),
}
_READERS = readers_of(DetectPreset)

PRESETS: Mapping[str, DetectPreset] = MappingProxyType(
    {
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
"""From fresh weights, and as published from weights in a local file."""


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
