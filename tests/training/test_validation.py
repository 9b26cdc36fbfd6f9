from dataclasses import dataclass

import numpy as np
import pytest

from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.training.dataset import NO_LESION
from napari_covseg.training.rates import RateRule
from napari_covseg.training.schedules import Preset
from napari_covseg.training.validation import class_counts, validate

# Codes: 0 background, 3 GGO, 4 consolidation, 5 infection, 6 lung, 7 ignore. Classes: 0 to 3.


def counts(classes, codes):
    return class_counts(np.array(classes, np.uint8), np.array(codes, np.uint8))


def test_counts_of_full_labels():
    found = counts([0, 1, 2, 3, 2, 0, 3], [0, 6, 3, 3, 4, 6, 7])
    assert found["lung"] == (4, 0, 1)
    assert found["infection"] == (3, 0, 0)
    assert found["ggo"] == (1, 1, 1)
    assert found["consolidation"] == (0, 1, 1)


def test_infection_of_unknown_class():
    found = counts([2, 3, 1, 3], [5, 5, 5, 6])
    assert found["infection"] == (2, 1, 1)
    assert found["ggo"] is None
    assert counts([2, 3, 3], [5, 3, 6])["ggo"] == (0, 0, 1)


def test_slices_without_lung_marks():
    found = counts([0, 1, 2, 2], [NO_LESION, NO_LESION, 3, NO_LESION])
    assert found["lung"] is None
    assert found["infection"] == (1, 1, 0)


@dataclass
class Case:
    name: str
    patient: str
    codes: np.ndarray
    classes: np.ndarray


def test_patients_count_once():
    cases = [
        Case("a1", "a", np.array([3, 3, 6], np.uint8), np.array([2, 2, 1], np.uint8)),
        Case("a2", "a", np.array([3, 3, 6], np.uint8), np.array([1, 1, 1], np.uint8)),
        Case("b", "b", np.array([3, 6, 6], np.uint8), np.array([2, 2, 1], np.uint8)),
        Case("c", "c", np.array([5, 6, 0], np.uint8), np.array([3, 1, 0], np.uint8)),
    ]

    def predict(network, case):
        yield Progress(0, 1, "looking")
        return case.classes

    figures = run_to_end(validate(None, cases, predict)).figures
    ggo = figures["ggo"]
    assert ggo.mean == pytest.approx((0.5 + 2 / 3) / 2)
    assert (ggo.patients, ggo.cases) == (2, 3)
    assert ggo.pooled == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))
    assert figures["infection"].patients == 3
    assert figures["consolidation"].mean is None


def test_the_best_epoch_is_scored_over_what_the_references_hold():
    codes = {"a": np.array([3, 3, 6, 0], np.uint8), "b": np.array([6, 6, 6, 0], np.uint8)}

    def score(**predicted):
        cases = [Case(n, n, codes[n], np.array(found, np.uint8)) for n, found in predicted.items()]

        def predict(network, case):
            yield Progress(0, 1, "looking")
            return case.classes

        return run_to_end(validate(None, cases, predict))

    exact = score(a=[2, 2, 1, 0], b=[1, 1, 1, 0])
    assert exact.score == 1
    # One voxel of consolidation, and one of GGO in a case without: neither is in the references.
    worse = score(a=[2, 2, 3, 0], b=[1, 1, 2, 0])
    assert worse.figures["consolidation"].mean == 0
    assert worse.figures["consolidation"].where_present is None
    assert worse.figures["ggo"].mean == pytest.approx(1 / 2)
    assert worse.figures["ggo"].where_present == 1
    assert worse.score == pytest.approx((1 + 4 / 5 + 1) / 3)
    assert type(worse).from_dict(worse.to_dict()) == worse


def test_the_cosine_rises_and_ends_at_zero():
    preset = Preset(epochs=10, batches=10, warm_up=10, learning_rate=0.1)
    rule = RateRule(preset)
    rates = [rule.at(step, step / 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.01 * n for n in range(1, 11)])
    assert rates[10] == pytest.approx(0.1)
    assert rates[55] == pytest.approx(0.05)
    assert rates[99] < 1e-4
    assert rule.at(100, 1.0) == pytest.approx(0, abs=1e-12)


def test_the_plateau_has_a_floor_and_a_memory():
    preset = Preset(rate_rule="plateau", patience=2, factor=0.1, least_rate=1e-4, learning_rate=0.1)
    rule = RateRule(preset)
    seen = []
    for loss in (1.0, 0.9, 0.90001, 0.9, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6):
        rule.end_epoch(loss)
        seen.append(rule.at(0, 0))
        again = RateRule(preset)
        again.load_state_dict(rule.state_dict())
        assert again == rule
    assert seen == pytest.approx([0.1] * 3 + [0.01] * 3 + [1e-3] * 2 + [1e-4] * 3)
