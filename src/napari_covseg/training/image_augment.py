"""Random views of pictures for training a classifier: crops, turns, mirrors, greys and holes.

What a picture's border, size and grey levels say about its source is taken away on purpose: a
classifier of pictures from several sources learns that first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """How far a view may be from its picture.

    Parameters
    ----------
    least_area
        Of the picture that a crop holds.
    aspect
        A crop's sides are stretched against each other by up to this factor.
    turn_degrees
        Greatest turn either way.
    mirror
        Chance of a left-right mirror image.
    grey
        Greatest change of contrast and of brightness, as a fraction of the range.
    gamma
        Greatest exponent of the grey levels, or one over it.
    noise
        Greatest standard deviation of noise, as a fraction of the range.
    hole
        Chance of a rectangle of up to a third of each side being left out.
    """

    least_area: float = 0.5
    aspect: float = 1.2
    turn_degrees: float = 15.0
    mirror: float = 0.5
    grey: float = 0.2
    gamma: float = 1.4
    noise: float = 0.04
    hole: float = 0.5


def random_views(
    pictures: Tensor, size: int, generator: torch.Generator, settings: ViewSettings | None = None
) -> Tensor:
    """A random view ``(n, 1, size, size)`` of each picture ``(n, 1, h, w)``, both in [-1, 1]."""
    settings = settings or ViewSettings()
    theta = _transforms(len(pictures), generator, settings).to(pictures.device)
    grid = F.affine_grid(theta, [len(pictures), 1, size, size], align_corners=False)
    views = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return _holes(_greys(views, generator, settings), generator, settings)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _transforms(count: int, generator: torch.Generator, settings: ViewSettings) -> Tensor:
    """Where each view lies in its picture: ``(n, 2, 3)`` for `affine_grid`."""
    side = _uniform(count, settings.least_area, 1.0, generator).sqrt()
    stretch = math.log(settings.aspect) / 2
    aspect = _uniform(count, -stretch, stretch, generator).exp()
    width, height = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    angle = _uniform(count, -1, 1, generator) * math.radians(settings.turn_degrees)
    mirrored = torch.where(torch.rand(count, generator=generator) < settings.mirror, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    x = _uniform(count, -1, 1, generator) * (1 - width)
    y = _uniform(count, -1, 1, generator) * (1 - height)
    rows = [cos * width * mirrored, -sin * height, x, sin * width * mirrored, cos * height, y]
    return torch.stack(rows, dim=1).reshape(count, 2, 3)


def _greys(views: Tensor, generator: torch.Generator, settings: ViewSettings) -> Tensor:
    count, device = len(views), views.device

    def each(low: float, high: float) -> Tensor:
        return _uniform(count, low, high, generator).view(-1, 1, 1, 1).to(device)

    exponent = each(-math.log(settings.gamma), math.log(settings.gamma)).exp()
    views = ((views + 1) / 2).clamp(1e-6, 1) ** exponent * 2 - 1
    views = views * (1 + each(-settings.grey, settings.grey)) + each(-settings.grey, settings.grey)
    noise = torch.randn(views.shape, generator=generator).to(device)
    return (views + noise * (2 * each(0, settings.noise))).clamp(-1, 1)


def _holes(views: Tensor, generator: torch.Generator, settings: ViewSettings) -> Tensor:
    """Rectangles filled with the picture's mean."""
    count, _, height, width = views.shape
    made = torch.rand(count, generator=generator) < settings.hole
    inside = torch.ones(count, height, width, dtype=torch.bool)
    for axis, length in ((1, height), (2, width)):
        extent = _uniform(count, 0.1, 0.33, generator) * length
        start = _uniform(count, 0, 1, generator) * (length - extent)
        at = torch.arange(length)[None, :]
        within = (at >= start[:, None]) & (at < (start + extent)[:, None])
        inside &= within[:, :, None] if axis == 1 else within[:, None, :]
    hole = (inside & made[:, None, None]).unsqueeze(1).to(views.device)
    return torch.where(hole, views.mean(dim=(2, 3), keepdim=True), views)
