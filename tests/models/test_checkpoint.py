import json
from pathlib import Path

import pytest
import torch

from napari_covseg.domain.errors import ModelError
from napari_covseg.models import zoo
from napari_covseg.models.checkpoint import read_checkpoint, write_checkpoint
from napari_covseg.models.unet2d import UNet2D
from napari_covseg.preprocess.recipe import AxialRecipe

RECIPE = AxialRecipe(pixel_mm=1.5, window_hu=(-1200.0, 200.0), multiple=4)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = UNet2D((4, 8, 8)).eval()
    about = {"version": "7"}
    return write_checkpoint(
        tmp_path, "tiny", network, "unet2d", {"channels": [4, 8, 8]}, RECIPE, about
    )


def test_what_is_written_is_read_again(card: Path) -> None:
    torch.manual_seed(0)
    original = UNet2D((4, 8, 8)).eval()
    model = read_checkpoint(card)
    image = torch.randn(1, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(model.network(image), original(image), atol=2e-3, rtol=1e-2)
    assert (model.name, model.version, model.recipe) == ("tiny", "7", RECIPE)
    assert not model.network.training


def test_weights_are_half_precision(card: Path) -> None:
    parameters = json.loads(card.read_text())["parameters"]
    assert card.with_suffix(".safetensors").stat().st_size < 2 * parameters + 12_000


def test_nothing_else_is_left_in_the_folder(card: Path) -> None:
    assert sorted(p.name for p in card.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_changed_weights_are_refused(card: Path) -> None:
    weights = card.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"tiny\.json: the weights are not those"):
        read_checkpoint(card)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("architecture", "unet9d", "network 'unet9d' is not known"),
        ("classes", ["background", "lung"], "classes"),
        ("arguments", {"channels": [4, 8]}, "do not fit network"),
        ("arguments", {"depth": 3}, "do not fit network"),
        ("architecture", ["unet2d"], "is not known"),
        ("recipe", RECIPE.to_dict() | {"multiple": 0}, "not a readable model card"),
        ("recipe", RECIPE.to_dict() | {"pixel_mm": 0.0}, "not a readable model card"),
    ],
)
def test_a_card_for_something_else_is_refused(
    card: Path, field: str, value: object, message: str
) -> None:
    fields = json.loads(card.read_text())
    fields[field] = value
    card.write_text(json.dumps(fields))
    with pytest.raises(ModelError, match=message):
        read_checkpoint(card)


def test_missing_weights_and_broken_cards_are_named(card: Path, tmp_path: Path) -> None:
    card.with_suffix(".safetensors").unlink()
    with pytest.raises(ModelError, match=r"tiny\.safetensors: not found"):
        read_checkpoint(card)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ModelError, match=r"broken\.json: not a readable model card"):
        read_checkpoint(broken)


def test_a_model_is_found_by_folder_and_by_file(card: Path) -> None:
    assert zoo.load(card.parent).sha256 == zoo.load(card).sha256
    assert zoo.load(card.with_suffix(".safetensors")).name == "tiny"


def test_unknown_models_are_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such model; shipped: .*covseg-default"):
        zoo.load("no-such-model")
    with pytest.raises(ModelError, match="no such model"):
        zoo.load(tmp_path)


def test_a_folder_of_several_models_needs_a_name(card: Path) -> None:
    for suffix in (".json", ".safetensors"):
        (card.parent / f"other{suffix}").write_bytes(card.with_suffix(suffix).read_bytes())
    with pytest.raises(ModelError, match=r"several models \(other\.json, tiny\.json\)"):
        zoo.load(card.parent)
