"""Values of one grid on another, through a known affine transform and a known bend."""

import numpy as np
import pytest
from grids import GRIDS, hu_at, positions
from two_scans import affine

from napari_covseg.domain.geometry import Geometry
from napari_covseg.quantify.mapping import Carrier, Mapping, carry_values

MOVED = affine((5, -8, 12), (1.1, 0.9, 1.05), (4, -2, 7))


def _around(geometry, matrix, spacing=2.0, margin=20.0):
    """A plain grid that holds where ``matrix`` takes another."""
    corners = geometry.corners_mm() @ matrix[:3, :3].T + matrix[:3, 3]
    low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    x, y, z = (int(n) for n in np.ceil((high - low) / spacing))
    return Geometry.from_spacing((z, y, x), (spacing,) * 3, tuple(low))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_a_linear_field_is_carried_exactly(name, kind):
    current = GRIDS[name]
    prior = _around(current, MOVED)
    exact = hu_at(positions(prior))
    values = (exact if kind is np.float32 else np.rint(exact)).astype(kind)
    carried = carry_values(values, prior, current, Mapping(MOVED), fill=-1024)
    points = positions(current) @ MOVED[:3, :3].T + MOVED[:3, 3]
    assert np.abs(carried - hu_at(points)).max() < (0.01 if kind is np.float32 else 1.01)


def test_a_bend_is_carried_too_and_is_not_the_affine_alone():
    current = GRIDS["oblique"]
    prior = _around(current, MOVED)
    grid = _around(current, np.eye(4), spacing=4.0)
    field = np.zeros((*grid.shape, 3), np.float32)
    field[..., 0] = 0.1 * (positions(grid)[..., 2] - 5.0)
    field[..., 1] = 3.0
    mapping = Mapping(MOVED, field, grid)
    lps = positions(current)
    points = lps @ MOVED[:3, :3].T + MOVED[:3, 3]
    points = points + np.stack(
        [0.1 * (lps[..., 2] - 5.0), np.full(lps.shape[:-1], 3.0), np.zeros(lps.shape[:-1])], axis=-1
    )
    assert np.allclose(mapping.points(lps), points, atol=1e-3)
    values = hu_at(positions(prior)).astype(np.float32)
    carried = carry_values(values, prior, current, mapping, fill=-1024)
    assert np.abs(carried - hu_at(points)).max() < 0.05
    straight = carry_values(values, prior, current, Mapping(MOVED), fill=-1024)
    assert np.abs(straight - hu_at(points)).max() > 5


@pytest.mark.parametrize("name", GRIDS)
def test_the_nearest_voxel_is_the_nearest(name):
    prior = GRIDS[name]
    current = Geometry.from_spacing((9, 10, 11), (2.0, 2.0, 2.0), tuple(prior.corners_mm().mean(0)))
    carrier = Carrier(Mapping(np.eye(4)), prior, current)
    places = positions(prior).reshape(-1, 3)
    seen = 0
    for z in range(9):
        index, inside = carrier.nearest(z)
        wanted = positions(current)[z][inside]
        away = np.linalg.norm(places[index[inside]] - wanted, axis=1)
        seen += len(away)
        if len(away):
            assert away.max() <= np.linalg.norm(prior.spacing_mm) / 2 + 1e-3
    assert seen > 20


def test_beyond_the_prior_image_is_the_fill_and_not_inside():
    prior = Geometry.from_spacing((4, 4, 4), (2.0, 2.0, 2.0))
    current = Geometry.from_spacing((1, 1, 6), (2.0, 2.0, 2.0), (-2.0, 2.0, 2.0))
    values = np.full((4, 4, 4), 50, np.int16)
    carried = carry_values(values, prior, current, Mapping(np.eye(4)), fill=-1024)
    assert carried[0, 0].tolist() == [-1024, 50, 50, 50, 50, -1024]
    inside = Carrier(Mapping(np.eye(4)), prior, current).nearest(0)[1]
    assert inside[0].tolist() == [False, True, True, True, True, False]


def test_back_undoes_the_affine_part():
    points = np.array([[1.0, 2.0, 3.0], [-40.0, 12.0, 90.0]])
    mapping = Mapping(MOVED)
    assert np.allclose(mapping.back(mapping.points(points)), points)
    assert mapping.volume_factor == pytest.approx(1.1 * 0.9 * 1.05)
