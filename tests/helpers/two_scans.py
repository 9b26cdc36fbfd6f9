"""Two scans of a small chest whose every voxel is known: moved, scaled, with lesions of known size.

Points of the current scan are in LPS mm around the middle of the chest; the prior scan is the same
chest after a known affine transform, on any grid, with lesions of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from grids import positions, turn

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import CTVolume, LabelMap

LUNGS = {
    Label.LEFT_LUNG: ((33.0, 0.0, 0.0), (22.0, 34.0, 52.0)),
    Label.RIGHT_LUNG: ((-35.0, 2.0, -4.0), (26.0, 38.0, 50.0)),
}
"""Centre and half axes (x, y, z) in mm: the right one is larger and lower."""
HU = {Label.LEFT_LUNG: -860, Label.RIGHT_LUNG: -860, Label.GGO: -550, Label.CONSOLIDATION: 10}


@dataclass(frozen=True)
class Ball:
    """A lesion: centre and radius in mm, in the current scan's frame."""

    kind: Label
    centre: tuple[float, float, float]
    radius: float

    @property
    def ml(self) -> float:
        return 4 / 3 * np.pi * self.radius**3 / 1000


def labels_at(points: np.ndarray, lesions: tuple[Ball, ...] = ()) -> np.ndarray:
    """Labels at points ``(..., 3)`` of the current frame; later lesions lie over earlier ones."""
    labels = np.zeros(points.shape[:-1], np.uint8)
    for side, (centre, axes) in LUNGS.items():
        away = (((points - centre) / axes) ** 2).sum(axis=-1)
        labels[away <= 1] = side
    # A notch where the heart lies, so that no lung is its own mirror image.
    heart = (((points - (12.0, -24.0, -18.0)) / (22.0, 20.0, 26.0)) ** 2).sum(axis=-1) <= 1
    labels[heart] = Label.BACKGROUND
    for ball in lesions:
        far = ((points - ball.centre) ** 2).sum(axis=-1) <= ball.radius**2
        labels[far & (labels > 0)] = ball.kind
    return labels


def hu_at(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """HU at points: lung with rods as dense as vessels, soft tissue around."""
    hu = np.full(labels.shape, 40.0)
    for label, value in HU.items():
        hu[labels == label] = value
    x, y, z = np.moveaxis(points, -1, 0)
    rods = (np.abs((x + 0.3 * z) % 14 - 7) < 2) & (np.abs((y - 0.2 * z) % 16 - 8) < 2)
    rods |= (np.abs((y + 0.2 * x) % 18 - 9) < 2) & (np.abs((z + 0.25 * x) % 22 - 11) < 2)
    hu[rods & (labels > 0) & (labels < Label.CONSOLIDATION)] = -150.0
    return hu


def affine(degrees=(0, 0, 0), scale=(1, 1, 1), shift=(0, 0, 0)) -> np.ndarray:
    """4x4, current LPS to prior LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = turn(degrees) @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix


def grid(spacing_mm=(2.5, 2.5, 2.5), degrees=(0, 0, 0), signs=(1, 1, 1), middle=(0, 0, 0),
         size_mm=(150, 110, 170)) -> Geometry:  # fmt: skip
    """A grid (spacing ``(x, y, z)``) of about ``size_mm`` around ``middle``."""
    steps = np.array(spacing_mm, float)
    count = np.ceil(np.array(size_mm) / steps).astype(int)
    matrix = np.eye(4)
    matrix[:3, :3] = turn(degrees) @ np.diag(steps * signs)
    matrix[:3, 3] = np.array(middle) - matrix[:3, :3] @ ((count - 1) / 2)
    return Geometry(tuple(int(n) for n in count[::-1]), matrix)


def scan(geometry: Geometry, lesions=(), transform=None, case="case"):
    """CT and labels on a grid; ``transform`` (current to prior) moves the whole chest."""
    points = positions(geometry)
    if transform is not None:
        back = np.linalg.inv(transform)
        points = points @ back[:3, :3].T + back[:3, 3]
    labels = labels_at(points, tuple(lesions))
    volume = CTVolume(hu_at(points, labels).astype(np.int16), geometry, case)
    return volume, LabelMap.like(volume, labels)
