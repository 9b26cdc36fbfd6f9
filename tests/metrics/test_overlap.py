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


def triple(counts):
    """Both, predicted only, reference only."""
    return (counts.both, counts.predicted_only, counts.reference_only)


@pytest.mark.parametrize("seed", range(4))
def test_figures_agree_with_monai(seed):
    torch = pytest.importorskip("torch")
    from monai.metrics import (
        compute_confusion_matrix_metric,
        compute_dice,
        compute_iou,
        get_confusion_matrix,
    )

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
        confusion = get_confusion_matrix(predicted, expected)
        tp, fp, tn, fn = confusion.reshape(-1).tolist()
        assert (*triple(ours), ours.neither) == (tp, fp, fn, tn)
        for figure in ("sensitivity", "specificity", "precision", "accuracy"):
            theirs = float(compute_confusion_matrix_metric(figure, confusion))
            assert getattr(ours, figure) == pytest.approx(theirs, abs=1e-6), figure


def test_figures_by_hand():
    counts = Counts(both=6, predicted_only=2, reference_only=4, neither=18)
    assert counts.dice == pytest.approx(12 / 18)
    assert counts.iou == pytest.approx(0.5)
    assert counts.sensitivity == pytest.approx(0.6)
    assert counts.precision == pytest.approx(0.75)
    assert counts.specificity == pytest.approx(18 / 20)
    assert counts.accuracy == pytest.approx(24 / 30)
    assert counts + counts == Counts(12, 4, 8, 36)
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
    assert math.isnan(Counts(3, 0, 4).specificity)
    assert math.isnan(empty.accuracy)
    assert (Counts(0, 0, 0, 9).specificity, Counts(0, 0, 0, 9).accuracy) == (1, 1)


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
    assert triple(counts["lung"]) == (10, 1, 1)


def test_ignored_voxels_leave_every_count():
    without = counts_of((1, 1, 5), (3, 3, 4), (4, 4, 2), (2, 2, 3))
    for ignored in ((3, 7, 50), (7, 3, 50), (0, 7, 9), (7, 7, 1)):
        assert counts_of((1, 1, 5), (3, 3, 4), (4, 4, 2), (2, 2, 3), ignored) == without


def test_the_counts_add_up_to_the_voxels_that_are_known():
    pairs = ((1, 1, 5), (3, 3, 4), (0, 3, 2), (0, 0, 6), (5, 3, 3), (3, 5, 8), (4, 0, 1), (0, 7, 9))
    counts = counts_of(*pairs)
    assert (*triple(counts["infection"]), counts["infection"].neither) == (15, 1, 2, 11)
    # Infection of unknown kind, in either map, says nothing about GGO.
    assert (*triple(counts["ggo"]), counts["ggo"].neither) == (4, 0, 2, 12)


def test_infection_of_unknown_kind_counts_as_infection_only():
    known = ((3, 3, 4), (4, 3, 1), (4, 4, 2), (6, 6, 5))
    plain = counts_of(*known)
    more = counts_of(*known, (3, 5, 7), (0, 5, 2), (5, 4, 3))
    assert more["ggo"] == plain["ggo"]
    assert more["consolidation"] == plain["consolidation"]
    assert triple(more["infection"]) == (7 + 10, 0, 2)


def test_a_reference_that_knows_no_kind_gives_ggo_no_value():
    counts = counts_of((3, 5, 7), (4, 0, 7), (3, 0, 7), (1, 6, 9))
    assert counts["ggo"] is None
    assert counts["consolidation"] is None
    assert triple(counts["infection"]) == (7, 14, 0)


def test_a_reference_without_any_lesion_blames_false_ones():
    counts = counts_of((3, 1, 7), (1, 1, 9))
    assert triple(counts["ggo"]) == (0, 7, 0)
    assert counts["consolidation"].both_empty


def test_sides_count_only_where_both_maps_know_them():
    counts = counts_of((1, 1, 10), (2, 1, 3), (2, 2, 8), (1, 6, 4), (3, 1, 2), (1, 3, 5), (1, 0, 1))
    assert triple(counts["left_lung"]) == (10, 1, 3)
    assert triple(counts["right_lung"]) == (8, 3, 0)


def test_lungs_without_side_give_sides_no_value():
    counts = counts_of((1, 6, 10), (2, 6, 10), (1, 0, 2))
    assert counts["left_lung"] is None
    assert counts["right_lung"] is None
    assert triple(counts["lung"]) == (20, 2, 0)


def test_a_reference_of_lesions_only_gives_lungs_no_value():
    pairs = ((1, 0, 30), (3, 3, 5), (0, 4, 1))
    found_out = counts_of(*pairs)
    assert [found_out[name] for name in ("lung", "left_lung", "right_lung")] == [None] * 3
    assert triple(found_out["ggo"]) == (5, 0, 0)
    assert triple(counts_of(*pairs, lung_masks=True)["lung"]) == (5, 30, 1)
    told = counts_of((1, 1, 30), (3, 3, 5), lung_masks=False)
    assert told["lung"] is None
    assert triple(told["infection"]) == (5, 0, 0)


def test_all_classes_are_there():
    assert list(counts_of((0, 0, 1))) == NAMES
    assert NAMES == ["lung", "infection", "ggo", "consolidation", "left_lung", "right_lung"]
