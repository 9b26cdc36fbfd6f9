"""A model labels slices for its own next training; nobody who measures is among them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from raw_datasets import lung_block, write_about, write_case
from torch import nn

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.models.zoo import load
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.pseudo import (
    Teacher,
    label_group,
    label_slice,
    pseudo_hash,
    read_group,
    slices_in_turn,
    write_group,
)
from napari_covseg.training.schedules import PRESETS
from napari_covseg.training.splits import hidden
from napari_covseg.workflows.pseudo_label import PseudoLabels, pseudo_label
from napari_covseg.workflows.train import train
from napari_covseg.workflows.train_request import TrainRequest

TINY = PRESETS["fast"].with_settings(
    [
        *("network=unet2d", 'network_arguments={"channels":[8,16]}', "pretrained=false"),
        *("patch=16,16", "batch=2", "batches=2", "epochs=2", "warm_up=1", "workers=1"),
        *("precision=float32", "learning_rate=0.01", "ema=0", "spacing_mm=8"),
    ]
)


class Bright(nn.Module):
    """Says GGO, the surer the brighter; consolidation where it is brightest; else lung."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        grey = image[:, 0]
        return torch.stack(
            [torch.zeros_like(grey), grey * 0 + 0.5, grey * 4, grey * 40 - 35.5], dim=1
        )


def _teacher(apart: bool = True) -> Teacher:
    return Teacher(Bright().eval(), AxialRecipe(), apart, "cpu")


def _grey() -> np.ndarray:
    grey = np.zeros((5, 7), np.uint8)
    grey[1], grey[2], grey[3] = 150, 220, 255
    return grey


def test_a_slice_is_labelled_as_the_model_says() -> None:
    codes = label_slice(_teacher(), _grey(), 0.0)
    assert codes.shape == (5, 7)
    assert codes[:, 0].tolist() == [
        Label.LUNG,
        Label.GGO,
        Label.GGO,
        Label.CONSOLIDATION,
        Label.LUNG,
    ]
    unsure = label_slice(_teacher(), _grey(), 0.7)
    assert unsure[:, 0].tolist() == [
        Label.IGNORE,
        Label.IGNORE,
        Label.GGO,
        Label.IGNORE,
        Label.IGNORE,
    ]
    assert label_slice(_teacher(False), _grey(), 0.0)[3, 0] == Label.INFECTION


def _scan(name: str) -> TrainingCase:
    image = np.random.default_rng(0).integers(0, 255, (4, 8, 8)).astype(np.uint8)
    image[1] = 0  # nothing to see
    return TrainingCase(name, "unlabelled", "p", image, np.zeros_like(image), (5.0, 1.0, 1.0))


def test_slices_come_in_a_random_order_that_a_seed_gives() -> None:
    scans = [_scan("a"), _scan("b")]
    order = slices_in_turn(scans, 0)
    assert sorted(order) == [(s, z) for s in (0, 1) for z in (0, 2, 3)]
    assert order == slices_in_turn(scans, 0)
    assert order != slices_in_turn(scans, 1)


def test_a_group_on_disk_says_where_it_is_from(tmp_path: Path) -> None:
    cases = label_group(_teacher(), [_scan("a")], [(0, 2), (0, 0)], 0.0)
    assert [(case.name, case.patient) for case in cases] == [
        ("pseudo_a_2", hidden("p")),
        ("pseudo_a_0", hidden("p")),
    ]
    assert np.array_equal(cases[0].image[0], _scan("a").image[2])
    about = {"round": 1, "model_sha256": "x", "confidence": 0.0}
    path = tmp_path / "pseudo" / "round_01"
    assert read_group(path, about) is None
    write_group(path, cases, about)
    again = read_group(path, about)
    assert pseudo_hash(again) == pseudo_hash(cases)
    assert pseudo_hash(again[:1]) != pseudo_hash(cases)
    assert read_group(path, {**about, "model_sha256": "y"}) is None
    content = path.with_suffix(".npz").read_bytes()
    for damaged in (b"", content[:-9], b"no zip"):
        path.with_suffix(".npz").write_bytes(damaged)
        with pytest.raises(InputError, match="round_01: the pseudo-labels are damaged"):
            read_group(path, about)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two annotated cases; among the CTs without labels one is the first of them."""
    folder = tmp_path_factory.mktemp("data")
    affine = np.diag([-8.0, -8.0, 5.0, 1.0])
    for name, seeds in {"toy": (0, 1), "more": (9,)}.items():
        write_about(folder / name, numTraining=len(seeds))
        for seed in seeds:
            write_case(folder / name, f"{name}_{seed}", lung_block(lesion=2), affine, seed=seed)
    (folder / "cts").mkdir()
    for name, image in {"again": "toy/imagesTr/toy_0", "new": "more/imagesTr/more_9"}.items():
        content = (folder / f"{image}_0000.nii.gz").read_bytes()
        (folder / "cts" / f"{name}.nii.gz").write_bytes(content)
    return folder


def _request(data: Path, output: Path, **changes) -> TrainRequest:
    fields = {"preset": TINY, "validation": ("toy_0",), "device": "cpu", "tensorboard": False}
    return TrainRequest(data / "toy", output, **{**fields, **changes})


def test_rounds_add_slices_of_nobody_who_measures_and_go_on_exactly(
    data: Path, tmp_path: Path
) -> None:
    labels = PseudoLabels((data / "cts",), rounds=5, group=2)
    result = run_to_end(pseudo_label(_request(data, tmp_path / "a"), labels))
    assert result.model == tmp_path / "a" / "a.json"
    assert result.origin.endswith("tensors; 3 slices have pseudo-labels")
    card = load(tmp_path / "a").card["training"]
    # three slices, all of the CT that does not measure: two rounds are enough
    assert sorted(card["pseudo_slices"]) == [f"pseudo_new_{z}" for z in range(3)]
    assert card["training_cases"] == ["toy_1"]
    assert card["validation_cases"] == ["toy_0"]
    assert card["validation"]["lung"]["cases"] == 1
    assert card["trained_patients"] == sorted([hidden("toy_1"), hidden("new")])
    assert load(tmp_path / "a" / "rounds" / "0").card["training"]["pseudo_slices"] == []
    first = json.loads((tmp_path / "a" / "pseudo" / "round_01.json").read_text())
    assert first["model_sha256"] == load(tmp_path / "a" / "rounds" / "0").sha256
    assert len(first["slices"]) == 2
    steps = pseudo_label(_request(data, tmp_path / "b"), labels)
    for _ in steps:
        if (tmp_path / "b" / "pseudo" / "round_01.json").is_file():
            break
    steps.close()
    run_to_end(pseudo_label(_request(data, tmp_path / "b", resume=True, name="a"), labels))
    assert load(tmp_path / "b").sha256 == load(tmp_path / "a").sha256
    assert load(tmp_path / "a").sha256 != load(tmp_path / "a" / "rounds" / "1").sha256
    with pytest.raises(UsageError, match="holds a training already"):
        run_to_end(pseudo_label(_request(data, tmp_path / "a"), labels))


def test_a_folder_that_holds_something_else_is_refused_before_the_first_round(
    data: Path, tmp_path: Path
) -> None:
    """The last round's folder is the one asked for: it would be refused after hours."""
    labels = PseudoLabels((data / "cts",), rounds=1, group=1)
    plain = tmp_path / "plain"
    run_to_end(train(_request(data, plain)))
    with pytest.raises(UsageError, match="plain: holds a training already"):
        run_to_end(pseudo_label(_request(data, plain), labels))
    with pytest.raises(UsageError, match="plain: holds a training without pseudo-labels"):
        run_to_end(pseudo_label(_request(data, plain, resume=True), labels))
    assert not (plain / "rounds").exists()


def test_a_scan_that_cannot_be_read_is_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "cts").mkdir()
    content = (data / "cts" / "new.nii.gz").read_bytes()
    (tmp_path / "cts" / "new.nii.gz").write_bytes(content)
    (tmp_path / "cts" / "torn.nii.gz").write_bytes(content[:100])
    labels = PseudoLabels((tmp_path / "cts",), rounds=1, group=1)
    result = run_to_end(pseudo_label(_request(data, tmp_path / "out"), labels))
    assert [one for one in result.warnings if one.startswith("left out: torn.nii.gz")]


def test_what_cannot_be_done_is_said(data: Path, tmp_path: Path) -> None:
    for changes in ({"rounds": 0}, {"group": 0}, {"confidence": 1.0}):
        with pytest.raises(UsageError, match="expected one or more"):
            PseudoLabels((data,), **changes)
    only_held_out = PseudoLabels((data / "cts" / "again.nii.gz",))
    with pytest.raises(InputError, match="no slice without labels is left"):
        run_to_end(pseudo_label(_request(data, tmp_path / "x"), only_held_out))
    weights = replace(TINY, dataset_weights={"toy": 1.0})
    with pytest.raises(UsageError, match="leave out the dataset pseudo"):
        run_to_end(pseudo_label(_request(data, tmp_path / "x", preset=weights), only_held_out))
