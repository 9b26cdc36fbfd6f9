"""Left and right: never swapped, also where lungs touch, one is lost, or the patient is turned."""

import numpy as np
import pytest
from scipy import ndimage

from napari_covseg.domain.labels import Label
from napari_covseg.preprocess.coarse import CoarseGrid
from napari_covseg.preprocess.sides import split_sides

SPACING = (3.0, 3.0, 3.0)
SHAPE = (60, 80, 110)
LEFT, RIGHT = int(Label.LEFT_LUNG), int(Label.RIGHT_LUNG)


def ellipsoid(centre, radii, shape=SHAPE, degrees=0.0):
    """Mask of an ellipsoid, voxels, ``(z, y, x)``, turned about z around the grid's middle."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    turn = np.radians(degrees)
    yc, xc = y - shape[1] / 2, x - shape[2] / 2
    y = np.cos(turn) * yc - np.sin(turn) * xc + shape[1] / 2
    x = np.sin(turn) * yc + np.cos(turn) * xc + shape[2] / 2
    cz, cy, cx = centre
    return ((z - cz) / radii[0]) ** 2 + ((y - cy) / radii[1]) ** 2 + ((x - cx) / radii[2]) ** 2 < 1


def lungs(gap=8, shape=SHAPE, degrees=0.0):
    """Right lung larger than left; ``gap`` voxels between them at the widest place."""
    middle = shape[2] / 2
    right = ellipsoid((32, 40, middle - gap / 2 - 22), (26, 30, 22), shape, degrees)
    left = ellipsoid((28, 40, middle + gap / 2 + 18), (22, 28, 18), shape, degrees)
    return right, left


def expected(right, left):
    truth = np.zeros(right.shape, np.uint8)
    truth[right], truth[left] = RIGHT, LEFT
    return truth


def test_separate_lungs_are_told_apart_exactly():
    right, left = lungs()
    assert np.array_equal(split_sides(right | left, SPACING), expected(right, left))


def test_mirrored_lungs_swap_sides():
    right, left = lungs()
    mirrored = split_sides((right | left)[..., ::-1], SPACING)
    truth = expected(right, left)[..., ::-1]
    assert np.array_equal(mirrored == LEFT, truth == RIGHT)
    assert not np.array_equal(mirrored, truth)


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
def test_turned_patient(degrees):
    right, left = lungs(degrees=degrees)
    assert np.array_equal(split_sides(right | left, SPACING), expected(right, left))


@pytest.mark.parametrize("degrees", [-20, 0, 20])
@pytest.mark.parametrize("rows", [slice(10, 14), slice(62, 68), slice(36, 44)])
def test_lungs_that_touch(rows, degrees):
    """A bridge in front, behind or in the middle is cut; at most its own voxels are in doubt."""
    right, left = lungs(degrees=degrees)
    bridge = np.zeros(SHAPE, bool)
    bridge[20:45, rows, 30:80] = True
    bridge &= ~(right | left)
    # Only what lies between the lungs, so that they touch along it.
    hull = ndimage.binary_closing(np.pad(right | left, 15), iterations=12)[15:-15, 15:-15, 15:-15]
    bridge &= hull
    sides = split_sides(right | left | bridge, SPACING)
    truth = expected(right, left)
    wrong = (sides != truth) & (truth > 0)
    assert wrong.sum() <= 0.002 * (truth > 0).sum()
    assert np.array_equal(sides > 0, right | left | bridge)


def test_lungs_that_overlap_broadly_in_front():
    """Hyperinflated lungs that meet along a long anterior junction."""
    right, left = lungs(gap=-4)
    right &= ~left
    sides = split_sides(right | left, SPACING)
    truth = expected(right, left)
    assert ((sides != truth) & (truth > 0)).sum() <= 0.02 * (truth > 0).sum()


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_lone_lung_takes_its_side_from_the_soft_tissue(side):
    right, left = lungs()
    lung = left if side == LEFT else right
    body = ellipsoid((30, 40, 55), (200, 38, 52))
    sides = split_sides(lung, SPACING, tissue=body & ~lung)
    assert np.unique(sides[lung]).tolist() == [side]


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_herniated_lone_lung_stays_whole(side):
    """After pneumonectomy the other lung reaches far across the midline."""
    right, left = lungs()
    lung = (right if side == RIGHT else left) | ellipsoid((32, 26, 55), (18, 12, 26))
    body = ellipsoid((30, 40, 55), (200, 38, 52))
    sides = split_sides(lung, SPACING, tissue=body & ~lung)
    assert np.unique(sides[lung]).tolist() == [side]


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_lone_lung_in_a_field_of_view_that_shows_little_else(side):
    """A targeted reconstruction: the mediastinum at its medial edge tells the side."""
    lung = ellipsoid((32, 40, 25), (26, 30, 18), (60, 80, 56))
    lung &= ~ellipsoid((32, 40, 45), (8, 10, 12), (60, 80, 56))  # hilum
    tissue = ~lung
    tissue[:, :, :5] = False  # little chest wall at the lateral edge
    if side == LEFT:
        lung, tissue = lung[..., ::-1], tissue[..., ::-1]
    sides = split_sides(lung, SPACING, tissue=tissue)
    assert np.unique(sides[lung]).tolist() == [side]


def test_small_remnant_of_an_opaque_lung_keeps_its_side():
    right, _ = lungs()
    remnant = ellipsoid((45, 40, 80), (8, 8, 8))
    sides = split_sides(right | remnant, SPACING)
    assert np.unique(sides[remnant]).tolist() == [LEFT]
    assert np.unique(sides[right]).tolist() == [RIGHT]


def test_small_remnant_that_touches_the_other_lung_keeps_its_side():
    right, _ = lungs()
    remnant = ellipsoid((38, 40, 82), (14, 14, 12))
    bridge = np.zeros(SHAPE, bool)
    bridge[35:40, 39:42, 45:75] = True
    body = ellipsoid((30, 40, 55), (200, 38, 52))
    lung = right | remnant | bridge
    sides = split_sides(lung, SPACING, tissue=body & ~lung)
    assert (sides[remnant] == LEFT).mean() > 0.98
    assert (sides[right] == RIGHT).mean() > 0.999


@pytest.mark.parametrize("z", [12, 32, 50])
def test_single_slice(z):
    right, left = (mask[z : z + 1] for mask in lungs())
    assert np.array_equal(split_sides(right | left, SPACING), expected(right, left))


def test_single_slice_with_touching_lungs():
    right, left = (mask[30:31] for mask in lungs())
    lung = right | left
    lung[0, 20:24, 35:75] = True
    sides = split_sides(lung, SPACING)
    truth = expected(right, left)
    assert ((sides != truth) & (truth > 0)).sum() <= 0.01 * (truth > 0).sum()


def test_known_sides_are_kept_and_spread_to_the_rest():
    right, left = lungs()
    bridge = np.zeros(SHAPE, bool)
    bridge[20:40, 10:14, 35:75] = True
    lesion = ellipsoid((28, 45, 80), (10, 10, 10)) & left
    known = expected(right, left)
    known[lesion] = 0
    lung = right | left | bridge
    sides = split_sides(lung, SPACING, known=known)
    assert np.array_equal(sides[known > 0], known[known > 0])
    assert np.unique(sides[lesion]).tolist() == [LEFT]


def test_wholly_consolidated_lung_that_touches_the_aerated_one():
    """No voxel of the left lung is known: it must not become right."""
    right, left = lungs()
    bridge = np.zeros(SHAPE, bool)
    bridge[20:40, 60:64, 40:70] = True
    known = np.where(right, np.uint8(RIGHT), np.uint8(0))
    sides = split_sides(right | left | bridge, SPACING, known=known)
    assert (sides[left] == LEFT).mean() > 0.995


def test_nothing_gives_nothing():
    assert not split_sides(np.zeros(SHAPE, bool), SPACING).any()


def test_same_input_same_output():
    right, left = lungs(gap=-4)
    once, again = (split_sides(right | left, SPACING) for _ in range(2))
    assert np.array_equal(once, again)


def test_coarse_grid_maps_back_to_the_voxel_it_came_from():
    grid = CoarseGrid.of((7, 20, 21), (1.0, 0.7, 0.7))
    assert grid.steps == (3, 4, 4)
    full = np.arange(7 * 20 * 21).reshape(7, 20, 21)
    coarse = grid.take(full)
    assert coarse.shape == (2, 5, 5)
    assert coarse[0, 0, 0] == full[1, 2, 2]
    for z in range(7):
        plane = grid.slice_of(coarse, z)
        assert plane.shape == (20, 21)
        assert plane[2, 2] == coarse[min(z // 3, 1), 0, 0]
    assert grid.full_spacing_mm == pytest.approx((1.0, 0.7, 0.7))


def test_coarse_grid_keeps_thick_slices():
    assert CoarseGrid.of((30, 64, 64), (8.0, 5.0, 5.0)).steps == (1, 1, 1)
    assert CoarseGrid.of((1, 512, 512), (1.0, 0.7, 0.7)).steps == (1, 4, 4)
