"""Grids: what canonical means, and that going there and back loses nothing."""

import numpy as np
import pytest
from grids import GRIDS, grid, hu_at, hu_volume, positions
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_covseg.domain.geometry import Geometry, Reorientation, ras_to_lps

ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
signs = st.tuples(*[st.sampled_from([-1, 1])] * 3)
small_turns = st.tuples(*[st.floats(-25, 25)] * 3)
random_grids = st.builds(grid, order=st.sampled_from(ORDERS), signs=signs, degrees=small_turns)


@pytest.mark.parametrize("native", GRIDS.values(), ids=GRIDS)
def test_canonical_axes_run_left_posterior_superior(native):
    direction = native.reoriented(native.to_canonical()).direction
    assert (np.diag(direction) > 0.85).all()


@settings(deadline=None, max_examples=60)
@given(random_grids)
def test_values_stay_at_their_place(native):
    how = native.to_canonical()
    canonical, turned = native.reoriented(how), how.apply(hu_volume(native))
    assert turned.shape == canonical.shape
    np.testing.assert_allclose(turned, hu_at(positions(canonical)), atol=0.5 + 1e-6)
    assert canonical.is_canonical


@settings(deadline=None, max_examples=60)
@given(random_grids)
def test_the_way_back_is_exact(native):
    how = native.to_canonical()
    back = native.reoriented(how).reoriented(how.inverse)
    np.testing.assert_allclose(back.affine, native.affine, atol=1e-9)
    voxels = hu_volume(native)
    np.testing.assert_array_equal(how.inverse.apply(how.apply(voxels)), voxels)
    assert back.shape == native.shape


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("flips", [(False, False, True), (True, False, True), (True, True, False)])
def test_inverse_undoes_and_other_turns_do_not(order, flips):
    how = Reorientation(order, flips)
    voxels = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(how.inverse.apply(how.apply(voxels)), voxels)
    assert how.inverse.inverse == how
    assert not np.array_equal(how.apply(voxels), voxels)


def test_reorientation_copies_nothing():
    voxels = np.zeros((2, 3, 4))
    assert np.shares_memory(Reorientation((2, 0, 1), (True, False, True)).apply(voxels), voxels)


def test_spacing_and_volume_of_an_oblique_grid():
    oblique = GRIDS["oblique"]
    np.testing.assert_allclose(oblique.spacing_mm, (3.25, 0.75, 1.5))
    assert oblique.voxel_ml == pytest.approx(1.5 * 0.75 * 3.25 / 1000)
    assert oblique.orthogonal
    assert grid(degrees=(15, 0, 0)).oblique_degrees == pytest.approx(15)
    assert GRIDS["sagittal"].oblique_degrees == pytest.approx(0)


def test_a_sheared_grid_is_told_and_has_its_true_volume():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.7
    sheared = Geometry((3, 3, 3), affine)
    assert not sheared.orthogonal
    assert sheared.voxel_ml == pytest.approx(0.002)
    assert sheared.spacing_mm[0] > 2.1


def test_same_as_sees_a_shift_and_a_shape():
    one = Geometry.from_spacing((4, 5, 6), (2, 1, 1), (10, 20, 30))
    assert one.same_as(Geometry.from_spacing((4, 5, 6), (2, 1, 1), (10, 20, 30.04)))
    assert not one.same_as(Geometry.from_spacing((4, 5, 6), (2, 1, 1), (10, 20, 30.1)))
    assert not one.same_as(Geometry.from_spacing((4, 5, 6), (2.02, 1, 1), (10, 20, 30)))
    assert not one.same_as(Geometry.from_spacing((5, 5, 6), (2, 1, 1), (10, 20, 30)))


def test_from_spacing_names_axes():
    made = Geometry.from_spacing((4, 5, 6), (3, 2, 1), (10, 20, 30))
    np.testing.assert_array_equal(made.affine @ [1, 1, 1, 1], [11, 22, 33, 1])
    assert made.origin_mm == (10, 20, 30)
    np.testing.assert_array_equal(made.corners_mm()[-1], [15, 28, 39])


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((0, 1, 1), np.eye(4)),
        ((1, 1), np.eye(4)),
        ((1, 1, 1), np.zeros((4, 4))),
        ((1, 1, 1), np.full((4, 4), np.nan)),
        ((1, 1, 1), np.eye(3)),
    ],
)
def test_impossible_grids_are_refused(shape, affine):
    with pytest.raises(ValueError):
        Geometry(shape, affine)


def test_the_affine_cannot_be_changed_behind_a_grids_back():
    affine = np.eye(4)
    made = Geometry((1, 1, 1), affine)
    affine[0, 3] = 5
    assert made.origin_mm[0] == 0
    with pytest.raises(ValueError):
        made.affine[0, 3] = 5


def test_ras_to_lps_turns_two_axes_and_is_its_own_inverse():
    affine = GRIDS["oblique"].affine
    np.testing.assert_array_equal(
        ras_to_lps(affine) @ [1, 2, 3, 1], affine @ [1, 2, 3, 1] * [-1, -1, 1, 1]
    )
    np.testing.assert_array_equal(ras_to_lps(ras_to_lps(affine)), affine)
