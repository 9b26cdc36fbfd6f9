"""Heads, rotations, scans and files of a pretraining."""

import json

import numpy as np
import pytest
import torch
from raw_datasets import lung_block, write_about, write_case

from napari_covseg.domain.errors import InputError, ModelError, UsageError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.models.device import Device
from napari_covseg.models.networks import build
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.dataset import UNLABELLED
from napari_covseg.training.pretrain_data import (
    find_data,
    images_hash,
    load_scans,
    without_held_out,
)
from napari_covseg.training.pretrain_files import WEIGHTS, read_pretraining, write_pretraining
from napari_covseg.training.pretrain_heads import (
    HEADS,
    body_of,
    check_network,
    load_body,
    of_heads,
    put_linear_heads,
)
from napari_covseg.training.pretrain_rotation import RotationLearner, rotation_loss, squares, turn
from napari_covseg.training.pretrain_settings import Pretext, pretext_help
from napari_covseg.training.schedules import Preset

SMALL = {
    "unet_lite": {"decoder": [8, 8, 8, 8, 8], "fine": 4},
    "unet2d": {"channels": [4, 8]},
    "attention_unet2d": {"blocks": 2, "width": 4},
    "infnet2d": {"encoder": "resnet50", "width": 4, "encoder_width": 4},
    "infnet2d_multi": {"channels": [4, 4], "encoder": "resnet50", "width": 4, "encoder_width": 4},
}
RECIPE = AxialRecipe(pixel_mm=8.0)


@pytest.mark.parametrize("name", SMALL)
def test_heads_are_new_and_every_other_tensor_is_the_same_to_the_bit(name: str) -> None:
    torch.manual_seed(0)
    trained = build(name, **SMALL[name])
    put_linear_heads(trained, name)
    image = torch.rand(2, 1, 64, 64)
    outputs = trained.train()(image)  # statistics of normalisation move
    maps = outputs.maps if hasattr(outputs, "maps") else (outputs,)
    assert all(one.shape == (2, 1, 64, 64) for one in maps)
    body = body_of(trained, name)
    torch.manual_seed(1)
    fresh = build(name, **SMALL[name])
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    new = load_body(fresh, name, body, "pre")
    after = fresh.state_dict()
    assert {key.rpartition(".")[0] for key in new} >= {
        path for path in HEADS[name] if path == "head"
    }
    assert sorted(new) == sorted(key for key in after if of_heads(key, name))
    assert len(new) + len(body) == len(after)
    assert all(torch.equal(after[key], before[key]) for key in new)
    assert all(torch.equal(after[key], body[key]) for key in body)
    assert any(not torch.equal(before[key], body[key]) for key in body)
    assert fresh.eval()(image).shape == (2, 4, 64, 64)


def test_another_shape_is_refused_and_changes_nothing() -> None:
    body = body_of(build("unet2d", channels=[4, 8]), "unet2d")
    other = build("unet2d", channels=[4, 16])
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ModelError, match=r"^pre: \d+ of its \d+ tensors do not fit network unet2d"):
        load_body(other, "unet2d", body, "pre")
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())
    body.pop(next(iter(body)))
    with pytest.raises(ModelError, match="do not fit"):
        load_body(build("unet2d", channels=[4, 8]), "unet2d", body, "pre")
    with pytest.raises(UsageError, match="unet3d cannot be pretrained"):
        check_network("unet3d")


def test_images_are_turned_by_their_label() -> None:
    image = torch.arange(2 * 4 * 6.0).reshape(2, 1, 4, 6)
    middle = squares(image)
    assert middle.shape == (2, 1, 4, 4)
    assert torch.equal(middle, image[..., 1:5])
    for quarters in (0, 1, 2):
        turned = turn(middle, torch.tensor([quarters, 0]))
        assert torch.equal(turned[0, 0], torch.from_numpy(np.rot90(middle[0, 0], quarters).copy()))
        assert torch.equal(turned[1], middle[1])


def test_rotation_is_told_by_the_means_of_three_channels() -> None:
    maps = torch.zeros(2, 4, 8, 8)
    maps[0, 1], maps[1, 2] = 9, 9
    maps[:, 3] = 100  # has no say
    assert float(rotation_loss(maps, torch.tensor([1, 2]))) < 0.001
    assert float(rotation_loss(maps, torch.tensor([0, 0]))) == pytest.approx(9, abs=0.01)


def test_rotation_can_be_learned() -> None:
    preset = Preset(
        network="unet2d", pretrained=False, optimiser="adam", ema=0.0, precision="float32"
    )
    torch.manual_seed(0)
    learner = RotationLearner(build("unet2d", channels=[8, 16]), preset, Device("cpu", "CPU"))
    image = torch.linspace(-1, 1, 16)[None, None, :, None].expand(8, 1, 16, 16)
    codes = torch.zeros(8, 16, 16)
    losses = [float(learner.step(image, codes, 1e-2, n + 1).loss) for n in range(60)]
    assert losses[0] > 0.9
    assert np.mean(losses[-10:]) < 0.4


def test_settings_of_the_task_are_taken_out() -> None:
    pretext, others = Pretext().with_settings(["kept=0.5", "batch=4", "task=rotation", "odd"])
    assert (pretext.kept, pretext.task) == (0.5, "rotation")
    assert others == ["batch=4", "odd"]
    for setting, message in {
        "kept=x": "'x' is not a value",
        "kept=0": "expected shares above 0",
        "kept_first=0.5": "the first at least as large",
        "alpha=0": "alpha=0.0: expected more",
        "task=colours": "use inpainting or rotation",
        "reconstruction=l1": "use cross_entropy or squared",
        "harder_until=2": "expected 0 to 1",
        "coach_rate=-1": "expected 0 or more",
    }.items():
        with pytest.raises(UsageError, match=message):
            Pretext().with_settings([setting])
    assert "alpha: how sharp the border of a mask is (1.0)" in pretext_help()


@pytest.fixture
def scans(tmp_path):
    """An annotated dataset of two cases, and a folder of the second's CT and another."""
    affine = np.diag([-8.0, -8.0, 5.0, 1.0])
    write_about(tmp_path / "set", numTraining=2)
    write_about(tmp_path / "other", numTraining=1)
    for number in (0, 1):
        write_case(tmp_path / "set", f"c{number}", lung_block(lesion=2), affine, seed=number)
    write_case(tmp_path / "other", "x", lung_block(lesion=2), affine, seed=7)
    folder = tmp_path / "cts"
    folder.mkdir()
    (folder / "renamed.nii.gz").write_bytes(
        (tmp_path / "set" / "imagesTr" / "c1_0000.nii.gz").read_bytes()
    )
    (folder / "x.nii.gz").write_bytes(
        (tmp_path / "other" / "imagesTr" / "x_0000.nii.gz").read_bytes()
    )
    return tmp_path


def test_datasets_and_scans_are_told_apart(scans) -> None:
    found = find_data([scans / "set", scans / "cts"])
    assert [one.name for one in found.datasets] == ["set"]
    assert [path.name for path in found.scans] == ["renamed.nii.gz", "x.nii.gz"]
    with pytest.raises(InputError, match="case names in more than one dataset: c0"):
        find_data([scans / "set", scans / "set"])


def test_a_scan_is_prepared_without_labels_and_found_again(scans) -> None:
    cache, paths = scans / "cache", sorted((scans / "cts").iterdir())
    (scans / "broken.nii.gz").write_bytes(b"no CT")
    table = {"x": "p9"}
    first = run_to_end(load_scans([*paths, scans / "broken.nii.gz"], RECIPE, cache, None, table))
    again = run_to_end(load_scans(paths, RECIPE, cache, None, table))
    plain = run_to_end(load_scans(paths, RECIPE, None))
    assert [(c.name, c.patient) for c in first.cases] == [("renamed", "renamed"), ("x", "p9")]
    assert len(first.failed) == 1
    assert first.failed[0].startswith("left out: broken.nii.gz")
    for one, two, three in zip(first.cases, again.cases, plain.cases, strict=True):
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(one.image, three.image)
        assert one.codes.shape == one.image.shape
        assert (one.codes == UNLABELLED).all()
    assert images_hash(first.cases) == images_hash(again.cases)
    assert images_hash(first.cases) != images_hash(first.cases[:1])


def _case(name: str, seed: int, patient: str = "") -> TrainingCase:
    image = np.random.default_rng(seed).integers(0, 255, (3, 8, 8)).astype(np.uint8)
    image[0] = 7  # nothing to see: alike in every case
    codes = np.zeros_like(image)
    return TrainingCase(name, "set", patient or name, image, codes, (5.0, 1.0, 1.0))


def test_a_held_out_scan_is_known_by_name_patient_and_slices() -> None:
    held_out = [_case("a", 0, "p")]
    scans = [_case("b", 1), _case("a", 2), _case("c", 3, "p"), _case("d", 0), _case("e", 4)]
    assert [one.name for one in without_held_out(scans, held_out)] == ["b", "e"]
    assert without_held_out(scans, []) == scans


def test_a_pretraining_on_disk_is_whole_or_refused(tmp_path) -> None:
    body = {"a.weight": torch.rand(2, 3), "a.running_mean": torch.full((2,), 1e9)}
    write_pretraining(tmp_path, body, {"network": "unet2d"})
    read = read_pretraining(tmp_path)
    assert read.card["network"] == "unet2d"
    assert read.body.keys() == body.keys()
    assert all(torch.equal(read.body[key], body[key]) for key in body)
    content = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(content[:-1] + b"x")
    with pytest.raises(ModelError, match="hash differs"):
        read_pretraining(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"weights\.safetensors is missing"):
        read_pretraining(tmp_path)
    card = json.loads((tmp_path / "pretraining.json").read_text())
    (tmp_path / "pretraining.json").write_text(json.dumps({**card, "format": 9}))
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match="another version"):
        read_pretraining(tmp_path)
    (tmp_path / "pretraining.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        read_pretraining(tmp_path)
