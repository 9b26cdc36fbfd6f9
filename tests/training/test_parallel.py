"""Two processes (gloo, CPU) against one with the doubled batch."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.models.device import Device
from napari_covseg.training.engine import fit
from napari_covseg.training.job import Job
from napari_covseg.training.logs import read_rows
from napari_covseg.training.losses import allowed_cross_entropy
from napari_covseg.training.parallel import Alone, Together, several_processes
from napari_covseg.training.schedules import Preset

PRESET = Preset(
    pretrained=False,
    patch=(8, 8),
    batch=2,
    batches=3,
    epochs=2,
    warm_up=1,
    learning_rate=1e-2,
    optimiser="adam",
    weight_decay=0,
    ema=0.5,
    workers=0,
    precision="float32",
    minutes=60.0,
)


class Half:
    """Batches of ``count`` images out of a fixed list: the same list, whole or in halves."""

    def __init__(self, first: int, count: int) -> None:
        self.step, self.first, self.count = 0, first, count

    def next_batch(self):
        random = np.random.default_rng(self.step)
        self.step += 1
        images = random.normal(size=(4, 1, 8, 8)).astype(np.float32)
        codes = np.where(images[:, 0] > 0.3, 4, 6).astype(np.uint8)
        mine = slice(self.first, self.first + self.count)
        return torch.from_numpy(images[mine]), torch.from_numpy(codes[mine])

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


class Measured:
    """A case that only the first process measures."""

    def __init__(self) -> None:
        self.name = self.patient = "one"
        self.image, codes = Half(0, 1).next_batch()
        self.codes = codes.numpy()


def predict(net: nn.Module, case: Measured):
    yield Progress(0, 1, "predicting")
    with torch.inference_mode():
        return net(case.image).argmax(1).numpy().astype(np.uint8)


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1))


def train(folder: Path, parallel, first: int, count: int, resume: bool = False, stop: int = 0):
    kept = {}

    def publish(net: nn.Module, report, best: bool) -> None:
        kept.update({key: value.tolist() for key, value in net.state_dict().items()})

    steps = fit(
        Job(
            preset=replace(PRESET, batch=count),
            device=Device("cpu", "CPU"),
            network=network(),
            loss=allowed_cross_entropy,
            make_source=lambda seed: Half(first, count),
            folder=folder,
            cases=(Measured(),),
            predict=predict,
            publish=publish,
            parallel=parallel,
            tensorboard=False,
            resume=resume,
        )
    )
    if stop:
        shared = (step for step in steps if "validation, case" not in step.message)
        for _ in range(stop):
            next(shared)
        steps.close()
        return None, kept
    return run_to_end(steps), kept


WORKER = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_parallel as toy
from napari_covseg.training.parallel import Together
folder = Path(sys.argv[1])
together = Together("cpu")
toy.train(folder / "two", together, 2 * together.rank, 2, stop=5)
result, kept = toy.train(folder / "two", together, 2 * together.rank, 2, resume=True)
(folder / f"{together.rank}.json").write_text(json.dumps([result.last.loss, together.size, kept]))
"""


needs_fabric = pytest.mark.skipif(
    importlib.util.find_spec("lightning_fabric") is None, reason="extra 'train'"
)


def run_together(script: Path, arguments: list[str], count: int) -> list[str]:
    """Run a script in ``count`` processes, as torchrun would; what each wrote."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    common = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    common |= {"TORCHELASTIC_RUN_ID": "test"}
    children = [
        subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = []
    for child in children:
        out, errors = child.communicate(timeout=400)
        assert child.returncode == 0, errors[-2000:]
        said.append(out)
    return said


LEAVING = """
import atexit
import torch
atexit.register(lambda: print("still there:", torch.distributed.is_initialized()))
from napari_covseg.training.parallel import Together
together = Together("cpu")
print("there:", torch.distributed.is_initialized(), together.gather(7))
"""


@pytest.mark.slow
@needs_fabric
def test_the_process_group_ends_before_python_does(tmp_path: Path) -> None:
    """Its threads abort a process that ends while they run, but now and then only."""
    (tmp_path / "worker.py").write_text(LEAVING)
    (said,) = run_together(tmp_path / "worker.py", [], 1)
    assert "there: True [7]" in said
    assert "still there: False" in said


@pytest.mark.slow
@needs_fabric
def test_two_processes_equal_one_with_both_batches(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    run_together(tmp_path / "worker.py", [str(tmp_path), str(Path(__file__).parent)], 2)
    result, kept = train(tmp_path / "one", Alone(), 0, 4)
    for rank in range(2):
        loss, size, theirs = json.loads((tmp_path / f"{rank}.json").read_text())
        assert size == 2
        assert loss == pytest.approx(result.last.loss, rel=1e-5)
        if rank == 0:
            assert theirs.keys() == kept.keys()
            for key, value in kept.items():
                np.testing.assert_allclose(theirs[key], value, rtol=1e-4, atol=1e-6)
    start = network().state_dict()
    assert not np.allclose(kept["0.weight"], start["0.weight"].numpy(), atol=1e-3)
    logs = {name: read_rows(tmp_path / name / "logs" / "epochs.csv") for name in ("one", "two")}
    assert [float(row["loss"]) for row in logs["two"]] == pytest.approx(
        [float(row["loss"]) for row in logs["one"]], rel=1e-5
    )


def test_without_fabric_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(UsageError, match=r"napari-covseg\[train\]"):
        Together("cpu")


def test_several_processes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert not several_processes()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not several_processes()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert several_processes()
