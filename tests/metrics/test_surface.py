"""Surface distances against MONAI and by hand; what is not known is no border."""

import math

import numpy as np
import pytest
from scipy import ndimage

from napari_covseg.domain.labels import Label
from napari_covseg.metrics.overlap import CLASSES
from napari_covseg.metrics.surface import class_distances, surface_distances

SPACING = (2.5, 0.7, 1.3)


def blobs(seed, shape, level=0.0):
    """A random mask of smooth blobs, and a disturbed copy, both clear of the array's border."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    other = noise + 0.5 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    inner = np.zeros(shape, dtype=bool)
    inner[(slice(1, -1),) * len(shape)] = True
    return (other > level) & inner, (noise > level) & inner


def box(shape, *sides):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def monai_figures(prediction, reference, spacing, tolerance, percentile=95):
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    both = [torch.from_numpy(mask[None, None]) for mask in (prediction, reference)]
    fixed = {"include_background": True, "spacing": list(spacing)}
    far = compute_hausdorff_distance(*both, percentile=percentile, **fixed)
    near = compute_surface_dice(*(one.float() for one in both), [tolerance], **fixed)
    return float(far), float(near)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(14, 20, 17), (30, 41)])
def test_figures_agree_with_monai(seed, shape):
    prediction, reference = blobs(seed, shape)
    spacing = SPACING[-len(shape) :]
    found = surface_distances(prediction, reference, spacing)
    for tolerance in (1.0, 2.0):
        far, near = monai_figures(prediction, reference, spacing, tolerance)
        assert found.hausdorff_mm() == pytest.approx(far, rel=1e-5)
        assert found.dice(tolerance) == pytest.approx(near, abs=1e-6)
    farthest, _ = monai_figures(prediction, reference, spacing, 1.0, percentile=None)
    assert found.hausdorff_mm(100) == pytest.approx(farthest, rel=1e-5)
    assert found.hausdorff_mm(100) > found.hausdorff_mm()
    swapped = surface_distances(reference, prediction, spacing)
    assert swapped.hausdorff_mm() == found.hausdorff_mm()


def test_noise_agrees_with_monai():
    rng = np.random.default_rng(7)
    prediction, reference = np.pad(rng.random((2, 6, 9, 8)) < 0.2, ((0, 0), *[(1, 1)] * 3))
    found = surface_distances(prediction, reference, SPACING)
    far, near = monai_figures(prediction, reference, SPACING, 1.5)
    assert found.hausdorff_mm() == pytest.approx(far, rel=1e-5)
    assert found.dice(1.5) == pytest.approx(near, abs=1e-6)


@pytest.mark.parametrize("axis", range(3))
def test_a_shift_is_as_far_as_the_spacing_says(axis):
    one = box((12, 12, 12), (3, 8), (3, 8), (3, 8))
    found = surface_distances(np.roll(one, 2, axis), one, SPACING)
    assert found.hausdorff_mm(100) == pytest.approx(2 * SPACING[axis])
    assert found.dice(2 * SPACING[axis]) == 1
    assert found.dice(1.9 * SPACING[axis]) < 1


def test_the_whole_distribution_by_hand():
    """Two squares, one a pixel wider: its far column is 2 mm away, all else coincides."""
    narrow, wide = box((9, 9), (2, 5), (2, 5)), box((9, 9), (2, 5), (2, 6))
    found = surface_distances(wide, narrow, (1.0, 2.0))
    assert sorted(found.from_prediction) == [0] * 7 + [2] * 3
    assert sorted(found.from_reference) == [0] * 7 + [1.0]
    assert found.dice(0) == pytest.approx(14 / 18)
    assert found.dice(1) == pytest.approx(15 / 18)


def test_a_spacing_rounded_in_its_file_still_reaches_the_tolerance():
    one = box((1, 40), (0, 1), (5, 9))
    found = surface_distances(np.roll(one, 5, axis=1), one, (1.0, float(np.float32(0.4))))
    assert found.from_prediction.max() > 2
    assert found.dice(2.0) == 1


def test_both_empty_has_no_value_and_one_empty_the_worst():
    nothing, something = np.zeros((4, 5, 6), bool), box((4, 5, 6), (1, 3), (1, 3), (1, 3))
    both = surface_distances(nothing, nothing, SPACING)
    assert both.both_empty
    assert math.isnan(both.hausdorff_mm())
    assert math.isnan(both.dice(2))
    for pair in ((nothing, something), (something, nothing)):
        one = surface_distances(*pair, SPACING)
        assert not one.both_empty
        assert one.hausdorff_mm() == math.inf
        assert one.dice(1000) == 0


def test_the_same_mask_is_nowhere_apart():
    one, other = blobs(5, (10, 12, 11))
    same = surface_distances(one, one, SPACING)
    assert (same.hausdorff_mm(100), same.dice(0)) == (0, 1)
    assert surface_distances(one, other, SPACING).dice(0) < 1


def test_a_cut_through_ignored_voxels_is_no_surface():
    """Beyond column 8 nothing is known: a border that runs there counts for neither mask."""
    reference, prediction = box((14, 16), (3, 11), (3, 8)), box((14, 16), (3, 11), (3, 14))
    known = box((14, 16), (0, 14), (0, 8))
    found = surface_distances(prediction, reference, (1.0, 1.0), known)
    assert found.hausdorff_mm(100) == 0
    # Three sides of 8 + 5 + 5 voxels that share two corners.
    assert found.from_reference.size == found.from_prediction.size == 16
    assert surface_distances(prediction, reference, (1.0, 1.0)).hausdorff_mm() > 5


def test_a_mask_that_ends_only_in_the_unknown_has_no_surface():
    one = box((8, 8), (2, 6), (2, 6))
    assert surface_distances(one, one, (1, 1), known=one).both_empty
    seen = surface_distances(one, np.zeros_like(one), (1, 1), box((8, 8), (2, 7), (2, 6)))
    assert seen.from_prediction.tolist() == [math.inf] * 4


def test_the_end_of_the_image_is_no_surface():
    """Unlike MONAI, where a lung that the field of view cuts ends at the cut."""
    one, other = box((6, 10, 10), (0, 6), (3, 7), (0, 7)), box((6, 10, 10), (0, 6), (3, 7), (0, 8))
    found = surface_distances(one, other, (9.0, 1.0, 1.0))
    # In each of the six planes 7 + 7 + 4 pixels that share two corners: no end in z or at x = 0.
    assert found.from_prediction.size == 6 * 16
    padded = [np.pad(mask, 1) for mask in (one, other)]
    assert surface_distances(*padded, (9.0, 1.0, 1.0)).from_prediction.size > 6 * 16


def test_a_single_slice_is_measured_in_its_plane():
    prediction, reference = blobs(2, (30, 40))
    flat = surface_distances(prediction, reference, (0.8, 1.1))
    slice_of_one = surface_distances(prediction[None], reference[None], (5.0, 0.8, 1.1))
    assert slice_of_one.hausdorff_mm() == flat.hausdorff_mm() > 0
    assert slice_of_one.from_prediction.size == flat.from_prediction.size


def test_wrong_calls_are_refused():
    one = np.zeros((3, 4, 5), bool)
    with pytest.raises(ValueError, match="shapes differ"):
        surface_distances(one, one[:2], SPACING)
    with pytest.raises(ValueError, match="shapes differ"):
        surface_distances(one, one, SPACING, known=one[:2])
    with pytest.raises(ValueError, match="expected 3 positive spacings"):
        surface_distances(one, one, (1.0, 1.0))
    with pytest.raises(ValueError, match="expected 3 positive spacings"):
        surface_distances(one, one, (1.0, 0.0, 1.0))


def test_classes_are_measured_on_their_own_voxels():
    reference = np.zeros((8, 20, 20), np.uint8)
    reference[1:7, 3:17, 3:17] = Label.LEFT_LUNG
    reference[2:5, 5:9, 5:9] = Label.GGO
    prediction = reference.copy()
    prediction[2:5, 5:9, 9:11] = Label.GGO
    found = dict(class_distances(prediction, reference, SPACING))
    assert list(found) == [one.name for one in CLASSES]
    assert found["lung"].hausdorff_mm(100) == 0
    assert found["lung"].from_reference.size > 0
    assert found["ggo"].hausdorff_mm(100) == pytest.approx(2 * 1.3)
    assert found["infection"].hausdorff_mm(100) == found["ggo"].hausdorff_mm(100)
    alone = surface_distances(prediction == Label.GGO, reference == Label.GGO, SPACING)
    assert np.array_equal(found["ggo"].from_prediction, alone.from_prediction)
    assert found["consolidation"].both_empty
    # A lesion's side is not in its label, so neither lung borders on it.
    assert found["left_lung"].hausdorff_mm(100) == 0
    assert found["right_lung"].both_empty


def test_lesions_of_unknown_kind_are_no_border_of_ggo():
    reference = np.zeros((4, 12, 12), np.uint8)
    reference[1:3, 2:6, 2:6] = Label.GGO
    reference[1:3, 2:6, 6:10] = Label.INFECTION
    prediction = np.where(reference > 0, np.uint8(Label.GGO), np.uint8(0))
    found = dict(class_distances(prediction, reference, SPACING))
    assert found["ggo"].hausdorff_mm(100) == 0
    assert found["infection"].hausdorff_mm(100) == 0
    reference[reference == Label.INFECTION] = Label.CONSOLIDATION
    assert dict(class_distances(prediction, reference, SPACING))["ggo"].hausdorff_mm() > 1


def test_maps_without_any_class_have_no_surface():
    nothing = np.full((3, 4, 5), Label.IGNORE, np.uint8)
    assert all(one.both_empty for _, one in class_distances(nothing, nothing * 0, SPACING))
