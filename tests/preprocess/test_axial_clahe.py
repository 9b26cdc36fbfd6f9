"""CLAHE of slices: the same grey in training and in use, and cards without it stay as they were."""

import numpy as np
import pytest
import torch

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.axial import to_network
from napari_covseg.inference.frame import plan_frame
from napari_covseg.models.checkpoint import read_checkpoint, write_checkpoint
from napari_covseg.models.networks import build
from napari_covseg.preprocess.clahe import equalise
from napari_covseg.preprocess.recipe import AxialRecipe

CLAHE = AxialRecipe(pixel_mm=1.5, clahe=True)


def _hu() -> np.ndarray:
    rng = np.random.default_rng(0)
    hu = np.full((2, 96, 128), -1000.0)
    hu[:, 20:80, 10:110] = 40 + 20 * rng.standard_normal((2, 60, 100))
    hu[:, 30:70, 20:60] = -850 + 60 * rng.standard_normal((2, 40, 40))
    return hu.astype(np.float32)


def test_each_slice_is_equalised_after_the_window() -> None:
    hu = _hu()
    plain, equal = AxialRecipe().to_grey(hu), CLAHE.to_grey(hu)
    for before, after in zip(plain, equal, strict=True):
        expected = np.rint(equalise(before.astype(np.float32), 8, 0.01, 256))
        np.testing.assert_array_equal(after, expected)
    lung = (slice(None), slice(35, 65), slice(25, 55))
    assert equal[lung].std() > 1.2 * plain[lung].std()


def test_use_sees_what_training_saw() -> None:
    volume = CTVolume(
        _hu().astype(np.int16), Geometry.from_spacing((2, 96, 128), (5, 1.5, 1.5)), ""
    )
    frame = plan_frame(volume, CLAHE)
    assert (frame.rows, frame.columns) == ((0, 96), (0, 128))
    assert plan_frame(volume, AxialRecipe()).columns != (0, 128)
    seen = to_network(torch.from_numpy(volume.hu), frame, CLAHE)[:, 0, :96, :128]
    trained = CLAHE.to_grey(volume.hu.astype(np.float32)) / 127.5 - 1
    np.testing.assert_allclose(seen.numpy(), trained, atol=1e-6)


def test_a_model_keeps_its_preparation_and_older_cards_read_as_before(tmp_path) -> None:
    for recipe in (CLAHE, AxialRecipe(pixel_mm=1.5)):
        assert AxialRecipe.from_dict(recipe.to_dict()) == recipe
        network = build("unet2d", channels=[2, 3])
        arguments = {"channels": [2, 3]}
        card = write_checkpoint(
            tmp_path, "m", network, "unet2d", arguments, recipe, {"version": "1"}
        )
        assert read_checkpoint(card).recipe == recipe
    assert "clahe" not in AxialRecipe().to_dict()
    assert AxialRecipe(pixel_mm=1.5) != CLAHE


@pytest.mark.parametrize("shape", [(1, 3, 5), (1, 8, 300)])
def test_small_slices_have_fewer_tiles(shape: tuple[int, int, int]) -> None:
    grey = CLAHE.to_grey(np.linspace(-1350, 150, np.prod(shape)).reshape(shape))
    assert grey.shape == shape
    assert int(grey.max()) > int(grey.min())
