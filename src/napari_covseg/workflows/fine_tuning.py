"""The settings that train a model further, by the device: minutes on a CPU, less on a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.checkpoint import Model
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.schedules import PRESETS, Preset


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a kind of device trains; ``minutes`` at most, all trainings together."""

    epochs: int
    batches: int
    minutes: float
    workers: int


EFFORTS: Mapping[str, Effort] = MappingProxyType(
    {
        "cpu": Effort(epochs=8, batches=25, minutes=10.0, workers=0),
        "mps": Effort(epochs=8, batches=50, minutes=6.0, workers=2),
        "cuda": Effort(epochs=10, batches=100, minutes=1.5, workers=8),
    }
)
"""By kind of device."""
_RATE, _WARM_UP, _EMA = 3e-4, 20, 0.99


def fine_tuning(model: Model, device: str, trainings: int) -> Preset:
    """Settings that train ``model`` further on a kind of device, one of so many trainings.

    A third of the rate that trains from scratch, and nothing compiled, which would take longer
    than it saves.

    Raises
    ------
    ModelError
        If the model's preparation is none that can be trained.
    """
    effort = EFFORTS[device]
    preset = replace(
        PRESETS["fast"],
        name="retrain",
        network=model.card["architecture"],
        network_arguments=dict(model.card["arguments"]),
        pretrained=model.card["architecture"] == "unet_lite",
        epochs=effort.epochs,
        batches=effort.batches,
        minutes=effort.minutes / trainings,
        workers=effort.workers,
        learning_rate=_RATE,
        warm_up=_WARM_UP,
        ema=_EMA,
        validate_every=max(1, effort.epochs // 4),
        compile=False,
    )
    for found in _prepared_alike(preset, model):
        if found.make_recipe() == model.recipe:
            return found
    raise ModelError(
        f"{model.name}: its preparation is none that can be trained further; train a model of "
        "the same network and add it to the store"
    )


def _prepared_alike(preset: Preset, model: Model) -> list[Preset]:
    """The settings with each preparation that may be the model's."""
    if isinstance(model.recipe, AxialRecipe):
        recipe = "axial_clahe" if model.recipe.clahe else "axial"
        return [replace(preset, recipe=recipe, spacing_mm=(model.recipe.pixel_mm,))]
    z, y, x = model.card.get("patch", PRESETS["mueller2021"].patch)
    spacings = [one.spacing_mm for one in model.recipe.steps if hasattr(one, "spacing_mm")]
    return [
        replace(preset, recipe=recipe, patch=(z, y, x), batch=2, spacing_mm=tuple(spacing))
        for recipe in ("mueller2021", "clahe")
        for spacing in spacings
    ]
