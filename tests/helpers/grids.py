"""Grids in every orientation, and volumes whose every value tells where its voxel is."""

from __future__ import annotations

import numpy as np

from napari_covseg.domain.geometry import Geometry

SHAPE = (7, 9, 11)
SPACING_XYZ = (1.5, 0.75, 3.25)


def turn(degrees_xyz):
    """A rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees_xyz)):
        i, j = [k for k in range(3) if k != axis]
        step = np.eye(3)
        step[[i, i, j, j], [i, j, i, j]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        matrix = step @ matrix
    return matrix


def grid(
    order=(0, 1, 2), signs=(1, 1, 1), degrees=(0, 0, 0), shape=SHAPE, origin=(-31.5, 12.25, -7)
):
    """Index axis ``i`` runs along patient axis ``order[i]`` times its sign, then all is turned."""
    direction = turn(degrees) @ (np.eye(3)[:, list(order)] * np.array(signs))
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(SPACING_XYZ)
    affine[:3, 3] = origin
    return Geometry(shape, affine)


GRIDS = {
    "canonical": grid(),
    "RAS": grid(signs=(-1, -1, 1)),
    "feet first": grid(signs=(-1, 1, -1)),
    "mirrored": grid(signs=(-1, 1, 1)),
    "sagittal": grid(order=(1, 2, 0), signs=(1, -1, 1)),
    "coronal": grid(order=(0, 2, 1), signs=(1, -1, 1)),
    "swapped": grid(order=(1, 0, 2)),
    "oblique": grid(degrees=(12, -8, 20)),
    "oblique and flipped": grid(order=(2, 0, 1), signs=(-1, 1, -1), degrees=(-20, 15, 9)),
}


def positions(geometry):
    """LPS mm of every voxel, shape ``(z, y, x, 3)``."""
    z, y, x = np.indices(geometry.shape)
    index = np.stack([x, y, z, np.ones_like(x)], axis=-1)
    return (index @ geometry.affine.T)[..., :3]


def hu_at(points):
    """HU that tell a place: another step along each patient axis, air to soft tissue."""
    return -480 + points @ np.array([7.0, 4.0, 9.0])


def hu_volume(geometry):
    """int16 HU on a grid, in its own axis order."""
    return np.rint(hu_at(positions(geometry))).astype(np.int16)


def label_at(points):
    """Labels by place: 1 left, 2 right; 3 and 4 high and low in the left, 5 right behind."""
    flat = points.reshape(-1, 3)
    low, high = flat.min(axis=0), flat.max(axis=0)
    x, y, z = np.moveaxis((points - low) / (high - low) - 0.517, -1, 0)
    labels = np.where(x > 0, 1, 2)
    labels[(x > 0.2) & (z > 0.1)] = 3
    labels[(x > 0.2) & (z < -0.1)] = 4
    labels[(x < -0.2) & (y > 0.2)] = 5
    return labels.astype(np.uint8)
