"""Whose weights a training begins with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from napari_covseg.domain.errors import ModelError, UsageError
from napari_covseg.io.nnunet import RawCase, RawDataset
from napari_covseg.models.checkpoint import write_checkpoint
from napari_covseg.models.networks import build
from napari_covseg.models.zoo import load
from napari_covseg.training.schedules import PRESETS
from napari_covseg.training.splits import Fold, hidden
from napari_covseg.workflows.first_weights import (
    check_unseen,
    load_first,
    load_published,
    named,
)

SMALL = {"encoder": "resnet50", "width": 4}
INFNET = replace(
    PRESETS["fast"], network="infnet2d", network_arguments=SMALL, pretrained=False, patch=(32, 32)
)


def test_imagenet_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = build("infnet2d", **SMALL)
    weights = {
        f"{name}.{key}": value.repeat(1, 3, 1, 1) / 3 if number == 0 else value
        for number, (name, module) in enumerate(published.encoder.published())
        for key, value in module.state_dict().items()
    }
    save_file(
        {key: value.contiguous() for key, value in weights.items()}, tmp_path / "w.safetensors"
    )
    preset = INFNET.with_settings([f"pretrained={tmp_path / 'w.safetensors'}"])
    torch.manual_seed(1)
    network = build("infnet2d", **SMALL)
    assert load_first(network, preset, None) == "the encoder's from w.safetensors"
    mine, theirs = network.state_dict(), published.state_dict()
    assert all(
        torch.allclose(mine[key], theirs[key], atol=1e-6) == key.startswith("encoder.")
        for key in mine
        if mine[key].ndim == 4
    )
    assert named(preset.pretrained) == "w.safetensors"
    assert named(True) is True
    with pytest.raises(ModelError, match=r"gone\.pth: not found"):
        load_published(network, replace(preset, pretrained=str(tmp_path / "gone.pth")))


def test_where_there_are_no_imagenet_weights_it_is_said() -> None:
    asked = replace(INFNET, pretrained=True)
    with pytest.raises(UsageError, match=r"infnet2d \(resnet50\) do not come with covseg: --set"):
        load_published(build("infnet2d", **SMALL), asked)
    attention = replace(asked, network="attention_unet2d", network_arguments={"blocks": 2})
    with pytest.raises(UsageError, match="no ImageNet weights for network attention_unet2d"):
        load_published(build("attention_unet2d", blocks=2, width=4), attention)
    assert load_first(build("unet2d"), replace(INFNET, network="unet2d"), None) == ""


def test_a_single_inf_net_becomes_that_of_a_multi_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {**SMALL, "encoder_width": 4}
    single = build("infnet2d", **small)
    recipe = INFNET.make_recipe()
    write_checkpoint(tmp_path, "one", single, "infnet2d", small, recipe, {"version": "1"})
    start = load(tmp_path)
    multi = build("infnet2d_multi", channels=[4, 4], frozen=True, **small)
    preset = replace(
        INFNET, network="infnet2d_multi", network_arguments={**small, "channels": [4, 4]}
    )
    said = load_first(multi, preset, start)
    assert said.endswith("tensors of its single network; the others are new")
    weights = start.network.state_dict()
    assert all(torch.equal(multi.single.state_dict()[key], weights[key]) for key in weights)
    arguments, about = dict(preset.network_arguments), {"version": "1"}
    write_checkpoint(tmp_path / "both", "both", multi, "infnet2d_multi", arguments, recipe, about)
    thawed = build("infnet2d_multi", channels=[4, 4], **small)
    both = replace(preset, network_arguments={**arguments, "frozen": True})
    assert load_first(thawed, both, load(tmp_path / "both")).startswith("both: all ")
    with pytest.raises(UsageError, match="its recipe is"):
        load_first(multi, replace(preset, spacing_mm=(2.0,)), start)
    with pytest.raises(UsageError, match="its network is infnet2d"):
        load_first(build("unet2d"), replace(preset, network="unet2d"), start)


def test_what_stays_frozen_was_trained() -> None:
    """Told before the training, which would learn from noise and never complain."""
    multi = build("infnet2d_multi", channels=[4, 4], frozen=True, encoder_width=4, **SMALL)
    with pytest.raises(UsageError, match=r"nothing has trained it: start from a trained infnet2d"):
        load_first(multi, replace(INFNET, network="infnet2d_multi"), None)
    tiny = {"decoder": [4, 4, 4, 4, 4]}
    efficient = replace(INFNET, network="efficientnet_unet2d", network_arguments=tiny)
    with pytest.raises(UsageError, match=r"its weights are random: --set pretrained=FILE"):
        load_first(build("efficientnet_unet2d", frozen=True, **tiny), efficient, None)
    assert load_first(build("efficientnet_unet2d", **tiny), efficient, None) == ""


def test_a_model_that_has_seen_who_measures_is_told_of(model_folder: Path) -> None:
    model = load(model_folder)
    cases = tuple(
        RawCase(name, "d", Path("i"), Path("l"), patient)
        for name, patient in {"a": "p", "b": "q", "c": "q"}.items()
    )
    datasets = [RawDataset("d", Path(), cases, {})]
    fold = Fold(("b",), ("a",))
    assert check_unseen(model, datasets, fold) == ()
    for about in ({"trained_patients": [hidden("p")]}, {"training_cases": ["a", "x"]}):
        seen = replace(model, card={**model.card, "training": about})
        (warning,) = check_unseen(seen, datasets, fold)
        assert "was trained on 1 of the 1 patients who measure: figures flatter" in warning
        assert check_unseen(seen, datasets, Fold(("a",), ("b", "c"))) == ()
        assert check_unseen(seen, datasets, Fold(("a", "b"), ())) == ()
    assert check_unseen(None, datasets, fold) == ()
