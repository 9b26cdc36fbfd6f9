import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.models import checkpoint, zoo
from napari_covseg.models.checkpoint import read_checkpoint, write_checkpoint
from napari_covseg.models.unet2d import UNet2D
from napari_covseg.models.unet3d import UNet3D
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

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
        ("arguments", {"name": "unet3d"}, "do not fit network"),
        ("arguments", [4, 8], "not a readable model card"),
        ("arguments", None, "not a readable model card"),
        ("architecture", "unet3d", "takes 3D input, but the recipe of kind 'axial' gives 2D"),
        ("architecture", ["unet2d"], "is not known"),
        ("recipe", RECIPE.to_dict() | {"multiple": 0}, "not a readable model card"),
        ("recipe", RECIPE.to_dict() | {"pixel_mm": 0.0}, "not a readable model card"),
        ("recipe", RECIPE.to_dict() | {"kind": "coronal"}, "not a readable model card"),
        ("recipe", "axial", "not a readable model card"),
        ("recipe", {"kind": "volume"}, "not a readable model card"),
        ("recipe", {"kind": "volume", "steps": []}, "takes 2D input, but .* gives 3D"),
    ],
)
def test_a_card_for_something_else_is_refused(
    card: Path, field: str, value: object, message: str
) -> None:
    fields = json.loads(card.read_text())
    fields[field] = value
    card.write_text(json.dumps(fields))
    with pytest.raises(ModelError, match=message) as caught:
        read_checkpoint(card)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, "\x00\xff"])
def test_a_card_that_is_damaged_is_refused(card: Path, content: str) -> None:
    card.write_text(content, encoding="latin-1")
    with pytest.raises(ModelError, match=r"^tiny\.json: not a readable model card"):
        read_checkpoint(card)


@pytest.mark.parametrize("size", [0, 5, 1000])
def test_weights_that_are_cut_off_are_refused_whatever_their_hash(card: Path, size: int) -> None:
    weights = card.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(ModelError, match="hash differs"):
        read_checkpoint(card)
    fields = json.loads(card.read_text())
    fields["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    card.write_text(json.dumps(fields))
    with pytest.raises(ModelError, match="the weights do not fit network 'unet2d'"):
        read_checkpoint(card)


def test_weights_of_another_architecture_are_refused(card: Path, tmp_path: Path) -> None:
    other = write_3d(tmp_path / "other", UNet3D((4, 8)))
    fields = json.loads(other.read_text())
    for key in ("architecture", "arguments", "recipe"):
        fields[key] = json.loads(card.read_text())[key]
    other.write_text(json.dumps(fields))
    with pytest.raises(ModelError, match="the weights do not fit network 'unet2d'"):
        read_checkpoint(other)


def write_3d(folder: Path, network: UNet3D, recipe: VolumeRecipe | None = None) -> Path:
    channels = [block[0].out_channels for block in network.encoder]
    about = {"version": "1", "patch": [8, 16, 24]}
    recipe = recipe or VolumeRecipe.mueller2021()
    return write_checkpoint(
        folder, "deep", network, "unet3d", {"channels": channels}, recipe, about
    )


def test_networks_on_volumes_are_read_again_with_their_recipe(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = UNet3D((4, 8, 8)).eval()
    recipe = VolumeRecipe.mueller2021(clahe=True)
    model = read_checkpoint(write_3d(tmp_path, original, recipe))
    assert model.recipe == recipe != VolumeRecipe.mueller2021()
    assert model.card["patch"] == [8, 16, 24]
    assert model.card["recipe"]["kind"] == "volume"
    image = torch.randn(1, 1, 8, 8, 12)
    with torch.inference_mode():
        torch.testing.assert_close(model.network(image), original(image), atol=2e-3, rtol=1e-2)


def test_statistics_beyond_float16_survive(tmp_path: Path) -> None:
    """Float16 ends at 65504, and what is below 6e-8 is 0 in it."""
    torch.manual_seed(0)
    network = UNet3D((4, 8)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.constant_(module.running_var, 3e7)
            nn.init.constant_(module.running_mean, 1e-9)
            nn.init.normal_(module.weight, std=1e5)
    read = read_checkpoint(write_3d(tmp_path, network)).network.state_dict()
    for key, value in network.state_dict().items():
        if value.ndim == 1:
            assert torch.equal(read[key], value), key
        elif value.ndim > 1:
            assert torch.equal(read[key], value.half().float()), key


def test_weights_beyond_float16_survive(tmp_path: Path) -> None:
    network = UNet3D((4, 8)).eval()
    nn.init.constant_(network.upsample[0].weight, 7e4)
    read = read_checkpoint(write_3d(tmp_path, network)).network.state_dict()
    assert float(read["upsample.0.weight"].max()) == 7e4


def test_cards_older_than_kinds_are_axial(card: Path) -> None:
    fields = json.loads(card.read_text())
    assert fields["recipe"].pop("kind") == "axial"
    card.write_text(json.dumps(fields))
    assert read_checkpoint(card).recipe == RECIPE
    shipped = zoo.load()
    assert isinstance(shipped.recipe, AxialRecipe)


@pytest.mark.parametrize(
    ("architecture", "recipe"),
    [("unet3d", RECIPE), ("unet2d", VolumeRecipe.mueller2021()), ("unet9d", RECIPE)],
)
def test_a_model_that_could_not_be_read_is_not_written(
    tmp_path: Path, architecture: str, recipe: AxialRecipe | VolumeRecipe
) -> None:
    with pytest.raises(ModelError, match=architecture):
        write_checkpoint(tmp_path, "x", UNet2D((4,)), architecture, {}, recipe, {"version": "1"})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_older_model_as_it_was(
    card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_checkpoint(card).sha256

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    arguments = {"channels": [4, 8, 8]}
    network = UNet2D(**arguments)
    with pytest.raises(ResourceError, match=r"tiny: .*No space left on device"):
        write_checkpoint(card.parent, "tiny", network, "unet2d", arguments, RECIPE, {})
    assert read_checkpoint(card).sha256 == before
    assert sorted(p.name for p in card.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]


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
