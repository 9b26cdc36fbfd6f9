import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.models.checkpoint import read_checkpoint
from napari_covseg.training.config import TrainConfig
from napari_covseg.training.trainer import train

TINY = replace(
    TrainConfig(),
    channels=(8, 16),
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
