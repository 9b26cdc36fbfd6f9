"""Settings of the default model's training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from napari_covseg.preprocess.recipe import AxialRecipe

DEVELOPMENT_VALIDATION = (
    *("r27", "r36", "c003", "c008"),
    *("s01", "s10_43", "s15", "s20", "s26", "s30", "s39", "s47", "s51", "s55"),
)
"""Patients of the development data (`cases.csv`) kept from training, so that they can measure it.

All cases of these patients are left out, in every set: r27 and r36 stand in two of them, s10_43
is two slices.
"""
FOLDS = 4


def development_fold(patients: Iterable[str], fold: int) -> tuple[str, ...]:
    """The patients kept from training in fold 0 to 3; each patient is kept in exactly one.

    Fold 0 is the development split, on which settings are chosen; the others share out the rest
    in the order of the names, which begin with the kind of data.
    """
    if fold == 0:
        return DEVELOPMENT_VALIDATION
    rest = sorted(set(patients) - set(DEVELOPMENT_VALIDATION))
    return tuple(rest[fold - 1 :: FOLDS - 1])


@dataclass(frozen=True)
class TrainConfig:
    """How the default network is trained.

    Parameters
    ----------
    recipe
        Preparation of the slices; stored with the weights.
    network
        Name in `models.networks.NETWORKS`.
    arguments
        Of the network's class, as ``(name, value)``.
    pretrained
        Whether the encoder starts from ImageNet's weights (``unet_lite`` only).
    encoder_rate
        Learning rate of a pretrained encoder, as a fraction of the rest's.
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
    network: str = "unet_lite"
    arguments: tuple[tuple[str, Any], ...] = ()
    pretrained: bool = True
    encoder_rate: float = 0.3
    patch: tuple[int, int] = (192, 224)
    batch: int = 8
    steps: int = 1600
    learning_rate: float = 1e-3
    warm_up: int = 200
    weight_decay: float = 0.05
    ema: float = 0.998
    set_weights: tuple[tuple[str, float], ...] = (("medseg", 0.45), ("ma", 0.27), ("sirm", 0.28))
    lesion_slices: float = 0.65
    seed: int = 0
