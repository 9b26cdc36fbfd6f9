from dataclasses import replace

import pytest
from torch import nn

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.checkpoint import Model
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe
from napari_covseg.training.schedules import PRESETS
from napari_covseg.workflows.fine_tuning import fine_tuning


def model(recipe, network: str, **card) -> Model:
    about = {"architecture": network, "arguments": {}, **card}
    return Model("m", "1", "a" * 64, nn.Identity(), recipe, about)


def test_slices() -> None:
    recipe = AxialRecipe(pixel_mm=2.0)
    made = fine_tuning(model(recipe, "unet_lite"), "cpu", trainings=5)
    assert made.make_recipe() == recipe
    assert (made.network, made.pretrained, made.minutes) == ("unet_lite", True, 2.0)
    assert made.learning_rate < PRESETS["fast"].learning_rate
    assert made.steps < fine_tuning(model(recipe, "unet_lite"), "cuda", 1).steps
    assert not fine_tuning(model(recipe, "unet2d"), "cuda", 1).pretrained


def test_volumes() -> None:
    for clahe in (False, True):
        preset = replace(
            PRESETS["mueller2021"],
            recipe="clahe" if clahe else "mueller2021",
            spacing_mm=(5.0, 2.0, 2.0),
        )
        made = fine_tuning(model(preset.make_recipe(), "unet3d", patch=[16, 32, 32]), "cuda", 1)
        assert made.make_recipe() == preset.make_recipe()
        assert (made.patch, made.recipe) == ((16, 32, 32), preset.recipe)


def test_a_preparation_that_cannot_be_trained() -> None:
    for recipe in (AxialRecipe(window_hu=(-1000.0, 0.0)), VolumeRecipe(())):
        with pytest.raises(ModelError, match="its preparation is none"):
            fine_tuning(model(recipe, "unet2d"), "cpu", 1)
