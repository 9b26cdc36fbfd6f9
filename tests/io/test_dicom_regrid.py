"""Tilted, shifted and uneven slices land where they are in the patient, and the user is told."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_maker import AXIAL, expected, points_of, write_series

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Reorientation
from napari_covseg.io.dicom import read_dicom
from napari_covseg.io.dicom_regrid import Stacking

TILT = np.radians(18)
TILTED = (1, 0, 0, 0, np.cos(TILT), -np.sin(TILT))
HEIGHTS = np.arange(10) * 3.0


def _covered(folder, *args):
    """Voxels that slices cover whole: at the canvas' edge they blend with air."""
    return read_dicom(write_series(folder, *args, hu=lambda p: np.full(p.shape[:2], 100))).hu == 100


def test_a_tilted_stack_is_straightened_in_patient_space(tmp_path):
    grid = [(-8, -12, 30 + z) for z in HEIGHTS], TILTED, (30, 20), (1.0, 1.0)
    volume = read_dicom(write_series(tmp_path / "a", *grid))
    inside = _covered(tmp_path / "b", *grid)
    assert np.abs(volume.hu - expected(volume.geometry))[inside].max() <= 1
    assert inside.sum() >= 0.96 * 10 * 30 * 20
    assert volume.geometry.orthogonal
    assert volume.geometry.spacing_mm == pytest.approx((3 * np.cos(TILT), 1.0, 1.0))
    assert volume.to_native == Reorientation()
    assert "sheared by 18.0 degrees (gantry tilt)" in volume.warnings[0]
    assert f"up to {27 * np.sin(TILT):.1f} mm" in volume.warnings[0]


def test_a_ball_in_a_tilted_stack_stays_a_ball_at_its_place(tmp_path):
    centre = np.array([2.0, 4.0, 60.0])

    def ball(points):
        return np.where(np.linalg.norm(points - centre, axis=-1) < 10, 100, -800)

    places = [(-28, -30, 52 + z) for z in np.arange(20) * 2.0]
    write_series(tmp_path, places, TILTED, (70, 60), (1.0, 1.0), hu=ball)
    volume = read_dicom(tmp_path)
    found = points_of(volume.geometry)[volume.hu > -350]
    assert found.mean(axis=0) == pytest.approx(centre, abs=0.4)
    assert found.std(axis=0) == pytest.approx(10 / np.sqrt(5), abs=0.25)
    ml = ((np.maximum(volume.hu, -800) + 800.0) / 900).sum() * volume.geometry.voxel_ml
    assert ml == pytest.approx(4 / 3 * np.pi, rel=0.02)


def test_uneven_gaps_are_resampled_evenly(tmp_path):
    z = [0, 4.0, 8.0, 9.1, 16.1, 23.1, 30.1]
    write_series(tmp_path, [(-8, -12, h) for h in z])
    volume = read_dicom(tmp_path)
    assert np.abs(volume.hu - expected(volume.geometry)).max() <= 1
    top = volume.geometry.corners_mm()[:, 2].max()
    assert top == pytest.approx(30.1)
    assert volume.geometry.spacing_mm[0] == pytest.approx(30.1 / 8)
    assert (
        "uneven (1.10 to 7.00 mm): 7 slices were resampled to 9, 3.76 mm apart"
        in volume.warnings[0]
    )


def test_a_missing_slice_is_filled_and_the_others_stay_exact(tmp_path):
    def noise(points):
        return np.random.default_rng(int(points[0, 0, 2])).integers(-900, 100, points.shape[:2])

    z = [0, 2, 4, 8, 10, 12]
    write_series(tmp_path, [(0, 0, h) for h in z], hu=noise)
    volume = read_dicom(tmp_path)
    assert volume.geometry.spacing_mm[0] == pytest.approx(2.0)
    for h in z:
        assert np.array_equal(volume.hu[h // 2], noise(np.full((12, 16, 3), h)))
    assert volume.hu[3] == pytest.approx((volume.hu[2] + 1.0 * volume.hu[4]) / 2, abs=1)
    assert "uneven" in volume.warnings[0]


def test_slices_shifted_in_plane_are_put_back(tmp_path):
    places = [(-8 + (3.3 if i == 2 else 0), -12, i * 2.0) for i in range(6)]
    volume = read_dicom(write_series(tmp_path / "a", places))
    inside = _covered(tmp_path / "b", places)
    assert np.abs(volume.hu - expected(volume.geometry))[inside].max() <= 1
    assert inside.sum() >= 0.95 * 6 * 12 * 16
    assert "shifted in their plane: moved by up to 3.3 mm" in volume.warnings[0]


def test_rounded_positions_are_not_uneven(tmp_path):
    write_series(tmp_path, [(0, 0, round(i * 0.625, 1)) for i in range(20)])
    volume = read_dicom(tmp_path)
    assert volume.hu.shape[0] == 20
    assert volume.geometry.spacing_mm[0] == pytest.approx(0.625, abs=0.005)
    assert volume.warnings == ()


def test_slices_beside_one_another_make_no_volume(tmp_path):
    write_series(tmp_path, [(0, 0, 0), (0, 0, 2), (90_000, 0, 4)])
    with pytest.raises(InputError, match="90000 mm beside one another"):
        read_dicom(tmp_path)


def test_slices_far_apart_are_reported(tmp_path):
    write_series(tmp_path, [(0, 0, i * 10.0) for i in range(4)], SliceThickness=1.25)
    volume = read_dicom(tmp_path)
    assert volume.geometry.spacing_mm[0] == pytest.approx(10.0)
    assert "slices of 1.25 mm stand 10.0 mm apart" in volume.warnings[0]


def test_a_tilt_the_positions_do_not_show_is_reported(tmp_path):
    write_series(tmp_path, [(0, 0, i * 2.0) for i in range(4)], AXIAL, GantryDetectorTilt=-12.5)
    volume = read_dicom(tmp_path)
    assert np.abs(volume.hu - expected(volume.geometry)).max() <= 0.5
    assert "gantry tilt -12.5 degrees" in volume.warnings[0]


def test_a_tilted_stack_along_its_normal_needs_no_resampling(tmp_path):
    normal = np.cross(TILTED[:3], TILTED[3:])
    write_series(tmp_path, [i * 2.0 * normal for i in range(4)], TILTED)
    volume = read_dicom(tmp_path)
    assert volume.hu.shape == (4, 12, 16)
    assert volume.warnings == ()


@pytest.mark.parametrize(
    ("heights", "even"),
    [([0, 1, 2, 3.05], True), ([0, 1, 2, 3.2], False), ([0, 10, 20.15, 30], True), ([0, 7], True)],
)
def test_evenness_has_a_tolerance(heights, even):
    where = Stacking(np.zeros((len(heights), 2)), np.array(heights, float), (1.0, 1.0))
    assert where.is_even == even
