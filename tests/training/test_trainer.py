import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.models.checkpoint import read_checkpoint
from napari_covseg.models.unet_lite import UNetLite
from napari_covseg.training.config import (
    DEVELOPMENT_VALIDATION,
    FOLDS,
    TrainConfig,
    development_fold,
)
from napari_covseg.training.pretrained import imagenet_weights, load_encoder
from napari_covseg.training.trainer import train

TINY = replace(
    TrainConfig(),
    network="unet2d",
    arguments=(("channels", (8, 16)),),
    pretrained=False,
    patch=(32, 32),
    batch=4,
    steps=60,
    warm_up=5,
    learning_rate=1e-2,
    ema=0.9,
    set_weights=(("toy", 1.0),),
)


@pytest.fixture
def toy_data(tmp_path: Path) -> Path:
    """Bright discs are consolidation, grey ones lung, on a dark ground."""
    data = tmp_path / "data"
    for folder in ("imagesTr", "labelsTr"):
        (data / "toy" / folder).mkdir(parents=True)
    scheme = {"background": 0, "lung": 1, "consolidation": 2}
    (data / "toy" / "dataset.json").write_text(json.dumps({"labels": scheme}))
    affine = np.diag([-1.35, -1.35, 5.0, 1.0])
    rows = ["case,patient"]
    x, y = np.mgrid[:48, :48]
    for number in range(3):
        labels = np.zeros((48, 48, 4), np.uint8)
        labels[(x - 20) ** 2 + (y - 24) ** 2 < 200] = 1
        labels[(x - 20 - 2 * number) ** 2 + (y - 24) ** 2 < 40] = 2
        hu = np.choose(labels, [-1200, -700, 50]).astype(np.int16)
        nib.save(nib.Nifti1Image(hu, affine), data / f"toy/imagesTr/t{number}_0000.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), data / f"toy/labelsTr/t{number}.nii.gz")
        rows.append(f"t{number},p{number}")
    (data / "cases.csv").write_text("\n".join(rows))
    return data


def _loss(step: Progress) -> float:
    return float(step.message.split()[1].rstrip(","))


def test_training_learns_and_writes_a_model(toy_data: Path, tmp_path: Path) -> None:
    steps: list[Progress] = []
    card = run_to_end(train(toy_data, tmp_path / "out", "toy", TINY, ("p2",)), steps.append)
    losses = [_loss(step) for step in steps[1:]]
    assert losses[-1] < 0.6 * losses[0]
    model = read_checkpoint(card)
    assert model.card["training"]["left_out_patients"] == ["p2"]
    assert model.card["training"]["steps_done"] == 60
    hu = np.choose(np.arange(4)[:, None] // 2 * np.ones((4, 48), int), [-700, 50])
    image = torch.from_numpy(TINY.recipe.to_grey(np.repeat(hu, 12, 0)) / 127.5 - 1).float()
    classes = model.network(image[None, None]).argmax(1)[0]
    assert float((classes[4:20, 8:40] == 1).float().mean()) > 0.9
    assert float((classes[28:44, 8:40] == 3).float().mean()) > 0.9


def test_a_pretrained_encoder_learns_more_slowly(toy_data: Path, tmp_path: Path) -> None:
    settings = replace(TINY, network="unet_lite", arguments=(), pretrained=True, batch=2, steps=1)
    settings = replace(settings, warm_up=1, encoder_rate=0.0, weight_decay=0.0)
    model = read_checkpoint(run_to_end(train(toy_data, tmp_path, "toy", settings, ())))
    start = UNetLite()
    load_encoder(start, imagenet_weights())
    kept = {k: v for k, v in model.network.state_dict().items() if k.startswith("encoder.")}
    for key, value in start.state_dict().items():
        if key.startswith("encoder.") and key.endswith("weight"):
            assert torch.allclose(kept[key], value, rtol=1e-3, atol=1e-6)  # kept as float16
    assert model.card["training"]["settings"]["encoder_rate"] == 0.0


def test_there_are_no_imagenet_weights_for_other_networks(toy_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no ImageNet weights for network 'unet2d'"):
        run_to_end(train(toy_data, tmp_path, "toy", replace(TINY, pretrained=True), ()))


def test_each_patient_is_kept_from_training_in_one_fold() -> None:
    patients = [*DEVELOPMENT_VALIDATION, *(f"s{n:02}" for n in range(60, 71)), "r1", "c1"]
    folds = [development_fold(patients, fold) for fold in range(FOLDS)]
    assert folds[0] == DEVELOPMENT_VALIDATION
    assert sorted(one for fold in folds for one in fold) == sorted(patients)
    assert {len(fold) for fold in folds[1:]} == {4, 5}


def test_a_seed_gives_the_same_weights(toy_data: Path, tmp_path: Path) -> None:
    short = replace(TINY, steps=3)
    hashes = [
        read_checkpoint(
            run_to_end(train(toy_data, tmp_path / str(n), "toy", replace(short, seed=seed), ()))
        ).sha256
        for n, seed in enumerate((1, 1, 2))
    ]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]
