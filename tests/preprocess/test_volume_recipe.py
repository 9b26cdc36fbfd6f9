import json

import numpy as np
import pytest

from napari_covseg.preprocess.steps import Clahe, ClipHU, GreyLevels, Resample, ZScore
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

SPACING = (1.35, 0.79, 0.79)
"""Half of the recipe's."""


def test_mueller2021_is_the_papers() -> None:
    recipe = VolumeRecipe.mueller2021()
    assert recipe.steps == (
        ClipHU(-1250, 250),
        GreyLevels(-1250, 250),
        Resample((2.70, 1.58, 1.58)),
        ZScore(),
    )
    assert VolumeRecipe.mueller2021(clahe=True).steps[2] == Clahe()
    hu = np.random.default_rng(0).normal(-700, 300, (20, 30, 40)).astype(np.int16)
    before = hu.copy()
    prepared = recipe.prepare(hu, SPACING)
    assert prepared.array.shape == (10, 15, 20)
    assert np.allclose(prepared.spacing_mm, (2.70, 1.58, 1.58))
    assert prepared.original_shape == (20, 30, 40)
    assert prepared.array.dtype == np.float32
    assert abs(prepared.array.mean()) < 1e-5
    assert abs(prepared.array.std() - 1) < 1e-5
    assert np.array_equal(hu, before)


def test_it_is_written_and_read() -> None:
    recipe = VolumeRecipe.mueller2021(clahe=True)
    text = json.dumps(recipe.to_dict())
    assert VolumeRecipe.from_dict(json.loads(text)) == recipe
    other = VolumeRecipe((ClipHU(), Resample((2.7, 1.58, 1.6)), ZScore()))
    assert VolumeRecipe.from_dict(json.loads(json.dumps(other.to_dict()))) == other != recipe


@pytest.mark.parametrize(
    "fields",
    [
        {"pixel_mm": 1.35, "window_hu": [-1350, 150], "multiple": 32},
        {"kind": "volume"},
        {"kind": "volume", "steps": [{"step": "clahe"}]},
        {"kind": "volume", "steps": [{"step": "resample"}, {"step": "resample"}]},
    ],
)
def test_recipes_of_another_kind_or_order_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError):
        VolumeRecipe.from_dict(fields)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((7, 31, 45), (6.0, 0.7, 0.7)), ((90, 64, 64), (1.0, 4.0, 4.0)), ((1, 50, 60), (5, 1, 1))],
)
def test_restore_gives_the_original_shape_and_keeps_a_constant(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    recipe = VolumeRecipe.mueller2021()
    prepared = recipe.prepare(np.zeros(shape, np.int16), spacing)
    assert prepared.array.shape != shape
    probabilities = np.full((4, *prepared.array.shape), 0.25, np.float32)
    restored = recipe.restore(probabilities, prepared)
    assert restored.shape == (4, *shape)
    assert np.allclose(restored, 0.25)


def test_one_slice_is_not_resampled_along_z() -> None:
    prepared = VolumeRecipe.mueller2021().prepare(np.zeros((1, 158, 79)), (8.0, 1.0, 1.0))
    assert prepared.array.shape == (1, 100, 50)
    assert prepared.spacing_mm[0] == 8.0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ramp_comes_back_to_its_place(axis: int) -> None:
    recipe = VolumeRecipe((Resample(),))
    shape, spacing = (30, 40, 40), (1.0, 1.0, 1.0)
    ramp = np.broadcast_to(np.arange(shape[axis]), (*shape[:axis], *shape[axis + 1 :], shape[axis]))
    ramp = np.moveaxis(ramp, -1, axis).astype(np.float32)
    prepared = recipe.prepare(ramp, spacing)
    restored = recipe.restore(prepared.array, prepared)
    inside = tuple(slice(5, -5) for _ in range(3))
    assert np.abs(restored - ramp)[inside].max() < 0.04
    assert np.abs(restored - ramp).max() < 1.2
    backwards = recipe.restore(np.flip(prepared.array, axis), prepared)
    assert np.abs(np.flip(backwards, axis) - ramp)[inside].max() < 0.04
    assert np.abs(backwards - ramp)[inside].max() > 5


def test_blocks_keep_their_class_and_come_back_as_probabilities() -> None:
    recipe = VolumeRecipe.mueller2021()
    blocks = np.random.default_rng(0).integers(0, 4, (10, 15, 20)).astype(np.uint8)
    labels = blocks.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    prepared = recipe.prepare(np.zeros(labels.shape), SPACING)
    small = recipe.prepare_labels(labels, SPACING)
    assert np.array_equal(small, blocks)
    one_hot = np.stack([small == c for c in range(4)]).astype(np.float32)
    restored = recipe.restore(one_hot, prepared)
    assert np.allclose(restored.sum(0), 1)
    assert restored[0, 0, 0, 0] == one_hot[0, 0, 0, 0]
    assert np.array_equal(restored[:, -1, -1, -1], one_hot[:, -1, -1, -1])


def test_results_of_another_grid_are_refused() -> None:
    recipe = VolumeRecipe.mueller2021()
    prepared = recipe.prepare(np.zeros((4, 20, 20)), SPACING)
    with pytest.raises(ValueError, match="grid"):
        recipe.restore(np.zeros((4, 20, 20)), prepared)
