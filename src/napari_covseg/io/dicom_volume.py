"""Slices of a series to a `CTVolume`: voxels, geometry, and a warning for all that was done."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Affine, Reorientation
from napari_covseg.domain.volume import CTVolume
from napari_covseg.io.dicom_grid import ASSUMED_SPACING_MM, grid_of, stacking_of
from napari_covseg.io.dicom_pixels import Voxels, read_hounsfield
from napari_covseg.io.dicom_regrid import Stacking, regrid
from napari_covseg.io.dicom_series import Series
from napari_covseg.io.hounsfield import AIR_HU, to_hounsfield
from napari_covseg.io.raw import native_geometry, to_canonical

_COARSE_STEP_HU = 8.0
_SURE_PIXELS = 4096
_SPARSE = 2.0
_MOST_SPREAD = 2.0


def read_series(series: Series, name: str, window: tuple[float, float] | None = None) -> CTVolume:
    """The volume a series holds, in canonical orientation.

    Parameters
    ----------
    series
        Loadable.
    name
        The input's name, for messages.
    window
        ``(low, high)`` HU, what black and white stand for, if the values are not HU.

    Raises
    ------
    InputError
        If voxels cannot be read, or are not in HU and no window is given.
    """
    _check_spread(series, name)
    values, padded = read_hounsfield(series.frames)
    values, notes = _hounsfield(series, values, name, window)
    if padded:
        notes = (*notes, _padding_note(padded, len(series.frames)))
    values, affine, moved = _on_true_grid(series, values)
    native = native_geometry(name, values.shape, affine)
    hu, geometry, to_native = to_canonical(values, native)
    return CTVolume(
        hu=hu,
        geometry=geometry,
        case=pseudonym(series),
        to_native=Reorientation() if moved else to_native,
        warnings=(*series.notes, *notes, *moved, *_remarks(series)),
        source="DICOM",
        taken=series.image.taken,
    )


def _check_spread(series: Series, name: str) -> None:
    """Refuse slices that lie beside one another, before a grid is made to hold them all."""
    image, where = series.image, stacking_of(series.frames)
    field_mm = max(image.rows * where.pixel_mm[0], image.columns * where.pixel_mm[1])
    spread_mm = float(np.ptp(where.offsets_mm, axis=0).max())
    if spread_mm > _MOST_SPREAD * field_mm:
        raise InputError(
            f"{name}: the slices lie up to {spread_mm:.0f} mm beside one another, with a field of "
            f"view of {field_mm:.0f} mm: they make no volume"
        )


def pseudonym(series: Series) -> str:
    """A case name that says nothing about the patient: the same for the same series."""
    image = series.image
    told = series.uid.split("/")[0] or image.sop_uid or image.member.name
    told += series.uid[len(series.uid.split("/")[0]) :]
    return f"ct-{hashlib.sha256(told.encode()).hexdigest()[:10]}"


def _hounsfield(
    series: Series, values: Voxels, name: str, window: tuple[float, float] | None
) -> tuple[Voxels, tuple[str, ...]]:
    """Judge the values where the header leaves doubt: a header that rescales them is believed."""
    frames = series.frames
    doubtful = all(frame.slope == 1 and frame.intercept >= 0 for frame in frames)
    if doubtful and values[0].size >= _SURE_PIXELS:
        return to_hounsfield(values, name, window)
    if window is None:
        return values, ()
    return values, ("the values are Hounsfield units already: the window was not used",)


def _padding_note(padded: int, slices: int) -> str:
    where = "all slices" if padded == slices else f"{padded} of {slices} slices"
    return f"padding that the header does not declare was set to air ({AIR_HU} HU) in {where}"


def _remarks(series: Series) -> tuple[str, ...]:
    frames, image = series.frames, series.image
    notes = []
    if len(frames) == 1 and frames[0].thickness is None:
        notes.append(
            f"the slice has no thickness: {ASSUMED_SPACING_MM:g} mm was assumed, so volumes in ml "
            "mean little"
        )
    apart = (series.spacing_mm or (0.0,))[0]
    if len(frames) > 1 and frames[0].thickness and apart > _SPARSE * frames[0].thickness:
        notes.append(
            f"slices of {frames[0].thickness:g} mm stand {apart:.1f} mm apart: what lies between "
            "was not scanned, so volumes in ml are estimates"
        )
    step = max(abs(frame.slope) for frame in frames)
    if step > _COARSE_STEP_HU:
        notes.append(f"the values come in steps of {step:.0f} HU (8-bit compression)")
    oblique = abs(image.tilt_degrees)
    if oblique > 0.5 and len(frames) > 1 and series.plane == "axial" and _tilt_of(series) < 0.5:
        notes.append(
            f"the header says gantry tilt {image.tilt_degrees:+.1f} degrees, but the slices are "
            "not tilted: their positions were trusted"
        )
    return tuple(notes)


def _tilt_of(series: Series) -> float:
    """Angle between the slices' normal and the patient axis nearest to it, in degrees."""
    return float(np.degrees(np.arccos(min(1.0, np.abs(series.normal).max()))))


def _on_true_grid(series: Series, values: Voxels) -> tuple[NDArray, Affine, tuple[str, ...]]:
    """The voxels on a regular grid with its affine, resampled if the slices are not on one."""
    grid = grid_of(series.frames)
    if grid.stacking is None:
        return values, grid.affine, ()
    resampled = regrid(values, grid.stacking).values
    return resampled, grid.affine, _resampling_notes(grid.stacking, values.shape, resampled.shape)


def _resampling_notes(
    where: Stacking, before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[str, ...]:
    notes = []
    if not where.is_straight:
        most = float(np.linalg.norm(where.offsets_mm, axis=1).max())
        angle = where.shear_degrees
        what = "shifted in their plane" if angle is None else f"sheared by {angle:.1f} degrees"
        cause = "" if angle is None else " (gantry tilt)"
        notes.append(f"the slices are {what}{cause}: moved by up to {most:.1f} mm to a true grid")
    if not where.is_even:
        gaps = where.gaps_mm
        heights = where.even_heights_mm
        notes.append(
            f"slice gaps are uneven ({gaps.min():.2f} to {gaps.max():.2f} mm): {before[0]} slices "
            f"were resampled to {after[0]}, {heights[1] - heights[0]:.2f} mm apart"
        )
    return tuple(notes)
