"""Measuring computes as training does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_covseg.domain.progress import run_to_end
from napari_covseg.models.device import Device
from napari_covseg.training.case_prediction import case_predictor
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.schedules import PRESETS, Preset

SLICES = replace(PRESETS["fast"], patch=(32, 32))
VOLUMES = replace(PRESETS["mueller2021"], patch=(4, 8, 8))


class Noting(nn.Module):
    """Gives the class of a voxel by its value, and keeps in which precision it computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.dtype] = []
        self.weight = nn.Parameter(torch.ones(1, 1))

    def __deepcopy__(self, memo: dict) -> "Noting":
        return self

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append((self.weight @ self.weight).dtype)
        ends = torch.tensor([-1.5, -0.5, 0.5, 1.5]).view(1, 4, *[1] * (images.ndim - 2))
        return -10 * (images - ends).abs()


def case_of(preset: Preset) -> tuple[TrainingCase, np.ndarray]:
    """A case whose values tell the classes, and these."""
    classes = np.random.default_rng(0).integers(0, 4, (5, 32, 32)).astype(np.uint8)
    if preset.dimensions == 2:
        classes[classes == 0], classes[classes == 3] = 1, 2
        image = np.where(classes == 1, 63, 191).astype(np.uint8)
    else:
        image = (classes - 1.5).astype(np.float16)
    return TrainingCase("one", "set", "p", image, classes, (5.0, 1.0, 1.0)), classes


@pytest.mark.parametrize("preset", [SLICES, VOLUMES])
@pytest.mark.parametrize(
    ("asked", "of_device", "expected"),
    [
        ("auto", "float32", torch.float32),
        ("auto", "bfloat16", torch.bfloat16),
        ("float32", "bfloat16", torch.float32),
        ("bfloat16", "float32", torch.bfloat16),
    ],
)
def test_the_precision_is_that_of_the_training(
    preset: Preset, asked: str, of_device: str, expected: torch.dtype
) -> None:
    preset = replace(preset, precision=asked)
    if asked == "auto" and preset.dimensions == 3:
        # `as_set`: volumes train in float32 on a CPU, whatever it is good at.
        expected = torch.float32
    warnings: list[str] = []
    device = Device("cpu", "CPU", of_device)
    predict = case_predictor(preset, preset.make_recipe(), device, warnings)
    case, classes = case_of(preset)
    network = Noting()
    assert np.array_equal(run_to_end(predict(network, case)), classes)
    assert set(network.seen) == {expected}
    assert warnings == []
