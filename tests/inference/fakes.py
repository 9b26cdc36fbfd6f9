"""Volumes and networks whose answer is known."""

import numpy as np
import torch
from torch import nn

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.volume import CTVolume
from napari_covseg.models.checkpoint import Model
from napari_covseg.models.device import Device
from napari_covseg.preprocess.recipe import AxialRecipe

# HU between which a voxel is lung, GGO, consolidation; below and above is background.
EDGES_HU = (-950.0, -700.0, -300.0, 100.0)


class Thresholds(nn.Module):
    """Logits of the class between whose HU thresholds the input lies."""

    def __init__(self, recipe=None, sharpness=1000.0):
        super().__init__()
        low, high = (recipe or AxialRecipe()).window_hu
        edges = [2 * (hu - low) / (high - low) - 1 for hu in EDGES_HU]
        self.register_buffer("edges", torch.tensor(edges))
        self.sharpness = sharpness
        self.batches = []

    def forward(self, pixels):
        self.batches.append(tuple(pixels.shape))
        number = (pixels >= self.edges.view(1, -1, 1, 1)).sum(dim=1)  # 0 to 4
        classes = torch.where(number == 4, 0, number)
        one_hot = nn.functional.one_hot(classes, 4).permute(0, 3, 1, 2)
        return one_hot.float() * self.sharpness


class Identity(nn.Module):
    """`Thresholds` for volumes that are still in HU (a recipe without steps)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("edges", torch.tensor(EDGES_HU).view(1, -1, 1, 1, 1))
        self.batches = []

    def forward(self, image):
        self.batches.append(tuple(image.shape))
        number = (image >= self.edges).sum(dim=1)  # 0 to 4
        classes = torch.where(number == 4, 0, number)
        return nn.functional.one_hot(classes, 4).movedim(-1, 1).float() * 100


class Card(Device):
    """A graphics card that computes on the CPU, as this machine need not have one."""

    def __init__(self, kind, title):
        super().__init__("cpu", title)
        object.__setattr__(self, "_kind", kind)

    @property
    def kind(self):
        return self._kind


def expected_classes(hu):
    """What `Thresholds` says, from HU."""
    number = sum((hu >= edge).astype(np.uint8) for edge in EDGES_HU)
    return np.where(number == 4, 0, number).astype(np.uint8)


def model(network=None, recipe=None):
    recipe = recipe or AxialRecipe()
    return Model("fake", "1", "0" * 64, network or Thresholds(recipe), recipe, {})


def noise_volume(shape=(5, 64, 96), spacing_mm=(2.0, 1.35, 1.35), seed=0):
    """Random HU between air and bone: every voxel differs from its neighbours."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1024, 400, shape).astype(np.int16)
    # Keep away from the thresholds, where float32 may round to either side.
    for edge in EDGES_HU:
        hu[np.abs(hu - edge) < 2] = int(edge) + 3
    return CTVolume(hu, Geometry.from_spacing(shape, spacing_mm), "noise")


def blob_volume(shape=(6, 120, 160), spacing_mm=(3.0, 0.7, 0.7)):
    """Soft tissue with two smooth lungs of -800 HU, the right one with a GGO."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    hu = np.full(shape, -1024, np.int16)
    middle_y, middle_x = shape[1] / 2, shape[2] / 2

    def disc(cy, cx, ry, rx):
        return (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1) & (z >= 0)

    hu[disc(middle_y, middle_x, 0.46 * shape[1], 0.46 * shape[2])] = 130
    hu[disc(middle_y, 0.3 * shape[2], 0.3 * shape[1], 0.13 * shape[2])] = -800
    hu[disc(middle_y, 0.7 * shape[2], 0.26 * shape[1], 0.11 * shape[2])] = -800
    hu[disc(middle_y, 0.3 * shape[2], 0.12 * shape[1], 0.06 * shape[2])] = -500
    return CTVolume(hu, Geometry.from_spacing(shape, spacing_mm), "blobs")
