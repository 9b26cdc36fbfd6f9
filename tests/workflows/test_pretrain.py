"""A pretraining from data to the training that starts from it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from raw_datasets import lung_block, write_about, write_case, write_patients
from safetensors.torch import load_file

from napari_covseg.domain.errors import ModelError, UsageError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.models.networks import build
from napari_covseg.models.zoo import load
from napari_covseg.training.logs import read_rows
from napari_covseg.training.pretrain_files import read_pretraining
from napari_covseg.training.pretrain_settings import Pretext
from napari_covseg.training.schedules import PRESETS
from napari_covseg.training.splits import hidden
from napari_covseg.workflows.first_weights import load_first
from napari_covseg.workflows.pretrain import pretrain
from napari_covseg.workflows.pretrain_request import PretrainRequest
from napari_covseg.workflows.train import train
from napari_covseg.workflows.train_request import TrainRequest

TINY = PRESETS["fast"].with_settings(
    [
        *("network=unet2d", 'network_arguments={"channels":[8,16]}', "pretrained=false"),
        *("patch=16,16", "batch=2", "batches=3", "epochs=2", "warm_up=1", "workers=1"),
        *("precision=float32", "learning_rate=0.01", "ema=0"),
        "spacing_mm=8",
    ]
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three annotated cases of two patients, and a folder with the first's CT under another name
    and one that nobody has annotated.
    """
    folder = tmp_path_factory.mktemp("data")
    affine = np.diag([-8.0, -8.0, 5.0, 1.0])
    write_about(folder / "toy", numTraining=3)
    write_about(folder / "more", numTraining=1)
    for number in range(3):
        write_case(folder / "toy", f"toy_{number}", lung_block(lesion=2), affine, seed=number)
    write_patients(folder / "toy" / "cases.csv", {"toy_0": "p0", "toy_1": "p1", "toy_2": "p1"})
    write_case(folder / "more", "new", lung_block(lesion=3), affine, seed=9)
    (folder / "cts").mkdir()
    for name, image in {"again": "toy/imagesTr/toy_0", "new": "more/imagesTr/new"}.items():
        content = (folder / f"{image}_0000.nii.gz").read_bytes()
        (folder / "cts" / f"{name}.nii.gz").write_bytes(content)
    return folder


def request(data: Path, output: Path, **changes) -> PretrainRequest:
    fields = {
        "preset": TINY,
        "pretext": Pretext(coach_every=1),
        "validation": ("toy_0",),
        "device": "cpu",
        "tensorboard": False,
    }
    return PretrainRequest((data / "toy", data / "cts"), output, **{**fields, **changes})


@pytest.fixture(scope="module")
def pretrained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pre") / "painter"
    result = run_to_end(pretrain(request(data, folder)))
    assert (result.labelled, result.unlabelled, result.left_out) == (2, 1, 1)
    return folder


def test_held_out_patients_are_not_looked_at(pretrained: Path, data: Path, tmp_path: Path) -> None:
    """Neither as annotated cases nor as CTs under another name."""
    card = read_pretraining(pretrained).card
    assert card["cases"] == ["new", "toy_1", "toy_2"]
    assert card["patients"] == sorted(hidden(name) for name in ("p1", "new"))
    everybody = request(data, tmp_path / "all", validation=())
    run_to_end(pretrain(everybody))
    seen = read_pretraining(tmp_path / "all").card["cases"]
    assert seen == ["again", "new", "toy_0", "toy_1", "toy_2"]


def test_who_measures_must_not_have_been_looked_at(
    pretrained: Path, data: Path, tmp_path: Path
) -> None:
    start = {"start": str(pretrained), "preset": TINY, "device": "cpu", "tensorboard": False}
    other_fold = TrainRequest(data / "toy", tmp_path / "a", validation=("toy_1", "toy_2"), **start)
    with pytest.raises(UsageError, match="painter: 1 of the 1 patients who measure were looked at"):
        run_to_end(train(other_fold))
    result = run_to_end(
        train(TrainRequest(data / "toy", tmp_path / "b", validation=("toy_0",), **start))
    )
    assert result.origin.startswith("painter: ")
    assert result.origin.endswith("tensors; new are the last layers (head)")
    card = load(tmp_path / "b").card["training"]
    assert card["start_sha256"] == read_pretraining(pretrained).sha256
    # "new" was looked at before: who trains this model further must know of them.
    assert card["trained_patients"] == sorted([hidden("p1"), hidden("new")])
    again = {**start, "start": str(tmp_path / "b")}
    later = TrainRequest(data / "toy", tmp_path / "c", validation=("toy_0",), **again)
    run_to_end(train(later))
    assert load(tmp_path / "c").card["training"]["trained_patients"] == card["trained_patients"]


def test_weights_are_handed_on_to_the_bit(pretrained: Path) -> None:
    torch.manual_seed(3)
    network = build("unet2d", channels=[8, 16])
    head = {k: v.clone() for k, v in network.state_dict().items() if k.startswith("head.")}
    load_first(network, TINY, read_pretraining(pretrained))
    stored = load_file(pretrained / "weights.safetensors")
    state = network.state_dict()
    assert state.keys() == stored.keys() | head.keys()
    assert all(torch.equal(state[key], value) for key, value in {**stored, **head}.items())


def test_another_network_or_shape_is_refused(pretrained: Path, data: Path, tmp_path: Path) -> None:
    for settings, error, message in (
        (["network=attention_unet2d", "network_arguments="], UsageError, "its network is unet2d"),
        (["spacing_mm=4"], UsageError, "its recipe is"),
        (['network_arguments={"channels":[8,32]}'], ModelError, "do not fit network unet2d"),
    ):
        asked = TrainRequest(
            data / "toy",
            tmp_path / "x",
            TINY.with_settings(settings),
            device="cpu",
            start=str(pretrained),
        )
        with pytest.raises(error, match=message):
            run_to_end(train(asked))
    with pytest.raises(ModelError, match="painter: a pretraining, which segments nothing yet"):
        load(pretrained)


def test_it_goes_on_exactly_where_it_was_stopped(
    pretrained: Path, data: Path, tmp_path: Path
) -> None:
    steps = pretrain(request(data, tmp_path / "a"))
    for step in steps:
        if getattr(step, "epoch", 0) == 1 and step.done == 2:
            break
    steps.close()
    assert not (tmp_path / "a" / "pretraining.json").is_file()
    run_to_end(pretrain(request(data, tmp_path / "a", resume=True)))
    whole, again = (load_file(one / "weights.safetensors") for one in (pretrained, tmp_path / "a"))
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    rows = [read_rows(one / "logs" / "steps.csv") for one in (pretrained, tmp_path / "a")]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    assert read_rows(pretrained / "logs" / "masks.csv") == read_rows(
        tmp_path / "a" / "logs" / "masks.csv"
    )
    other = request(data, tmp_path / "a", resume=True, pretext=Pretext(kept=0.5, coach_every=1))
    with pytest.raises(UsageError, match=r"pretext\.kept was 0\.75, is 0\.5"):
        run_to_end(pretrain(other))
    with pytest.raises(UsageError, match="holds a pretraining already; go on with it"):
        run_to_end(pretrain(request(data, tmp_path / "a")))
    seed = replace(TINY, seed=5)
    run_to_end(pretrain(request(data, tmp_path / "b", preset=seed)))
    other_seed = load_file(tmp_path / "b" / "weights.safetensors")
    assert any(not torch.equal(whole[key], other_seed[key]) for key in whole)


def test_masks_are_drawn_and_measured(pretrained: Path) -> None:
    logs = pretrained / "logs"
    pictures = sorted(path.name for path in (logs / "masks").iterdir())
    assert pictures == ["epoch_0001.png", "epoch_0002.png"]
    rows = read_rows(logs / "masks.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    hidden_share = [float(row["hidden_percent"]) for row in rows]
    assert hidden_share == pytest.approx([5 + 20 * 2 / 3, 25], abs=1)
    assert all(0 <= float(row["error_hidden"]) <= 100 for row in rows)


def test_rotation_pretrains_too(data: Path, tmp_path: Path) -> None:
    asked = request(data, tmp_path / "r", pretext=Pretext(task="rotation"))
    result = run_to_end(pretrain(asked))
    assert 0.5 < result.fit.last.loss < 2
    assert read_pretraining(tmp_path / "r").card["task"] == "rotation"
    assert not (tmp_path / "r" / "logs" / "masks.csv").exists()
    json.dumps(result.to_dict())


def test_what_cannot_be_pretrained_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only networks on slices"):
        run_to_end(pretrain(request(data, tmp_path / "v", preset=PRESETS["mueller2021"])))
    only_scans = replace(request(data, tmp_path / "s"), data=(data / "cts",))
    with pytest.raises(UsageError, match="no annotated dataset is given that has them"):
        run_to_end(pretrain(only_scans))


@pytest.mark.parametrize("name", ["infnet2d", "infnet2d_multi"])
def test_inf_net_is_pretrained_and_handed_on(name: str, data: Path, tmp_path: Path) -> None:
    small = {"encoder": "resnet50", "width": 4, "encoder_width": 4}
    arguments = {**small, **({"channels": [4, 4]} if name.endswith("multi") else {})}
    preset = replace(TINY, network=name, network_arguments=arguments, patch=(32, 32), epochs=1)
    run_to_end(pretrain(request(data, tmp_path / "p", preset=replace(preset, batches=2))))
    start = read_pretraining(tmp_path / "p")
    torch.manual_seed(preset.seed)
    fresh = build(name, **arguments).state_dict()
    learned = {
        key.split(".")[0] for key in start.body if not torch.equal(start.body[key], fresh[key])
    }
    assert learned == {key.split(".")[0] for key in start.body}
    network = build(name, **arguments)
    said = load_first(network, preset, start)
    assert said.startswith(f"p: {len(start.body)} tensors; new are the last layers (")
    assert "reverse3.head" in said
    if name.endswith("multi"):
        frozen = build(name, frozen=True, **arguments)
        with pytest.raises(UsageError, match="train with frozen false"):
            load_first(frozen, preset, start)
