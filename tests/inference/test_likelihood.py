"""How likely a lesion is, and consolidation: known probabilities come out, and fit the labels."""

import numpy as np
import pytest
import torch
from fakes import model, noise_volume
from torch import nn

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.inference.predictor import predict
from napari_covseg.inference.uncertainty import agree, likelihood
from napari_covseg.models.device import Device
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

CPU = Device("cpu", "CPU", "float32")
SHARES = (0.1, 0.15, 0.45, 0.3)


def of(*shares):
    return likelihood(torch.tensor(shares).view(1, 4, 1, 1)).flatten().tolist()


def test_a_lesion_and_its_share_of_consolidation():
    assert of(*SHARES) == [round(255 * 0.75), round(255 * 0.4)]
    assert of(*(2 * share for share in SHARES)) == of(*SHARES)  # sums over two views
    assert of(0.5, 0.5, 0.0, 0.0) == [0, 0]
    assert of(0.0, 0.0, 0.0, 1.0) == [255, 255]


class Everywhere(nn.Module):
    """The same probabilities in every voxel."""

    def forward(self, pixels):
        logits = torch.tensor(SHARES).log().view(1, 4, *[1] * (pixels.ndim - 2))
        return logits.expand(pixels.shape[0], 4, *pixels.shape[2:])


@pytest.mark.parametrize("recipe", [AxialRecipe(), VolumeRecipe(())])
def test_networks_on_slices_and_on_volumes_tell_it_on_the_grid_of_the_volume(recipe):
    volume = noise_volume((3, 64, 96))
    used = model(Everywhere(), recipe)
    used = used if isinstance(recipe, AxialRecipe) else _in_patches(used)
    found = run_to_end(predict(volume, used, CPU, "left-right", likelihood=True))
    assert found.likely.shape == (2, 3, 64, 96)
    assert found.likely.dtype == np.uint8
    assert (found.likely[0] == round(255 * 0.75)).all()
    assert (found.likely[1] == round(255 * 0.4)).all()
    assert found.unsure is None
    without = run_to_end(predict(volume, used, CPU, "left-right"))
    assert without.likely is None
    assert np.array_equal(without.classes, found.classes)


def _in_patches(used):
    used.card.update(patch=[3, 64, 96], overlap=0.0)
    return used


def test_maps_agree_with_the_labels_of_the_same_model():
    labels = np.array([[[0, 1, 2, 3, 3, 4, 4, 5, 7]]], np.uint8)
    volume = LabelMap(labels, Geometry.from_spacing(labels.shape, (5.0, 2.0, 2.0)))
    likely = np.full((2, *labels.shape), 90, np.uint8)
    likely[:, 0, 0, [2, 4, 6]] = 200
    agree(likely, volume)
    # Background, lung, a speck that was dropped, GGO twice, consolidation twice, infection, ignored
    assert likely[0].ravel().tolist() == [0, 90, 127, 128, 200, 128, 200, 128, 0]
    assert likely[1].ravel().tolist() == [0, 90, 200, 90, 127, 128, 200, 90, 0]
