"""The grid a series is worked on, found without its voxels, and the way back to its slices."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_maker import AXIAL, points_of, slice_points, write_series
from label_phantom import ORIENTATIONS, series

from napari_covseg.domain.geometry import Geometry
from napari_covseg.io.dicom import read_dicom, scan_series
from napari_covseg.io.dicom_files import open_members
from napari_covseg.io.dicom_grid import grid_of, part_of

TILT = np.radians(18)
TILTED = (1, 0, 0, 0, np.cos(TILT), -np.sin(TILT))
UNEVEN = (0.0, 3.0, 6.0, 13.0, 16.0, 17.5, 20.0)


def _frames(folder):
    with open_members(folder) as members:
        found, _ = scan_series(members, folder.name)
        return found[0].frames


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_it_is_that_of_the_volume_and_labels_go_back_exactly(tmp_path, name):
    folder, _ = series(tmp_path, ORIENTATIONS[name])
    frames = _frames(folder)
    grid = grid_of(frames)
    volume = read_dicom(folder)
    assert grid.geometry.same_as(volume.geometry, 1e-6)
    labels = np.random.default_rng(0).integers(0, 5, grid.geometry.shape).astype(np.uint8)
    slices = grid.to_slices(labels)
    assert np.array_equal(grid.from_slices(slices), labels)
    where = points_of(grid.geometry)
    for frame, plane in zip(frames, slices, strict=True):
        there = slice_points(frame.position, frame.orientation, plane.shape, frame.spacing)
        k, j, i = np.argwhere(np.linalg.norm(where - there[3, 5], axis=-1) < 1e-6)[0]
        assert plane[3, 5] == labels[k, j, i]


@pytest.mark.parametrize(
    ("orientation", "heights"), [(TILTED, np.arange(10) * 3.0), (AXIAL, UNEVEN), (TILTED, UNEVEN)]
)
def test_labels_of_a_tilted_or_uneven_series_go_to_the_nearest_pixels(
    tmp_path, orientation, heights
):
    folder = write_series(
        tmp_path, [(-8, -12, 30 + z) for z in heights], orientation, (30, 20), (1.0, 1.0)
    )
    frames = _frames(folder)
    grid = grid_of(frames)
    assert grid.stacking is not None
    assert grid.geometry.same_as(read_dicom(folder).geometry, 1e-6)
    # Each voxel's label is its number, so that it says where it came from.
    numbers = np.arange(np.prod(grid.geometry.shape)).reshape(grid.geometry.shape)
    slices = grid.to_slices(numbers)
    where = points_of(grid.geometry).reshape(-1, 3)
    z, y, x = grid.geometry.spacing_mm
    for frame, plane in zip(frames, slices, strict=True):
        there = slice_points(frame.position, frame.orientation, plane.shape, frame.spacing)
        off = (where[plane] - there) @ grid.geometry.direction
        assert np.abs(off).max(axis=(0, 1)) == pytest.approx((0, 0, 0), abs=max(x, y, z) / 2 + 1e-6)
        assert np.abs(off[..., :2]).max() <= 0.5 + 1e-6


def test_what_no_slice_covers_is_background(tmp_path):
    folder = write_series(
        tmp_path, [(-8, -12, 30 + 3 * i) for i in range(10)], TILTED, (30, 20), (1.0, 1.0)
    )
    grid = grid_of(_frames(folder))
    ones = grid.from_slices(np.ones(grid.slices, np.uint8))
    assert ones.sum() == 10 * 30 * 20
    assert ones.size > ones.sum()


def test_part_of():
    whole = Geometry.from_spacing((10, 20, 30), (2.5, 0.7, 0.7), (-10.0, -20.0, 5.0))
    part = Geometry.from_spacing((3, 4, 5), (2.5, 0.7, 0.7), (-10 + 0.7 * 6, -20 + 0.7 * 8, 10.0))
    assert part_of(whole, part) == (slice(2, 5), slice(8, 12), slice(6, 11))
    assert part_of(whole, whole) == (slice(0, 10), slice(0, 20), slice(0, 30))
    between = Geometry.from_spacing((3, 4, 5), (2.5, 0.7, 0.7), (-9.65, -20.0, 5.0))
    assert part_of(whole, between) is None
    outside = Geometry.from_spacing((9, 4, 5), (2.5, 0.7, 0.7), (-10.0, -20.0, 10.0))
    assert part_of(whole, outside) is None
    finer = Geometry.from_spacing((3, 4, 5), (2.5, 0.7, 0.69), (-10.0, -20.0, 5.0))
    assert part_of(whole, finer) is None
