from dataclasses import replace

import numpy as np
import pytest

from napari_covseg.training.rates import RateRule
from napari_covseg.training.schedules import PRESETS, Preset

FAST = PRESETS["fast"]


def curve(preset: Preset, steps: int) -> np.ndarray:
    """Rates, as shares of the highest setting, of a training that ends after ``steps``."""
    rule = RateRule(preset)
    rates = [rule.at(step, step / steps) for step in range(steps)]
    return np.array(rates) / preset.learning_rate


def assert_smooth(rates: np.ndarray, risen: int) -> None:
    """From above zero to the highest within ``risen`` steps, then to zero, without a cliff."""
    assert rates.min() > 0
    assert rates[0] < 0.1
    assert rates.max() > 0.95
    assert rates.argmax() <= risen
    assert rates[-1] < 0.05 * rates.max()
    assert np.abs(np.diff(rates)).max() < 0.1 * rates.max()


def test_the_default_rises_for_its_warm_up_and_falls() -> None:
    rates = curve(FAST, FAST.steps)
    assert rates[:200] == pytest.approx((np.arange(200) + 1) / 200)
    assert rates[900] == pytest.approx(0.5)
    assert_smooth(rates, 200)


@pytest.mark.parametrize("epochs", [1, 16, 100])
def test_a_time_budget_that_allows_a_hundred_steps(epochs: int) -> None:
    assert_smooth(curve(replace(FAST, minutes=1.0, epochs=epochs), 100), 15)


def test_a_time_budget_is_what_ends_many_epochs() -> None:
    rates = curve(replace(FAST, minutes=60.0, epochs=100000), 5000)
    assert rates[:200] == pytest.approx((np.arange(200) + 1) / 200, rel=5e-3)
    assert_smooth(rates, 200)


def test_a_short_training_leaves_its_warm_up() -> None:
    preset = replace(FAST, epochs=2)
    assert preset.steps == preset.warm_up
    rates = curve(preset, preset.steps)
    assert rates[15] == pytest.approx(0.5)
    assert_smooth(rates, 30)


def test_without_a_warm_up_it_begins_at_its_highest() -> None:
    rates = curve(replace(FAST, warm_up=0), 100)
    assert rates[0] == 1
    assert rates[50] == pytest.approx(0.5)


def test_a_constant_rate_stays() -> None:
    preset = replace(FAST, rate_rule="constant", learning_rate=5e-4, patience=1)
    rule = RateRule(preset)
    for epoch in range(5):
        assert rule.at(epoch * 100, epoch / 5) == 5e-4
        rule.end_epoch(1.0)


def test_steps_fall_after_so_many_epochs_whatever_the_loss() -> None:
    preset = replace(FAST, rate_rule="step", learning_rate=1e-4, patience=2, factor=0.1)
    rule, rates = RateRule(preset), []
    for epoch in range(5):
        rates.append(rule.at(epoch, 0.0))
        rule.end_epoch(1.0 / (epoch + 1))
        again = RateRule(preset)
        again.load_state_dict(rule.state_dict())
        rule = again
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6])
