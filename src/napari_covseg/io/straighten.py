"""Volumes whose slices are sheared (gantry tilt kept in the affine), set upright."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry, Reorientation
from napari_covseg.domain.volume import CTVolume
from napari_covseg.io.dicom_regrid import Stacking, regrid


def straighten(volume: CTVolume, name: str) -> CTVolume:
    """The volume on a grid whose axes stand at right angles; unchanged if they do already.

    Slices are moved within their plane to their true places and keep their pixel size; the grid
    is widened to hold them all, its ``to_native`` is the identity, and a warning says so.

    Raises
    ------
    InputError
        If the axes within a slice are not at right angles, as no scanner makes them, or slices
        are shifted by more than their width.
    """
    if volume.geometry.orthogonal:
        return volume
    columns = volume.geometry.affine[:3, :3]
    x, y = volume.geometry.direction.T[:2]
    if abs(float(x @ y)) > 1e-3:
        raise InputError(
            f"{name}: the axes within a slice are not at right angles; resample the file to a "
            "regular grid first"
        )
    normal = np.cross(x, y)
    dz, dy, dx = volume.geometry.spacing_mm
    steps = np.arange(volume.hu.shape[0])[:, None] * columns[:, 2]
    heights = steps @ normal
    where = Stacking(np.stack([steps @ x, steps @ y], axis=1), heights, (dy, dx))
    affine = np.array(volume.geometry.affine)
    affine[:3, 2] = normal * float(columns[:, 2] @ normal)
    if len(steps) == 1 or where.is_straight:
        return replace(volume, geometry=Geometry(volume.hu.shape, affine))
    tilt = float(np.degrees(np.arccos(np.clip(columns[:, 2] @ normal / dz, -1, 1))))
    most = float(np.linalg.norm(where.offsets_mm, axis=1).max())
    if most > max(dy * volume.hu.shape[1], dx * volume.hu.shape[2]):
        raise InputError(
            f"{name}: its slices are sheared by {tilt:.0f} degrees, farther than they are wide; "
            "its orientation is damaged, convert it again from DICOM"
        )
    upright = regrid(volume.hu, where)
    affine[:3, 3] += x * upright.start_mm[0] + y * upright.start_mm[1]
    note = (
        f"the slices are sheared by {tilt:.1f} degrees: moved by up to {most:.1f} mm to a true grid"
    )
    return replace(
        volume,
        hu=upright.values,
        geometry=Geometry(upright.values.shape, affine),
        to_native=Reorientation(),
        warnings=(*volume.warnings, note),
    )
