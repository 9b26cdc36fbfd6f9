"""A graphics card that fails in the middle: the CPU takes over, or a training says what to do."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference import runner as runner_module
from napari_covseg.inference.predictor import predict
from napari_covseg.models.checkpoint import Model
from napari_covseg.models.device import Device, stopped_working
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe
from napari_covseg.training.learner import card_gone, out_of_memory
from napari_covseg.training.schedules import PRESETS

CARD_FAILS = "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronous"
GONE = "a card stopped working: the rest was done on the CPU."


class _Card(Device):
    """Says that it is CUDA, and computes on the CPU."""

    @property
    def kind(self):
        return "cuda"


class _Fails(nn.Module):
    """Lungs where it is dark, the rest background; the call of this number fails."""

    calls = 0

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, pixels):
        _Fails.calls += 1
        if _Fails.calls == self.call:
            raise RuntimeError(CARD_FAILS)
        dark = (pixels < 0).float()
        rest = torch.zeros_like(dark)
        return torch.cat([1 - dark, dark, rest - 9, rest - 9], 1) * 9


def _volume():
    hu = np.full((9, 64, 64), 40, np.int16)
    hu[:, 20:40, 10:30] = -900
    return CTVolume(hu, Geometry.from_spacing(hu.shape, (5.0, 1.35, 1.35)), "case")


def _model(network, recipe):
    card = {"patch": [8, 32, 32]} if isinstance(recipe, VolumeRecipe) else {}
    return Model("m", "1", "0" * 64, network, recipe, card)


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("recipe", [AxialRecipe(), VolumeRecipe(())], ids=["slices", "volumes"])
def test_the_rest_is_done_on_the_cpu(monkeypatch, recipe, call):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda name: (2**40, 2**40))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: pytest.fail("the card is gone"))
    monkeypatch.setattr(
        "napari_covseg.inference.axial.PIXELS_PER_STEP", dict.fromkeys(("cuda", "cpu"), 3 * 64**2)
    )
    monkeypatch.setattr(
        "napari_covseg.inference.sliding.VOXELS_PER_STEP", dict.fromkeys(("cuda", "cpu"), 3 * 2**13)
    )
    _Fails.calls = 0
    whole = run_to_end(predict(_volume(), _model(_Fails(0), recipe), Device("cpu", "CPU")))
    assert whole.warnings == ()
    assert np.count_nonzero(whole.classes)
    _Fails.calls = 0
    found = run_to_end(predict(_volume(), _model(_Fails(call), recipe), _Card("cpu", "a card")))
    assert found.warnings == (GONE,)
    assert found.device.kind == "cpu"
    assert np.array_equal(found.classes, whole.classes)


def test_what_was_summed_on_the_card_is_summed_again(monkeypatch):
    from napari_covseg.inference import sliding

    mean, failed = sliding._Sums.mean, []

    def fails_once(self):
        if not failed:
            failed.append(1)
            raise RuntimeError(CARD_FAILS)
        return mean(self)

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda name: (0, 0))
    monkeypatch.setattr(sliding._Sums, "mean", fails_once)
    recipe = VolumeRecipe(())
    found = run_to_end(predict(_volume(), _model(_Fails(0), recipe), _Card("cpu", "a card")))
    assert found.warnings == (GONE,)
    assert failed
    again = run_to_end(predict(_volume(), _model(_Fails(0), recipe), Device("cpu", "CPU")))
    assert np.array_equal(found.classes, again.classes)


def test_the_cpu_has_no_card_to_lose():
    _Fails.calls = 0
    with pytest.raises(ModelError, match="failed on CPU: CUDA error: unspecified launch failure"):
        run_to_end(predict(_volume(), _model(_Fails(1), AxialRecipe()), Device("cpu", "CPU")))


@pytest.mark.parametrize(
    ("error", "stopped"),
    [
        (RuntimeError(CARD_FAILS), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: out of memory"), False),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), False),
        (RuntimeError("shapes differ"), False),
        (ValueError("CUDA error: x"), False),
    ],
)
def test_which_failures_are_the_cards(error, stopped):
    assert stopped_working(error) is stopped
    assert runner_module.is_out_of_memory(error) is ("out of memory" in str(error))


def test_a_training_says_what_to_do():
    told = out_of_memory(RuntimeError(CARD_FAILS), PRESETS["fast"], _Card("cuda:0", "an H100"))
    assert isinstance(told, ResourceError)
    assert str(told).startswith("an H100 stopped working (CUDA error: unspecified launch failure);")
    assert "--resume" in str(told)
    assert card_gone(RuntimeError(CARD_FAILS), Device("cpu", "CPU")) is None
    assert card_gone(RuntimeError("CUDA out of memory"), _Card("cuda:0", "an H100")) is None
