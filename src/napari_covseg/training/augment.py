"""Random changes to training patches, strong enough that the model holds on other scanners.

The development data is 8-bit and windowed; true HU, contrast, sharp kernels and unusual sizes
must not surprise the network, so offset, gain, noise, blur, scale and rotation vary widely.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_covseg.domain.labels import Label
from napari_covseg.training.dataset import TrainingSlice


def cut_patch(
    one: TrainingSlice,
    size: tuple[int, int],
    rng: np.random.Generator,
    upside_down: bool = True,
) -> tuple[Tensor, Tensor]:
    """A randomly placed, turned, scaled and bent patch, some of them ``upside_down``.

    Returns grey ``(1, h, w)`` in [0, 1] and codes ``(h, w)``; what lies outside of the slice is
    black and ignored.
    """
    grid = _sampling_grid(one.grey.shape, size, rng, upside_down)
    grey = torch.from_numpy(one.grey.astype(np.float32) / 255)[None, None]
    codes = torch.from_numpy(one.codes.astype(np.float32) - float(Label.IGNORE))[None, None]
    patch = functional.grid_sample(grey, grid, padding_mode="zeros", align_corners=False)
    labels = functional.grid_sample(
        codes, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return patch[0], (labels[0, 0] + float(Label.IGNORE)).round().to(torch.uint8)


def _sampling_grid(
    shape: tuple[int, ...], size: tuple[int, int], rng: np.random.Generator, upside_down: bool
) -> Tensor:
    """Where each patch pixel comes from: ``(1, h, w, 2)`` in grid_sample's coordinates."""
    angle = math.radians(rng.uniform(-15, 15) if rng.random() < 0.9 else rng.uniform(-45, 45))
    scale = math.exp(rng.uniform(math.log(0.72), math.log(1.4)))
    stretch = math.exp(rng.uniform(-0.08, 0.08))
    flip_x = -1.0 if rng.random() < 0.5 else 1.0
    flip_y = -1.0 if rng.random() < 0.25 and upside_down else 1.0
    height, width = size
    y, x = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2,
        torch.arange(width) - (width - 1) / 2,
        indexing="ij",
    )
    x, y = x * (flip_x * stretch / scale), y * (flip_y / stretch / scale)
    if rng.random() < 0.3:
        bend = torch.from_numpy(rng.normal(0, 6, (1, 2, 5, 5)).astype(np.float32))
        bend = functional.interpolate(bend, size=size, mode="bicubic", align_corners=True)[0]
        x, y = x + bend[0], y + bend[1]
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = cos * x - sin * y, sin * x + cos * y
    center = [_center(n, p / scale, rng) for n, p in zip(shape, size, strict=True)]
    coordinates = (x + center[1], y + center[0])
    sizes = (shape[1], shape[0])
    return torch.stack(
        [(2 * c + 1) / n - 1 for c, n in zip(coordinates, sizes, strict=True)], dim=-1
    )[None].float()


def _center(length: int, patch: float, rng: np.random.Generator) -> float:
    """A patch centre that keeps most of the patch in the slice."""
    spare = max(length - patch, 0.12 * length)
    return (length - 1) / 2 + rng.uniform(-0.35, 0.35) * spare


def change_intensity(grey: Tensor, rng: np.random.Generator) -> Tensor:
    """Random grey values for one patch ``(1, h, w)`` in [0, 1]; returns the same, clipped."""
    grey = _resolution(grey, rng)
    if rng.random() < 0.3:
        grey = grey.clamp(min=1e-4) ** math.exp(rng.uniform(-0.35, 0.35))
    gain, offset = rng.uniform(0.88, 1.12), rng.uniform(-0.05, 0.05)
    grey = grey * gain + offset
    if rng.random() < 0.6:
        grey = grey + _noise(grey.shape, rng)
    if rng.random() < 0.15:
        grey = _cut_out(grey, rng)
    return grey.clamp(0, 1)


def _resolution(grey: Tensor, rng: np.random.Generator) -> Tensor:
    """Blurred, sharpened or taken from a coarser matrix, or left as it is."""
    kind = rng.random()
    if kind < 0.2:
        return _blur(grey, rng.uniform(0.3, 1.3))
    if kind < 0.45:
        return grey + rng.uniform(0.3, 1.8) * (grey - _blur(grey, rng.uniform(0.6, 1.3)))
    if kind < 0.55:
        size = [max(8, int(n * rng.uniform(0.35, 0.8))) for n in grey.shape[1:]]
        small = functional.interpolate(grey[None], size=size, mode="bilinear", antialias=True)
        return functional.interpolate(small, size=grey.shape[1:], mode="bilinear")[0]
    return grey


def _blur(grey: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(grey[None], (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    blurred: Tensor = functional.conv2d(rows, kernel.view(1, 1, -1, 1))[0]
    return blurred


def _noise(shape: torch.Size, rng: np.random.Generator) -> Tensor:
    """White or grained noise of up to 90 HU."""
    sigma = float(0.06 * rng.random() ** 1.5)
    noise = torch.from_numpy(rng.standard_normal(tuple(shape), np.float32))
    if rng.random() < 0.5:
        noise = _blur(noise, rng.uniform(0.5, 1.2))
        noise = noise / noise.std()
    return noise * sigma


def _field_of_view(shape: torch.Size, rng: np.random.Generator) -> Tensor:
    """1 inside of a random circle, 0 outside: there a round reconstruction is padded with air."""
    height, width = shape
    radius = rng.uniform(0.42, 0.6) * max(height, width)
    y = torch.arange(height)[:, None] - height / 2 - rng.uniform(-15, 15)
    x = torch.arange(width)[None] - width / 2 - rng.uniform(-15, 15)
    return (x**2 + y**2 < radius**2).to(torch.uint8)


def _cut_out(grey: Tensor, rng: np.random.Generator) -> Tensor:
    """A few rectangles of one grey value: the network must look at the surroundings too."""
    grey = grey.clone()
    height, width = grey.shape[1:]
    for _ in range(rng.integers(1, 4)):
        h, w = (int(n * rng.uniform(0.05, 0.15)) for n in (height, width))
        y, x = rng.integers(height - h), rng.integers(width - w)
        grey[:, y : y + h, x : x + w] = rng.random()
    return grey


def empty_part(grey: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Cutout (DeVries & Taylor 2017): one place of ``share`` of the area of ``(1, h, w)`` is black.

    It has the patch's shape and lies wholly inside of it, anywhere.
    """
    height, width = grey.shape[1:]
    h, w = (round(n * math.sqrt(share)) for n in (height, width))
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    emptied = grey.clone()
    emptied[:, y : y + h, x : x + w] = 0
    return emptied


def make_batch(
    slices: list[TrainingSlice],
    size: tuple[int, int],
    rng: np.random.Generator,
    cutout: float = 0.0,
    upside_down: bool = True,
) -> tuple[Tensor, Tensor]:
    """Images ``(n, 1, h, w)`` in [-1, 1] and codes ``(n, h, w)``.

    With ``cutout`` that share of every second image, by chance, is empty; the codes stay, so that
    the network must tell from the surroundings. DeVries & Taylor found that a place wholly inside
    of the image, in half of the images, does as well as one that is cut by its border in all.
    """
    images, codes = [], []
    for one in slices:
        grey, labels = cut_patch(one, size, rng, upside_down)
        grey = change_intensity(grey, rng)
        if rng.random() < 0.15:
            visible = _field_of_view(grey.shape[1:], rng)
            grey, labels = grey * visible, labels * visible
        if cutout and rng.random() < 0.5:
            grey = empty_part(grey, cutout, rng)
        images.append(grey * 2 - 1)
        codes.append(labels)
    return torch.stack(images), torch.stack(codes)
