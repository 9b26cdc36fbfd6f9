"""The papers' presets say what the papers say."""

from dataclasses import fields

import pytest

from napari_covseg.models.networks import build, entry
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.losses_named import build_loss
from napari_covseg.training.rates import RateRule
from napari_covseg.training.schedules import PRESETS, Preset, settings_help


def test_zhang_et_al() -> None:
    """Zhang et al. 2021, "Experimental design": what they say, and the rest as Mueller et al."""
    preset, mueller = PRESETS["zhang2021"], PRESETS["mueller2021"]
    assert (preset.network, preset.optimiser, preset.learning_rate) == ("qchc_unet3d", "adam", 1e-4)
    assert (preset.batches, preset.batch, preset.epochs) == (150, 2, 300)
    assert (preset.rate_rule, preset.factor) == ("plateau", 0.1)
    assert (preset.loss, preset.patch, preset.augmentation) == (
        *("tversky_ce", (80, 160, 160), 0.15),
    )
    changed = {one.name for one in fields(Preset)} - {
        one.name
        for one in fields(Preset)
        if getattr(preset, one.name) == getattr(mueller, one.name)
    }
    assert changed == {
        *("name", "network", "epochs", "learning_rate", "least_rate", "stop_after"),
    }


def test_singh_and_krishna() -> None:
    """The best of their table X: 6 blocks, 500 epochs, batches of 64, cosine from 1e-5."""
    preset = PRESETS["singh2022"]
    assert preset.network == "attention_unet2d"
    assert preset.network_arguments == {"blocks": 6}
    assert (preset.epochs, preset.batch, preset.learning_rate) == (500, 64, 1e-5)
    assert preset.batch * preset.batches == pytest.approx(0.7 * 1200, rel=0.02)
    assert (preset.loss, preset.lesion_share) == ("boundary", 1.0)
    assert preset.make_recipe() == AxialRecipe(clahe=True)
    rule = RateRule(preset)
    assert rule.at(0, 0.0) == 1e-5
    assert rule.at(3250, 0.5) == pytest.approx(5e-6)
    assert rule.at(6500, 1.0) == 0.0
    fixed = preset.with_settings(["rate_rule=constant", "learning_rate=5e-4"])
    assert RateRule(fixed).at(3250, 0.5) == 5e-4


def test_fung_et_al() -> None:
    """Inf-Net's published settings, which they left unchanged, and cutout."""
    preset = PRESETS["fung2021"]
    assert (preset.network, preset.loss, preset.cutout) == ("infnet2d", "iou_bce", 0.2)
    assert (preset.optimiser, preset.learning_rate, preset.batch) == ("adam", 1e-4, 24)
    assert (preset.epochs, preset.patch, preset.clip) == (100, (352, 352), 0.5)
    rule, rates = RateRule(preset), []
    for _ in range(preset.epochs):
        rates.append(rule.at(0, 0.0))
        rule.end_epoch(1.0)
    assert rates == pytest.approx([1e-4] * 50 + [1e-5] * 50)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_names_a_network_and_a_loss_that_there_are(name: str) -> None:
    preset = PRESETS[name]
    assert preset.name == name
    assert entry(preset.network).dimensions == preset.dimensions
    build_loss(preset.loss, preset.dimensions, **preset.loss_settings)
    build(preset.network, **preset.network_arguments)
    assert Preset.from_dict(preset.to_dict()) == preset


def test_arguments_are_shown_as_one_writes_them() -> None:
    (line,) = (one for one in settings_help().splitlines() if "network_arguments" in one)
    assert 'singh2022 {"blocks": 6}' in line
