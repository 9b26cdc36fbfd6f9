"""Patches of volumes, cut at random and changed at random, on whatever device they are made.

The kinds of change are those of Müller et al. (2021) and the random cutout of Fung et al. (2021),
each with a probability of its own. Rotation, scaling and bending are one resampling together, so
that a patch is interpolated once or, most often, not at all. Every choice comes from one numpy
generator, whose state is all that is needed to go on exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_covseg.domain.geometry import Shape
from napari_covseg.domain.labels import Label
from napari_covseg.preprocess.resample import Spacing

Range = tuple[float, float]
_IGNORE = float(Label.IGNORE)


@dataclass(frozen=True, slots=True)
class VolumeAugmentation:
    """What may be done to a patch.

    Parameters
    ----------
    probability
        Of each change: mirroring (each axis), rotation, scaling, bending, brightness, contrast,
        gamma, noise, cutout.
    rotation_degrees
        Largest angle about each axis. A thin stack of slices is tilted less, so that it stays in
        the patch; a single slice turns in its plane only.
    scale
        Of size: 1.25 shows everything larger.
    bend_mm, bend_wave_mm
        Elastic deformation: a smooth random field (cubic B-spline with knots ``bend_wave_mm``
        apart) with a root mean square of at most ``bend_mm`` along each axis.
    brightness
        Factor on the distance from air.
    contrast
        Factor on the distance from the patch's mean; the range of values stays.
    gamma
        Exponent on the values rescaled to 0..1 by the patch's own least and greatest, as
        batchgenerators does (z-scores have no power); drawn evenly in its logarithm.
    noise_variance
        Largest variance of Gaussian noise, in units of the prepared values (z-scores).
    cutout
        Fractions of the patch, one of which is emptied (a box of air); its labels stay, so the
        network must learn from the surroundings.
    """

    probability: float = 0.15
    rotation_degrees: float = 15.0
    scale: Range = (0.85, 1.25)
    bend_mm: float = 6.0
    bend_wave_mm: float = 40.0
    brightness: Range = (0.75, 1.25)
    contrast: Range = (0.75, 1.25)
    gamma: Range = (0.5, 2.0)
    noise_variance: float = 0.1
    cutout: tuple[float, ...] = (0.2, 0.4, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """A spatial change: ``turn`` 3x3 and ``bend`` ``(3, z, y, x)`` in mm, (z, y, x); or none."""

    flips: tuple[int, ...] = ()
    turn: NDArray[np.float64] | None = None
    bend: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What patches are cut from: image and codes ``(z, y, x)``, and the image's value for air."""

    image: NDArray
    codes: NDArray[np.uint8]
    spacing_mm: Spacing
    air: float


def draw_warp(
    settings: VolumeAugmentation,
    source: Source,
    patch: Shape,
    rng: np.random.Generator,
    device: torch.device,
) -> Warp:
    """A random spatial change for one patch of ``source``."""
    flips = tuple(axis for axis in range(3) if rng.random() < settings.probability)
    depth_mm = (source.image.shape[0] - 1) * source.spacing_mm[0]
    width_mm = max(n * mm for n, mm in zip(patch[1:], source.spacing_mm[1:], strict=True))
    thin = min(1.0, depth_mm / width_mm)
    turn = np.eye(3)
    if rng.random() < settings.probability:
        most = math.radians(settings.rotation_degrees)
        tilt = min(most, math.atan(thin))
        turn = _rotation(rng.uniform(-1, 1, 3) * (most, tilt, tilt))
    if rng.random() < settings.probability:
        scale = math.exp(rng.uniform(*np.log(settings.scale)))
        # The one slice of a picture would fade if it were sampled between slices.
        turn = turn @ np.diag([scale if depth_mm else 1.0, scale, scale])
    bend = None
    if rng.random() < settings.probability:
        bend = _bend(settings, patch, source.spacing_mm, rng, device)
        bend[0] *= thin
    return Warp(flips, None if np.array_equal(turn, np.eye(3)) else turn, bend)


def cut_patch(
    source: Source, start: Shape, patch: Shape, warp: Warp, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The patch of shape ``patch`` whose first voxel is ``start``, changed by ``warp``.

    Returns float32 ``(z, y, x)`` and uint8 codes; outside of the volume is air, and ignored.
    """
    if warp.turn is None and warp.bend is None:
        image, codes = _plain(source, start, patch, device)
    else:
        image, codes = _sampled(source, start, patch, warp, device)
    return image.flip(warp.flips), codes.flip(warp.flips)


def change_values(
    image: Tensor, air: float, settings: VolumeAugmentation, rng: np.random.Generator
) -> Tensor:
    """Random brightness, contrast, gamma, noise and cutout of a patch ``(z, y, x)``."""
    from monai.transforms import AdjustContrast, ScaleIntensityFixedMean
    from monai.utils import convert_to_tensor

    if rng.random() < settings.probability:
        image = air + (image - air) * rng.uniform(*settings.brightness)
    if rng.random() < settings.probability:
        factor = rng.uniform(*settings.contrast)
        change = ScaleIntensityFixedMean(factor - 1, preserve_range=True, fixed_mean=True)
        image = convert_to_tensor(change(image), track_meta=False)
    if rng.random() < settings.probability:
        gamma = math.exp(rng.uniform(*np.log(settings.gamma)))
        image = convert_to_tensor(AdjustContrast(gamma)(image), track_meta=False)
    if rng.random() < settings.probability:
        deviation = math.sqrt(rng.uniform(0, settings.noise_variance))
        generator = torch.Generator(image.device).manual_seed(int(rng.integers(2**63)))
        noise = torch.randn(image.shape, generator=generator, device=image.device)
        image = image + noise * deviation
    if rng.random() < settings.probability:
        image = image.clone()
        image[cutout_box(image.shape, float(rng.choice(settings.cutout)), rng)] = air
    return image


def cutout_box(
    shape: tuple[int, ...], fraction: float, rng: np.random.Generator
) -> tuple[slice, ...]:
    """A box of about ``fraction`` of the voxels, anywhere, its sides not all in proportion."""
    logs = rng.dirichlet([4.0] * len(shape)) * math.log(fraction)
    sizes = [max(1, round(n * math.exp(log))) for n, log in zip(shape, logs, strict=True)]
    starts = [int(rng.integers(n - size + 1)) for n, size in zip(shape, sizes, strict=True)]
    return tuple(slice(at, at + size) for at, size in zip(starts, sizes, strict=True))


def _plain(
    source: Source, start: Shape, patch: Shape, device: torch.device
) -> tuple[Tensor, Tensor]:
    ends = [min(n, at + size) for n, at, size in zip(source.image.shape, start, patch, strict=True)]
    inside = tuple(slice(max(0, at), end) for at, end in zip(start, ends, strict=True))
    places = tuple(
        slice(cut.start - at, cut.stop - at) for cut, at in zip(inside, start, strict=True)
    )
    image = torch.full(patch, source.air, device=device)
    codes = torch.full(patch, int(Label.IGNORE), dtype=torch.uint8, device=device)
    image[places] = torch.tensor(source.image[inside].astype(np.float32), device=device)
    codes[places] = torch.tensor(source.codes[inside], device=device)
    return image, codes


def _sampled(
    source: Source, start: Shape, patch: Shape, warp: Warp, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Linear for the image, nearest for the codes, from the part of the volume that is needed."""
    where = _places(source.spacing_mm, start, patch, warp, device)
    low = [int(v) for v in where.amin(dim=(1, 2, 3)).floor()]
    high = [int(v) + 2 for v in where.amax(dim=(1, 2, 3)).floor()]
    box = tuple(
        slice(min(max(0, a), n - 1), max(min(n, b), 1))
        for a, b, n in zip(low, high, source.image.shape, strict=True)
    )
    sizes = [cut.stop - cut.start for cut in box]
    grid = torch.stack(
        [(2 * (where[i] - box[i].start) + 1) / sizes[i] - 1 for i in (2, 1, 0)], dim=-1
    )[None]
    # Zero outside stands for air and for ignored voxels, so these are taken off before.
    image = torch.tensor(source.image[box].astype(np.float32) - source.air, device=device)
    codes = torch.tensor(source.codes[box].astype(np.float32) - _IGNORE, device=device)
    values = functional.grid_sample(image[None, None], grid, "bilinear", "zeros", False)
    labels = functional.grid_sample(codes[None, None], grid, "nearest", "zeros", False)
    return values[0, 0] + source.air, (labels[0, 0] + _IGNORE).round().to(torch.uint8)


def _places(
    spacing_mm: Spacing, start: Shape, patch: Shape, warp: Warp, device: torch.device
) -> Tensor:
    """The voxel of the volume each voxel of the patch shows: ``(3, z, y, x)``, (z, y, x)."""
    turn = np.eye(3) if warp.turn is None else np.linalg.inv(warp.turn)
    offsets = [
        ((torch.arange(n, device=device) - (n - 1) / 2) * mm).view(
            [-1 if i == axis else 1 for i in range(3)]
        )
        for axis, (n, mm) in enumerate(zip(patch, spacing_mm, strict=True))
    ]
    found = []
    for axis, (at, n, mm) in enumerate(zip(start, patch, spacing_mm, strict=True)):
        moved = (
            float(turn[axis, 0]) * offsets[0]
            + float(turn[axis, 1]) * offsets[1]
            + float(turn[axis, 2]) * offsets[2]
        )
        if warp.bend is not None:
            moved = moved + warp.bend[axis]
        found.append((moved / mm + (at + (n - 1) / 2)).expand(patch))
    return torch.stack(found)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turns about the z, y and x axis, one after the other; 3x3, (z, y, x)."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        i, j = (a for a in range(3) if a != axis)
        one[i, i] = one[j, j] = math.cos(angle)
        one[i, j], one[j, i] = -math.sin(angle), math.sin(angle)
        turn = one @ turn
    return turn


def _bend(
    settings: VolumeAugmentation,
    patch: Shape,
    spacing_mm: Spacing,
    rng: np.random.Generator,
    device: torch.device,
) -> Tensor:
    """A smooth displacement ``(3, z, y, x)`` in mm."""
    steps = [settings.bend_wave_mm / mm for mm in spacing_mm]
    bases = [_spline_basis(n, step) for n, step in zip(patch, steps, strict=True)]
    knots = rng.standard_normal((3, *(basis.shape[1] for basis in bases)))
    # What averaging by the splines leaves of the knots' deviation of 1.
    left = math.sqrt(math.prod(float((basis**2).sum(axis=1).mean()) for basis in bases))
    knots *= rng.uniform(0, settings.bend_mm) / left
    field = torch.tensor(knots, dtype=torch.float32, device=device)
    z, y, x = (torch.tensor(b, dtype=torch.float32, device=device) for b in bases)
    return torch.einsum("zi,cijx->czjx", z, torch.einsum("yj,cijx->ciyx", y, field @ x.T))


def _spline_basis(size: int, step: float) -> NDArray[np.float64]:
    """Weights of knots ``step`` voxels apart at each voxel: uniform cubic B-splines."""
    at = np.arange(size) / step
    knots = np.arange(-1, math.floor(at[-1]) + 3)
    away = np.abs(at[:, None] - knots)
    near = 2 / 3 - away**2 + away**3 / 2
    far = np.maximum(0, 2 - away) ** 3 / 6
    return np.where(away < 1, near, far)
