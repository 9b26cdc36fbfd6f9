import json

import numpy as np
import pytest

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import make_phantom
from napari_covseg.quantify.volumes import lesion_sides, measure

SHAPE, SPACING = (20, 60, 100), (5.0, 2.0, 2.0)  # 0.02 ml a voxel


def blocks():
    """Right lung 20x40x30 voxels, left 20x40x20; patient's right is at low x."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 10:50, 10:40] = Label.RIGHT_LUNG
    labels[:, 10:50, 60:80] = Label.LEFT_LUNG
    return labels


def as_map(labels, spacing=SPACING):
    return LabelMap(labels, Geometry.from_spacing(labels.shape, spacing), "case")


def test_volumes_and_percentages_by_side_and_class():
    labels = blocks()
    labels[5, 20:30, 20:30] = Label.GGO  # 100 voxels, right
    labels[6, 20:30, 65:75] = Label.GGO  # 100, left
    labels[6, 30:40, 65:70] = Label.CONSOLIDATION  # 50, left
    found = measure(as_map(labels))
    assert found.voxel_ml == pytest.approx(0.02)
    assert found.right.lung_ml == pytest.approx(20 * 40 * 30 * 0.02)
    assert found.left.lung_ml == pytest.approx(20 * 40 * 20 * 0.02)
    assert found.both.lung_ml == pytest.approx(20 * 40 * 50 * 0.02)
    assert (found.right.ggo_ml, found.right.consolidation_ml) == pytest.approx((2.0, 0.0))
    assert (found.left.ggo_ml, found.left.consolidation_ml) == pytest.approx((2.0, 1.0))
    assert found.both.lesions_ml == pytest.approx(5.0)
    assert found.left.lesions_ml == pytest.approx(3.0)
    assert found.right.ggo_percent == pytest.approx(100 * 100 / 24000)
    assert found.left.ggo_percent == pytest.approx(100 * 100 / 16000)
    assert found.left.consolidation_percent == pytest.approx(100 * 50 / 16000)
    assert found.both.lesions_percent == pytest.approx(100 * 250 / 40000)
    assert found.slice_with_most_lesion == 6
    assert [title for title, _ in found.rows] == ["Right", "Left", "Both"]


def test_mirroring_swaps_sides():
    labels = blocks()
    labels[5, 20:30, 20:30] = Label.GGO
    mirrored = labels[..., ::-1].copy()
    mirrored = np.array([0, 2, 1, 3, 4], np.uint8)[mirrored]
    one, other = measure(as_map(labels)), measure(as_map(mirrored))
    assert one.right == other.left
    assert one.left == other.right
    assert one.right != one.left
    assert one.both == other.both


def test_nothing_has_no_percentages():
    found = measure(as_map(np.zeros(SHAPE, np.uint8)))
    assert found.both.lung_ml == 0.0
    assert found.both.lesions_percent is None
    assert found.slice_with_most_lesion is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_lungs_without_lesions_have_zero_percent():
    found = measure(as_map(blocks()))
    assert found.right.lesions_percent == 0.0
    assert found.slice_with_most_lesion is None


def test_lost_left_lung():
    labels = blocks()
    labels[..., 50:] = 0
    found = measure(as_map(labels))
    assert found.left.lung_ml == 0.0
    assert found.left.ggo_percent is None
    assert found.right.lung_ml == pytest.approx(480.0)


def test_infection_counts_as_lesion_and_ignored_voxels_nowhere():
    labels = blocks()
    labels[5, 20:30, 20:30] = Label.INFECTION
    labels[7, 20:30, 20:30] = Label.IGNORE
    found = measure(as_map(labels))
    assert found.right.lesions_ml == pytest.approx(2.0)
    assert (found.right.ggo_ml, found.right.consolidation_ml) == (0.0, 0.0)
    assert found.right.lung_ml == pytest.approx((24000 - 100) * 0.02)


def test_lung_of_unknown_side_is_told_apart():
    labels = np.where(blocks() > 0, np.uint8(Label.LUNG), np.uint8(0))
    found = measure(as_map(labels))
    assert found.right.lung_ml == pytest.approx(480.0)
    assert found.left.lung_ml == pytest.approx(320.0)


def test_wholly_consolidated_lung_is_on_its_side():
    labels = blocks()
    labels[labels == Label.LEFT_LUNG] = Label.CONSOLIDATION
    labels[8:12, 12:15, 40:60] = Label.RIGHT_LUNG  # the right one reaches over to it
    found = measure(as_map(labels))
    assert found.left.consolidation_ml == pytest.approx(320.0, rel=0.01)
    assert found.right.consolidation_ml == pytest.approx(0.0, abs=3.2)


def test_sides_are_given_for_lesions_only():
    labels = blocks()
    labels[5, 20:30, 20:30] = Label.GGO
    labels[5, 20:30, 65:70] = Label.CONSOLIDATION
    sides = lesion_sides(as_map(labels))
    assert np.array_equal(sides > 0, labels >= Label.GGO)
    assert (sides[5, 20:30, 20:30] == Label.RIGHT_LUNG).all()
    assert (sides[5, 20:30, 65:70] == Label.LEFT_LUNG).all()


def test_lesion_across_coarse_steps_at_fine_spacing():
    labels = np.repeat(np.repeat(blocks(), 3, axis=1), 3, axis=2)
    labels[5, 61, 61] = Label.GGO  # a single voxel, between coarse samples
    labels[5, 61, 200] = Label.GGO
    found = measure(as_map(labels, (5.0, 0.7, 0.7)))
    voxel = found.voxel_ml
    assert found.right.ggo_ml == pytest.approx(voxel)
    assert found.left.ggo_ml == pytest.approx(voxel)


def test_phantom_volumes_are_exact():
    phantom = make_phantom((40, 96, 96), (7.5, 3.7, 3.7))
    found = measure(phantom.labels)
    true = phantom.volumes_ml
    assert found.both.ggo_ml == pytest.approx(true[Label.GGO])
    assert found.both.consolidation_ml == pytest.approx(true[Label.CONSOLIDATION])
    assert found.both.lung_ml == pytest.approx(sum(true.values()))
    lesions = found.left.lesions_ml + found.right.lesions_ml
    assert lesions == pytest.approx(true[Label.GGO] + true[Label.CONSOLIDATION])
    assert found.left.lung_ml > true[Label.LEFT_LUNG]
