"""How unsure a network is: known distributions give known entropies, on the volume's grid."""

from math import log

import numpy as np
import pytest
import torch
from fakes import Thresholds, expected_classes, model, noise_volume
from torch import nn

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.inference.predictor import predict
from napari_covseg.inference.runner import Wanted
from napari_covseg.inference.sliding import Window, predict_volume
from napari_covseg.inference.uncertainty import entropy, entropy_of_volume, only_near_lungs
from napari_covseg.models.device import Device
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

CPU = Device("cpu", "CPU", "float32")


def _of(*shares):
    return int(entropy(torch.tensor(shares).view(1, 4, 1, 1)))


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((1.0, 0.0, 0.0, 0.0), 0.0),
        ((0.5, 0.5, 0.0, 0.0), 0.5),
        ((0.0, 0.5, 0.0, 0.5), 0.5),
        ((0.25, 0.25, 0.25, 0.25), 1.0),
        ((0.9, 0.1, 0.0, 0.0), -(0.9 * log(0.9) + 0.1 * log(0.1)) / log(4)),
        ((0.7, 0.1, 0.1, 0.1), -(0.7 * log(0.7) + 0.3 * log(0.1)) / log(4)),
    ],
)
def test_entropy_of_known_distributions(shares, expected):
    assert _of(*shares) == round(255 * expected)
    doubled = [2 * share for share in shares]
    assert _of(*doubled) == _of(*shares)  # sums over two views


def test_entropy_grows_with_doubt_and_does_not_mind_which_class():
    values = [_of(1 - p, p, 0.0, 0.0) for p in (0.0, 0.05, 0.2, 0.35, 0.5)]
    assert values == sorted(set(values))
    assert _of(0.6, 0.3, 0.1, 0.0) == _of(0.0, 0.1, 0.6, 0.3)


def test_views_that_contradict_each_other_are_unsure_and_views_that_agree_are_not():
    sure, other = torch.tensor([1.0, 0, 0, 0]), torch.tensor([0, 1.0, 0, 0])
    assert int(entropy((sure + sure).view(1, 4, 1, 1))) == 0
    assert int(entropy((sure + other).view(1, 4, 1, 1))) == 128


def test_a_volume_slice_by_slice_is_what_it_is_at_once():
    rng = np.random.default_rng(0)
    shares = rng.random((4, 3, 5, 6), np.float32)
    shares /= shares.sum(axis=0)
    exact = -(shares * np.log(shares)).sum(axis=0) / log(4)
    for dtype, near in ((np.float32, 0.5 / 255), (np.float16, 1.0 / 255)):
        found = entropy_of_volume(shares.astype(dtype))
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found / 255, exact, atol=near + 1e-6)


class Half(nn.Module):
    """Lung on the left half of the picture for certain, background on the right, in each view."""

    def forward(self, pixels):
        ramp = torch.linspace(1, -1, pixels.shape[-1]).sign().expand_as(pixels) * 50
        other = torch.full_like(pixels, -99.0)
        return torch.cat([-ramp, ramp, other, other], dim=1)


@pytest.mark.parametrize("kind", ["slices", "volumes"])
def test_it_is_the_entropy_over_the_mirrored_views_on_the_volumes_grid(kind):
    shape = (3, 64, 96)
    volume = noise_volume(shape)
    if kind == "slices":
        recipe = AxialRecipe()

        def run(flips, **more):
            return run_to_end(predict(volume, model(Half(), recipe), CPU, flips, **more))
    else:

        def run(flips, uncertainty=False):
            used, wanted = model(Half(), VolumeRecipe(())), Wanted(unsure=uncertainty)
            window = Window(shape)
            steps = predict_volume(volume, used, used.recipe, CPU, flips, window, wanted)
            return run_to_end(steps)

    assert run("none").unsure is None
    alone, both = run("none", uncertainty=True), run("left-right", uncertainty=True)
    assert alone.unsure.dtype == np.uint8
    assert alone.unsure.shape == both.unsure.shape == shape
    assert (alone.unsure == 0).all()  # each view is sure
    assert (both.unsure == 128).all()  # and both contradict each other everywhere
    assert np.array_equal(run("none").classes, alone.classes)


def test_sure_networks_are_sure_and_uncertainty_changes_no_class():
    volume = noise_volume((5, 64, 96))
    found = run_to_end(predict(volume, model(), CPU, "all", uncertainty=True))
    assert np.array_equal(found.classes, expected_classes(volume.hu))
    assert (found.unsure == 0).all()
    dull = run_to_end(predict(volume, model(Thresholds(sharpness=1.0)), CPU, uncertainty=True))
    p = np.exp([1.0, 0, 0, 0]) / np.exp([1.0, 0, 0, 0]).sum()
    assert (dull.unsure == round(255 * -(p * np.log(p)).sum() / log(4))).all()
    assert np.array_equal(dull.classes, expected_classes(volume.hu))


def test_a_coarser_network_still_answers_on_the_volumes_grid():
    volume = noise_volume((2, 64, 96))
    fine = CTVolume(
        volume.hu.repeat(2, axis=1).repeat(2, axis=2),
        Geometry.from_spacing((2, 128, 192), (3.0, 0.675, 0.675)),
        "fine",
    )
    found = run_to_end(predict(fine, model(), CPU, uncertainty=True))
    assert found.unsure.shape == (2, 128, 192)
    assert (found.unsure > 100).any()  # between two classes, where the grid is finer


def test_only_what_lies_near_the_lungs_is_kept():
    labels = np.zeros((2, 50, 50), np.uint8)
    labels[:, 20:30, 20:30] = 1
    labels[:, 24, 24] = 3
    volume = LabelMap(labels, Geometry.from_spacing(labels.shape, (5.0, 2.0, 2.0)))
    unsure = np.full(labels.shape, 100, np.uint8)
    only_near_lungs(unsure, volume)
    assert (unsure[:, 20:30, 20:30] == 100).all()
    assert (unsure[:, 25, 15] == 100).all()  # 10 mm away
    assert (unsure[:, 25, 12] == 0).all()
    assert (unsure[:, 25, 33] == 100).all()
    assert set(np.unique(unsure)) == {0, 100}


def test_without_lungs_all_is_kept():
    labels = LabelMap(
        np.zeros((2, 8, 8), np.uint8), Geometry.from_spacing((2, 8, 8), (5.0, 2.0, 2.0))
    )
    unsure = np.full((2, 8, 8), 100, np.uint8)
    only_near_lungs(unsure, labels)
    assert (unsure == 100).all()
