"""``covseg train`` under torchrun: two real processes, one killed, and the training goes on."""

import csv
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from raw_datasets import lung_block, write_about, write_case

EPOCHS = 5
SETTINGS = (
    *("network=unet2d", 'network_arguments={"channels":[8,16]}', "pretrained=false"),
    *("patch=16,16", "batch=2", "batches=8", f"epochs={EPOCHS}", "warm_up=1", "workers=0"),
    *("precision=float32", "learning_rate=0.02", "ema=0", "spacing_mm=8"),
)


def torchrun(data: Path, output: Path) -> subprocess.Popen:
    """The command of docs/how-to/train.md."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "napari_covseg.cli.main", "train", str(data)),
            *("--output", str(output), "--device", "cpu", "--fold", "1/3", "--resume"),
            *(word for setting in SETTINGS for word in ("--set", setting)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def epochs(output: Path) -> list[dict[str, str]]:
    path = output / "logs" / "epochs.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("lightning_fabric") is None
    or importlib.util.find_spec("psutil") is None,
    reason="extras 'train' and 'cluster'",
)
def test_two_processes_one_killed_and_resumed(tmp_path: Path) -> None:
    import psutil

    data, output = tmp_path / "toy", tmp_path / "model"
    write_about(data)
    for number in range(3):
        affine = np.diag([-8.0, -8.0, 5.0, 1.0])
        write_case(data, f"toy_{number}", lung_block(lesion=2), affine, seed=number)

    first = torchrun(data, output)
    begun = time.monotonic()
    while not epochs(output):
        assert first.poll() is None, first.communicate()[1][-3000:]
        assert time.monotonic() - begun < 900
        time.sleep(0.05)
    ranks = {one.environ()["RANK"]: one for one in psutil.Process(first.pid).children()}
    ranks["1"].kill()
    _, errors = first.communicate(timeout=600)
    assert first.returncode != 0
    done = len(epochs(output))
    assert 1 <= done < EPOCHS
    assert "go on with --resume" in errors
    assert "this is a fault of covseg" not in errors

    second = torchrun(data, output)
    told, errors = second.communicate(timeout=900)
    assert second.returncode == 0, errors[-3000:]
    assert told.count("2 cases, 5 epochs (epochs)") == 1  # one of the two tells
    rows = epochs(output)
    assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))
    losses = [float(row["loss"]) for row in rows]
    assert losses[-1] < 0.8 * losses[0]
    assert not list(output.rglob("*.tmp"))
    assert sorted(path.name for path in output.glob("model.*")) == [
        *("model.json", "model.safetensors"),
    ]
