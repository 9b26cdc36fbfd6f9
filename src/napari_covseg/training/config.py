"""Settings of the default model's training."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_covseg.preprocess.recipe import AxialRecipe

DEVELOPMENT_VALIDATION = (
    *("r27", "r36", "c003", "c008"),
    *("s01", "s10_43", "s15", "s20", "s26", "s30", "s39", "s47", "s51", "s55"),
)
"""Patients of the development data (`cases.csv`) kept from training, so that they can measure it.

All cases of these patients are left out, in every set: r27 and r36 stand in two of them, s10_43
is two slices.
"""


@dataclass(frozen=True)
class TrainConfig:
    """How the default network is trained.

    Parameters
    ----------
    recipe
        Preparation of the slices; stored with the weights.
    channels
        Feature maps of `UNet2D`, finest level first.
    patch
        Height and width of a training patch, in pixels of the recipe.
    batch, steps
        Patches a step; steps in all.
    learning_rate, warm_up, weight_decay
        AdamW: rises over ``warm_up`` steps, then falls to zero along a cosine.
    ema
        Decay of the average of the weights, which is what is kept.
    set_weights
        How often each data set is drawn from.
    lesion_slices
        Fraction of draws that take a slice with a lesion, where the set has others too.
    seed
        Of every random choice.
    """

    recipe: AxialRecipe = field(default_factory=AxialRecipe)
    channels: tuple[int, ...] = (16, 32, 64, 128, 256, 256)
    patch: tuple[int, int] = (192, 224)
    batch: int = 8
    steps: int = 8000
    learning_rate: float = 1e-3
    warm_up: int = 300
    weight_decay: float = 0.02
    ema: float = 0.999
    set_weights: tuple[tuple[str, float], ...] = (("medseg", 0.4), ("ma", 0.25), ("sirm", 0.35))
    lesion_slices: float = 0.65
    seed: int = 0
