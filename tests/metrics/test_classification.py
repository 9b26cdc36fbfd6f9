import numpy as np
import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.metrics.classification import (
    auc,
    calibration,
    entropy,
    figures,
    risk_coverage,
)

P = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.55, 0.45]])
Y = np.array([0, 0, 1, 0, 1])


def test_figures_of_a_positive_class_by_hand():
    found = figures(P, Y, positive=1)
    # Said 1: pictures 2 and 3, of which 2 is; of the two that are, one is found.
    assert found.accuracy == pytest.approx(3 / 5)
    assert (found.recall, found.precision) == (0.5, 0.5)
    assert found.specificity == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(0.5)
    # Of 6 pairs, 0.7 and 0.45 beat 0.1 and 0.4; 0.8 beats both.
    assert found.auc == pytest.approx(4 / 6)
    assert figures(P, Y, positive=0).recall != found.recall


def test_figures_agree_with_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), 200).round(2)
    p /= p.sum(axis=1, keepdims=True)
    y = rng.integers(0, 3, 200)
    found, said = figures(p, y), p.argmax(axis=1)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(y, said))
    assert found.f1 == pytest.approx(metrics.f1_score(y, said, average="macro"))
    assert found.recall == pytest.approx(metrics.recall_score(y, said, average="macro"))
    assert found.precision == pytest.approx(metrics.precision_score(y, said, average="macro"))
    assert found.auc == pytest.approx(metrics.roc_auc_score(y, p, multi_class="ovr"))


def test_auc_of_ties_and_of_one_side():
    assert auc(np.array([1.0, 1.0, 1.0]), np.array([True, False, False])) == 0.5
    assert auc(np.array([2.0, 1.0]), np.array([True, False])) == 1
    assert np.isnan(auc(np.array([2.0, 1.0]), np.array([True, True])))


def test_entropy_has_its_minus_sign():
    assert entropy(np.array([[1.0, 0.0]])) == pytest.approx([0])
    assert entropy(np.array([[0.5, 0.5]])) == pytest.approx([np.log(2)])
    assert entropy(np.array([[0.6, 0.4]])) == pytest.approx([0.6730117])
    assert entropy(np.full((1, 4), 0.25)) == pytest.approx([np.log(4)])


def test_risk_falls_with_an_uncertainty_that_knows():
    wrong = P.argmax(axis=1) != Y
    knows = risk_coverage(P, Y, wrong.astype(float))
    assert knows.risk.tolist() == pytest.approx([0, 0, 0, 1 / 4, 2 / 5])
    assert knows.coverage.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert risk_coverage(P, Y, np.zeros(5)).risk == pytest.approx(np.full(5, 2 / 5))
    assert risk_coverage(P, Y, -wrong.astype(float)).area > knows.area


def test_calibration_by_hand():
    found = calibration(P, Y, bins=2)
    assert found.counts.tolist() == [5]
    assert found.stated == pytest.approx([0.71])
    assert found.right == pytest.approx([0.6])
    assert found.error == pytest.approx(0.11)
    finer = calibration(P, Y)
    assert finer.counts.sum() == 5
    assert finer.error > found.error


def test_wrong_shapes_are_told():
    with pytest.raises(InputError, match="expected probabilities"):
        figures(P, Y[:-1])
    with pytest.raises(InputError):
        figures(P[:0], Y[:0])
