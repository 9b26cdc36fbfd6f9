"""How a network is trained, as presets. Light to import: the command line's parser reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.errors import UsageError
from napari_covseg.training.settings import help_of, read_settings, readers_of, setting

if TYPE_CHECKING:
    from napari_covseg.preprocess.recipe import AxialRecipe
    from napari_covseg.preprocess.volume_recipe import VolumeRecipe

CHOICES: Mapping[str, tuple[str, ...]] = {
    "recipe": ("axial", "axial_clahe", "mueller2021", "clahe"),
    "optimiser": ("adam", "adamw", "sgd"),
    "rate_rule": ("cosine", "plateau", "step", "constant"),
    "precision": ("auto", "float32", "bfloat16", "float16"),
}
"""The values that a field of `Preset` may have, where these are few."""

_POSITIVE = ("epochs", "batches", "batch", "learning_rate", "validate_every")
_NOT_NEGATIVE = (
    *("warm_up", "weight_decay", "least_rate", "patience", "stop_after", "least_gain"),
    *("clip", "minutes", "workers", "seed"),
)
_SHARES = ("ema", "factor", "encoder_rate", "lesion_share", "augmentation", "cutout")

CHANGEABLE = ("name", "minutes", "validate_every")
"""Fields that may differ when a training is resumed: they do not change what a step does."""


@dataclass(frozen=True)
class Preset:
    """Every setting of a training; ``--set FIELD=VALUE`` changes any of them.

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    name: str = setting("custom", "what the settings are called")
    network: str = setting("unet_lite", "network, by its name (list below)")
    network_arguments: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": 'its arguments, JSON, such as {"channels":[8,16]}'}
    )
    pretrained: bool | str = setting(
        True, "start the encoder from ImageNet's weights: true (unet_lite's), false, or their file"
    )
    encoder_rate: float = setting(
        0.3, "a pretrained encoder's learning rate, as a share of the rest's"
    )
    recipe: str = setting(
        "axial", "preparation: axial or axial_clahe (slices), mueller2021 or clahe (volumes)"
    )
    spacing_mm: tuple[float, ...] = setting(
        (), "voxel size: pixel for slices, z,y,x for volumes; empty: the recipe's own"
    )
    patch: tuple[int, ...] = setting((192, 224), "size of a training patch: y,x or z,y,x")
    batch: int = setting(8, "patches in a batch")
    batches: int = setting(100, "batches in an epoch")
    epochs: int = setting(16, "epochs at most")
    minutes: float = setting(0.0, "time budget, 0 for none; a cosine ends with it")
    loss: str = setting("dice_ce", "dice_ce, tversky_ce, iou_bce or boundary")
    loss_settings: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": 'its settings, JSON, such as {"alpha":0.3}'}
    )
    optimiser: str = setting("adamw", "adam, adamw or sgd (momentum 0.9)")
    learning_rate: float = setting(1e-3, "learning rate at its highest")
    weight_decay: float = setting(0.05, "weight decay")
    rate_rule: str = setting(
        "cosine", "cosine (to zero), plateau (of the training loss), step or constant"
    )
    warm_up: int = setting(200, "steps over which the rate rises (cosine)")
    patience: int = setting(
        15, "epochs until the rate falls: without a lower training loss (plateau), or all (step)"
    )
    factor: float = setting(0.1, "what the rate is then multiplied by")
    least_rate: float = setting(1e-5, "the lowest rate (plateau)")
    least_gain: float = setting(1e-4, "a loss is lower if it is by this much (plateau)")
    stop_after: int = setting(
        0, "stop after so many epochs without a lower training loss; 0: never"
    )
    clip: float = setting(5.0, "gradients longer than this are shortened; 0: never")
    ema: float = setting(0.998, "decay of the average of the weights, which is kept; 0: none")
    precision: str = setting("auto", "auto (the device's fast one), float32, bfloat16 or float16")
    channels_last: bool = setting(True, "memory order that convolutions like")
    compile: bool = setting(True, "compile the network (CUDA only)")
    augmentation: float = setting(0.15, "probability of each random change (volumes)")
    cutout: float = setting(0.0, "share of a slice's area that is emptied, in every second patch")
    lesion_share: float = setting(0.65, "share of patches that are taken where a lesion is")
    dataset_weights: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"help": "how often each dataset is drawn: NAME:WEIGHT,...; empty: by patients"},
    )
    validate_every: int = setting(1, "epochs between measurements on the validation cases")
    workers: int = setting(2, "threads that prepare batches beside a graphics card; 0: none")
    seed: int = setting(0, "of every random choice but the folds")

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(f"{name}={getattr(self, name)}: use one of {', '.join(known)}")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}={getattr(self, name)}: expected more than 0")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name}={getattr(self, name)}: expected 0 or more")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}={getattr(self, name)}: expected 0 to 1")
        if self.cutout and self.dimensions == 3:
            raise UsageError(f"cutout={self.cutout}: it is for slices, not for volumes; leave it 0")
        if len(self.patch) != self.dimensions or min(self.patch) < 1:
            raise UsageError(
                f"patch={_shown(self.patch)}: recipe {self.recipe} needs {self.dimensions} sizes"
            )
        if len(self.spacing_mm) not in (0, 1 if self.dimensions == 2 else 3):
            raise UsageError(
                f"spacing_mm={_shown(self.spacing_mm)}: recipe {self.recipe} needs "
                f"{'one size' if self.dimensions == 2 else 'three sizes (z,y,x)'}, or none"
            )

    @property
    def dimensions(self) -> int:
        """2 for networks on axial slices, 3 for networks on volumes."""
        return 2 if self.recipe.startswith("axial") else 3

    @property
    def steps(self) -> int:
        """Batches in all."""
        return self.epochs * self.batches

    def with_settings(self, settings: Iterable[str]) -> Preset:
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

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Preset:
        """What `to_dict` wrote; lists become tuples."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content.items()
        }
        return cls(**values)

    def make_recipe(self) -> AxialRecipe | VolumeRecipe:
        """The preparation that the settings name."""
        if self.dimensions == 2:
            from napari_covseg.preprocess.recipe import AxialRecipe

            recipe = AxialRecipe(clahe=self.recipe == "axial_clahe")
            return replace(recipe, pixel_mm=self.spacing_mm[0]) if self.spacing_mm else recipe
        from napari_covseg.preprocess.steps import Resample
        from napari_covseg.preprocess.volume_recipe import VolumeRecipe

        steps = VolumeRecipe.mueller2021(clahe=self.recipe == "clahe").steps
        if self.spacing_mm:
            z, y, x = self.spacing_mm
            own = Resample(spacing_mm=(z, y, x))
            steps = tuple(own if isinstance(step, Resample) else step for step in steps)
        return VolumeRecipe(steps)


def _shown(values: Iterable[Any]) -> str:
    return ",".join(str(value) for value in values)


_READERS = readers_of(Preset)


_MUELLER = Preset(
    name="mueller2021",
    network="unet3d",
    pretrained=False,
    recipe="mueller2021",
    patch=(80, 160, 160),
    batch=2,
    batches=150,
    epochs=1000,
    loss="tversky_ce",
    optimiser="adam",
    weight_decay=0.0,
    rate_rule="plateau",
    stop_after=100,
    clip=0.0,
    ema=0.0,
    compile=False,
    lesion_share=0.0,
)
_ZHANG = replace(
    _MUELLER,
    name="zhang2021",
    network="qchc_unet3d",
    epochs=300,
    learning_rate=1e-4,
    least_rate=1e-6,
    stop_after=0,
)
_SINGH = Preset(
    name="singh2022",
    network="attention_unet2d",
    network_arguments={"blocks": 6},
    pretrained=False,
    recipe="axial_clahe",
    patch=(224, 224),
    batch=64,
    batches=13,
    epochs=500,
    loss="boundary",
    optimiser="adam",
    learning_rate=1e-5,
    weight_decay=0.0,
    warm_up=0,
    clip=0.0,
    ema=0.0,
    lesion_share=1.0,
)
_FUNG = Preset(
    name="fung2021",
    network="infnet2d",
    pretrained=False,
    spacing_mm=(0.85,),
    patch=(352, 352),
    batch=24,
    batches=40,
    epochs=100,
    loss="iou_bce",
    optimiser="adam",
    learning_rate=1e-4,
    weight_decay=0.0,
    rate_rule="step",
    patience=50,
    clip=0.5,
    ema=0.0,
    cutout=0.2,
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {one.name: one for one in (Preset(name="fast"), _MUELLER, _ZHANG, _SINGH, _FUNG)}
)
"""Settings by name: today's best, and those of the papers (``docs/how-to/train.md``)."""


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises
    ------
    UsageError
        If there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name!r} is not known; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def settings_help() -> str:
    """A line for each field: its name, what it means, its value, or that in each preset."""
    return help_of(PRESETS)
