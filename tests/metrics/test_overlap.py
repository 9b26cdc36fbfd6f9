"""Overlap against MONAI and by hand; what is not known is not counted."""

import math

import numpy as np
import pytest

from napari_covseg.domain.labels import LESION_LABELS, LUNG_LABELS, Label
from napari_covseg.metrics.overlap import CLASSES, Counts, count_classes, joint_histogram

NAMES = [one.name for one in CLASSES]


def maps(*pairs):
    """Prediction and reference from (predicted, expected, how many voxels)."""
    predicted = np.concatenate([np.full(n, p) for p, _, n in pairs])
    expected = np.concatenate([np.full(n, e) for _, e, n in pairs])
    return predicted.astype(np.uint8)[None, None], expected.astype(np.uint8)[None, None]


def counts_of(*pairs, **kwargs):
    return count_classes(joint_histogram(*maps(*pairs)), **kwargs)


@pytest.mark.parametrize("seed", range(4))
def test_figures_agree_with_monai(seed):
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_dice, compute_iou, get_confusion_matrix

    rng = np.random.default_rng(seed)
    prediction, reference = rng.integers(0, 5, (2, 6, 7, 8)).astype(np.uint8)
    counted = count_classes(joint_histogram(prediction, reference))
    groups = {
        "lung": LUNG_LABELS,
        "infection": LESION_LABELS,
        "ggo": (Label.GGO,),
        "consolidation": (Label.CONSOLIDATION,),
    }
    for name, labels in groups.items():
        predicted, expected = (
            torch.from_numpy(np.isin(array, labels)[None, None]).float()
            for array in (prediction, reference)
        )
        ours = counted[name]
        assert ours.dice == pytest.approx(float(compute_dice(predicted, expected)), abs=1e-6)
        assert ours.iou == pytest.approx(float(compute_iou(predicted, expected)), abs=1e-6)
        tp, fp, _, fn = get_confusion_matrix(predicted, expected).reshape(-1).tolist()
        assert (ours.both, ours.predicted_only, ours.reference_only) == (tp, fp, fn)
        assert ours.sensitivity == pytest.approx(tp / (tp + fn))
        assert ours.precision == pytest.approx(tp / (tp + fp))


def test_figures_by_hand():
    counts = Counts(both=6, predicted_only=2, reference_only=4)
    assert counts.dice == pytest.approx(12 / 18)
    assert counts.iou == pytest.approx(0.5)
    assert counts.sensitivity == pytest.approx(0.6)
    assert counts.precision == pytest.approx(0.75)
    assert counts + counts == Counts(12, 4, 8)
    assert not counts.both_empty


def test_empty_is_no_value_and_missed_is_zero():
    empty = Counts(0, 0, 0)
    assert empty.both_empty
    assert all(map(math.isnan, (empty.dice, empty.iou, empty.sensitivity, empty.precision)))
    missed = Counts(0, 0, 5)
    assert (missed.dice, missed.iou, missed.sensitivity) == (0, 0, 0)
    assert math.isnan(missed.precision)
    invented = Counts(0, 5, 0)
    assert (invented.dice, invented.precision) == (0, 0)
    assert math.isnan(invented.sensitivity)


def test_the_histogram_counts_pairs():
    histogram = joint_histogram(*maps((1, 1, 3), (1, 3, 2), (0, 7, 4)))
    assert histogram[1, 1] == 3
    assert histogram[1, 3] == 2
    assert histogram[0, 7] == 4
    assert histogram.sum() == 9


def test_the_histogram_refuses_other_shapes_and_values():
    with pytest.raises(ValueError, match="shapes differ"):
        joint_histogram(np.zeros((1, 2, 3), np.uint8), np.zeros((1, 3, 2), np.uint8))
    with pytest.raises(ValueError, match="0 to 7"):
        joint_histogram(np.full((1, 2, 3), 8, np.uint8), np.zeros((1, 2, 3), np.uint8))


def test_lung_means_lesions_included():
    counts = counts_of((1, 3, 5), (4, 2, 5), (0, 6, 1), (2, 0, 1))
    assert counts["lung"] == Counts(both=10, predicted_only=1, reference_only=1)


def test_ignored_voxels_leave_every_count():
    without = counts_of((1, 1, 5), (3, 3, 4), (4, 4, 2), (2, 2, 3))
    for ignored in ((3, 7, 50), (7, 3, 50), (0, 7, 9), (7, 7, 1)):
        assert counts_of((1, 1, 5), (3, 3, 4), (4, 4, 2), (2, 2, 3), ignored) == without


def test_infection_of_unknown_kind_counts_as_infection_only():
    known = ((3, 3, 4), (4, 3, 1), (4, 4, 2), (6, 6, 5))
    plain = counts_of(*known)
    more = counts_of(*known, (3, 5, 7), (0, 5, 2), (5, 4, 3))
    assert more["ggo"] == plain["ggo"]
    assert more["consolidation"] == plain["consolidation"]
    assert more["infection"] == Counts(7 + 10, 0, 2)


def test_a_reference_that_knows_no_kind_gives_ggo_no_value():
    counts = counts_of((3, 5, 7), (4, 0, 7), (3, 0, 7), (1, 6, 9))
    assert counts["ggo"] is None
    assert counts["consolidation"] is None
    assert counts["infection"] == Counts(7, 14, 0)


def test_a_reference_without_any_lesion_blames_false_ones():
    counts = counts_of((3, 1, 7), (1, 1, 9))
    assert counts["ggo"] == Counts(0, 7, 0)
    assert counts["consolidation"].both_empty


def test_sides_count_only_where_both_maps_know_them():
    counts = counts_of((1, 1, 10), (2, 1, 3), (2, 2, 8), (1, 6, 4), (3, 1, 2), (1, 3, 5), (1, 0, 1))
    assert counts["left_lung"] == Counts(both=10, predicted_only=1, reference_only=3)
    assert counts["right_lung"] == Counts(both=8, predicted_only=3, reference_only=0)


def test_lungs_without_side_give_sides_no_value():
    counts = counts_of((1, 6, 10), (2, 6, 10), (1, 0, 2))
    assert counts["left_lung"] is None
    assert counts["right_lung"] is None
    assert counts["lung"] == Counts(20, 2, 0)


def test_a_reference_of_lesions_only_gives_lungs_no_value():
    pairs = ((1, 0, 30), (3, 3, 5), (0, 4, 1))
    found_out = counts_of(*pairs)
    assert [found_out[name] for name in ("lung", "left_lung", "right_lung")] == [None] * 3
    assert found_out["ggo"] == Counts(5, 0, 0)
    assert counts_of(*pairs, lung_masks=True)["lung"] == Counts(5, 30, 1)
    told = counts_of((1, 1, 30), (3, 3, 5), lung_masks=False)
    assert told["lung"] is None
    assert told["infection"] == Counts(5, 0, 0)


def test_all_classes_are_there():
    assert list(counts_of((0, 0, 1))) == NAMES
    assert NAMES == ["lung", "infection", "ggo", "consolidation", "left_lung", "right_lung"]
