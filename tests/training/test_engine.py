import csv
import errno
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_covseg.domain.errors import CovsegError, InputError, ResourceError, UsageError
from napari_covseg.domain.progress import Progress, Steps, run_to_end
from napari_covseg.models.device import Device
from napari_covseg.training import account, engine
from napari_covseg.training.dataset import UNLABELLED
from napari_covseg.training.engine import fit
from napari_covseg.training.job import STATE, Job, check_folder
from napari_covseg.training.learner import Learner, as_set, out_of_memory
from napari_covseg.training.logs import read_rows
from napari_covseg.training.losses import partial_label_loss
from napari_covseg.training.parallel import Alone
from napari_covseg.training.schedules import Preset
from napari_covseg.training.state import read_state, write_state

CPU = Device("cpu", "CPU")
SHORT = Preset(
    pretrained=False,
    patch=(16, 16),
    batch=2,
    batches=4,
    epochs=3,
    warm_up=2,
    learning_rate=1e-2,
    ema=0.9,
    workers=2,
    compile=False,
)


class ToySource:
    """Bright squares are consolidation, the rest is lung."""

    def __init__(self, seed: int, wait_s: float = 0.0) -> None:
        self._random, self._wait_s = np.random.default_rng(seed), wait_s

    def next_batch(self):
        time.sleep(self._wait_s)
        codes = np.full((2, 16, 16), 6, np.uint8)
        for one in codes:
            y, x = self._random.integers(0, 10, 2)
            one[y : y + 6, x : x + 6] = 4
        noise = self._random.normal(0, 0.1, codes.shape)
        images = np.where(codes == 4, 0.5, -0.5) + noise
        return torch.from_numpy(images[:, None].astype(np.float32)), torch.from_numpy(codes)

    def state_dict(self):
        return {"random": self._random.bit_generator.state}

    def load_state_dict(self, state):
        self._random.bit_generator.state = state["random"]


def toy_network() -> nn.Module:
    """With batch statistics and with random numbers of its own."""
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Conv2d(6, 4, 1),
    )


class ToyCase:
    def __init__(self, name: str) -> None:
        images, codes = ToySource(99).next_batch()
        self.name, self.patient = name, f"patient of {name}"
        self.image, self.codes = images, codes.numpy()


def toy_predict(network: nn.Module, case: ToyCase) -> Steps[np.ndarray]:
    yield Progress(0, 1, "predicting")
    with torch.inference_mode():
        return network(case.image).argmax(1).numpy().astype(np.uint8)


def job(folder: Path, preset: Preset = SHORT, **changes) -> Job:
    fields = {
        "preset": preset,
        "device": CPU,
        "network": toy_network(),
        "loss": partial_label_loss,
        "make_source": ToySource,
        "folder": folder,
        "identity": {"data": "abc"},
        "cases": (ToyCase("one"),),
        "predict": toy_predict,
        "tensorboard": False,
    }
    return Job(**{**fields, **changes})


def losses(folder: Path) -> list[tuple[str, str]]:
    with (folder / "logs" / "steps.csv").open(newline="") as file:
        return [(row["step"], row["loss"]) for row in csv.DictReader(file)]


def epochs(folder: Path) -> list[tuple[str, ...]]:
    with (folder / "logs" / "epochs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["epoch"], row["loss"], row["dice_lung"], row["learning_rate"]) for row in rows]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory):
    """A training that was never interrupted: its folder and the network at its end."""
    folder = tmp_path_factory.mktemp("straight")
    kept = {}
    run_to_end(fit(job(folder, publish=lambda net, *_: kept.update(weights(net)))))
    return folder, kept


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def test_it_learns_logs_and_tells(tmp_path: Path) -> None:
    preset = replace(SHORT, epochs=12, batches=5)
    told = []
    result = run_to_end(fit(job(tmp_path, preset)), told.append)
    rows = losses(tmp_path)
    assert [int(step) for step, _ in rows] == list(range(1, 61))
    assert float(rows[-1][1]) < 0.5 * float(rows[0][1])
    assert result.stopped == "epochs"
    assert (result.last.epoch, result.last.step) == (12, 60)
    consolidation = result.last.validation.figures["consolidation"]
    assert consolidation.mean > 0.8
    assert (consolidation.patients, consolidation.cases) == (1, 1)
    scores = [t.validation.score for t in told if t.validation is not None]
    assert result.best.epoch == 1 + scores.index(max(scores))
    assert result.best.validation.score == max(scores) > scores[0]
    assert told[0].loss == float(rows[0][1])
    assert [t.epoch for t in told if t.validation is not None] == list(range(1, 13))
    mean = np.mean([float(loss) for _, loss in rows[:5]])
    assert float(epochs(tmp_path)[0][1]) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("after", [1, 4, 6, 9])
def test_a_cancelled_training_goes_on_exactly(straight, tmp_path: Path, after: int) -> None:
    folder, kept = straight
    steps = fit(job(tmp_path))
    for _ in range(after):
        next(steps)
    steps.close()
    again = {}
    resumed = job(tmp_path, resume=True, publish=lambda net, *_: again.update(weights(net)))
    run_to_end(fit(resumed))
    assert losses(tmp_path) == losses(folder)
    assert epochs(tmp_path) == epochs(folder)
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[key], again[key]) for key in kept)


class HalfLabelled(ToySource):
    """The second of each two patches is of a case that nobody has labelled."""

    def next_batch(self):
        images, codes = super().next_batch()
        codes[1] = UNLABELLED
        return images, codes


def test_one_that_distils_goes_on_exactly(tmp_path: Path) -> None:
    kept, again, alone = {}, {}, {}

    def run(folder: str, into: dict, stop_after: int = 0, distillation: float = 2.0) -> None:
        changes = {"make_source": HalfLabelled, "distillation": distillation}
        if stop_after:
            steps = fit(job(tmp_path / folder, **changes))
            for _ in range(stop_after):
                next(steps)
            steps.close()
        publish = lambda net, *_: into.update(weights(net))  # noqa: E731
        run_to_end(fit(job(tmp_path / folder, publish=publish, resume=True, **changes)))

    run("straight", kept)
    run("stopped", again, stop_after=6)
    run("without", alone, distillation=0.0)
    assert losses(tmp_path / "straight") == losses(tmp_path / "stopped")
    assert all(torch.equal(kept[key], again[key]) for key in kept)
    assert losses(tmp_path / "straight") != losses(tmp_path / "without")


def test_another_seed_gives_another_curve(straight, tmp_path: Path) -> None:
    run_to_end(fit(job(tmp_path, replace(SHORT, seed=1))))
    assert losses(tmp_path)[0] != losses(straight[0])[0]


def test_no_two_sources_share_a_seed(tmp_path: Path) -> None:
    seen = []

    def source(seed: int) -> ToySource:
        seen.append(seed)
        return ToySource(seed)

    for seed in (0, 1, 1000):
        for rank in (0, 1):
            preset = replace(SHORT, seed=seed, workers=2)
            parallel = Alone(rank)
            steps = fit(
                job(tmp_path / f"{seed}-{rank}", preset, make_source=source, parallel=parallel)
            )
            next(steps)
            steps.close()
    assert len(seen) == len(set(seen)) == 12


def test_figures_of_speed_leave_out_measuring(tmp_path: Path, monkeypatch) -> None:
    busy = iter(range(100))
    monkeypatch.setattr(account, "_gpu_percent", lambda device: float(next(busy)))

    def slow_to_measure(network: nn.Module, case: ToyCase) -> Steps[np.ndarray]:
        time.sleep(1.5)
        return (yield from toy_predict(network, case))

    slow = lambda seed: ToySource(seed, wait_s=0.1)  # noqa: E731
    changes = {"predict": slow_to_measure, "make_source": slow}
    preset = replace(SHORT, epochs=2, workers=0)
    steps = fit(job(tmp_path, preset, **changes))
    for _ in range(3):
        next(steps)
    steps.close()
    result = run_to_end(fit(job(tmp_path, preset, resume=True, **changes)))
    first, second = read_rows(tmp_path / "logs" / "epochs.csv")
    # Each batch of two takes 0.1 s and more; of the first epoch one step is left after the resume.
    assert float(first["seconds"]) < float(second["seconds"])
    assert 1 < float(first["images_per_second"]) <= 20
    assert float(first["images_per_second"]) == pytest.approx(2 / float(first["seconds"]), rel=0.01)
    assert result.seconds > 3
    assert 16 / result.images_per_second < result.seconds - 2.9
    assert result.images_per_second <= 20
    assert [float(row["gpu_percent"]) for row in (first, second)] == [3, 5.5]
    assert result.gpu_percent == 5


def test_a_model_in_the_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text("{}")
    (tmp_path / "alone.safetensors").write_bytes(b"")
    assert check_folder(tmp_path, SHORT, {}, resume=False) is None
    (tmp_path / "alone.json").write_text("{}")
    with pytest.raises(UsageError, match="holds a model already"):
        run_to_end(fit(job(tmp_path)))
    assert check_folder(tmp_path, SHORT, {}, resume=True) is None


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    folder = engine_state(tmp_path).parent
    folder.mkdir()
    for name in (".training.state.0a1b2c3d.tmp", ".other.tmp"):
        (folder / name).write_bytes(b"half")
    for rank, left in ((1, 2), (0, 1)):
        steps = fit(job(tmp_path, parallel=Alone(rank)))
        next(steps)
        assert len(list(folder.glob(".*.tmp"))) == left
        steps.close()
        engine_state(tmp_path).unlink(missing_ok=True)


class TwoCards:
    """A process of two, each with a card whose generator's state is the process's number."""

    def __init__(self, rank: int) -> None:
        self.rank, self.size = rank, 2

    def wrap(self, network: nn.Module) -> nn.Module:
        return network

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def mean(self, value: float) -> float:
        return value

    def gather(self, item):
        return [{**item, "random_cuda": torch.tensor([rank])} for rank in (0, 1)]

    def agree(self, item):
        return item


def test_each_process_goes_on_with_its_own_generator(tmp_path: Path, monkeypatch) -> None:
    restored: list[int | None] = []

    def restore(device: Device, state: dict) -> None:
        restored.append(state["random_cuda"].item() if "random_cuda" in state else None)

    monkeypatch.setattr(engine, "set_random_state", restore)

    def resume() -> list[int | None]:
        restored.clear()
        for rank in (0, 1):
            resumed = fit(job(tmp_path, parallel=TwoCards(rank), resume=True))
            next(resumed)
            resumed.close()
        return restored

    steps = fit(job(tmp_path, parallel=TwoCards(0)))
    # Several processes save at the end of an epoch only.
    next(step for step in steps if step.validation)
    steps.close()
    assert resume() == [0, 1]
    older = read_state(engine_state(tmp_path))
    for lane in older["processes"]:
        del lane["random_cuda"]
    write_state(engine_state(tmp_path), {**older, "random_cuda": torch.tensor([5])})
    assert resume() == [5, None]


def test_threads_do_not_change_the_batches(tmp_path: Path) -> None:
    for workers in (0, 1):
        run_to_end(fit(job(tmp_path / str(workers), replace(SHORT, workers=workers))))
    assert losses(tmp_path / "0") == losses(tmp_path / "1")


def test_a_finished_training_is_not_repeated(straight) -> None:
    folder, _ = straight
    told = []
    result = run_to_end(fit(job(folder, resume=True)), told.append)
    assert told == []
    assert result.stopped == "epochs"
    assert result.last.step == 12
    assert len(losses(folder)) == 12


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_engine as toy
from napari_covseg.domain.progress import run_to_end
from napari_covseg.training.engine import fit
slow = lambda seed: toy.ToySource(seed, wait_s=0.15)
run_to_end(fit(toy.job(Path(sys.argv[1]), make_source=slow)))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_a_killed_training_goes_on_exactly(straight, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent)],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    try:
        for _ in range(1200):
            if (tmp_path / "logs" / "steps.csv").is_file() and engine_state(tmp_path).is_file():
                break
            assert child.poll() is None
            time.sleep(0.05)
        time.sleep(0.2)
        child.send_signal(signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
    finally:
        child.kill()
    with pytest.raises(UsageError, match="holds a training already"):
        run_to_end(fit(job(tmp_path)))
    run_to_end(fit(job(tmp_path, resume=True)))
    assert losses(tmp_path) == losses(straight[0])
    assert epochs(tmp_path) == epochs(straight[0])


def engine_state(folder: Path) -> Path:
    return folder / STATE


def test_settings_that_differ_are_named(straight) -> None:
    with pytest.raises(UsageError, match=r"other settings: batch was 2, is 3\. Resume"):
        run_to_end(fit(job(straight[0], replace(SHORT, batch=3), resume=True)))
    with pytest.raises(UsageError, match="data was abc, is xyz"):
        run_to_end(fit(job(straight[0], identity={"data": "xyz"}, resume=True)))


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    steps = fit(job(tmp_path))
    next(steps)
    steps.close()
    whole = engine_state(tmp_path).read_bytes()
    middle = len(whole) // 2
    changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for content in (whole[:-100], changed):
        engine_state(tmp_path).write_bytes(content)
        with pytest.raises(InputError, match=r"training\.state: .* is damaged"):
            run_to_end(fit(job(tmp_path, resume=True)))
    engine_state(tmp_path).write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="no training state"):
        run_to_end(fit(job(tmp_path, resume=True)))


def test_a_loss_that_is_no_number_keeps_the_last_good_state(straight, tmp_path: Path) -> None:
    calls = []

    def breaks(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        loss = partial_label_loss(logits, allowed)
        return loss * math.nan if len(calls) == 7 else loss

    with pytest.raises(CovsegError, match=r"loss is no longer a number at step 7.*learning_rate"):
        run_to_end(fit(job(tmp_path, loss=breaks)))
    run_to_end(fit(job(tmp_path, resume=True)))
    assert losses(tmp_path) == losses(straight[0])


def test_a_full_disk_keeps_the_older_state(straight, tmp_path: Path, monkeypatch) -> None:
    fsync, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(1)
        if len(calls) == 4:  # two logs and the first epoch's state come before
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="disk is full"):
        run_to_end(fit(job(tmp_path)))
    monkeypatch.undo()
    assert [path.name for path in engine_state(tmp_path).parent.iterdir()] == ["training.state"]
    steps = fit(job(tmp_path, resume=True))
    assert next(steps).done == 5
    run_to_end(steps)
    assert losses(tmp_path) == losses(straight[0])


def test_memory_that_runs_out_says_what_to_lower(tmp_path: Path) -> None:
    def greedy(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(ResourceError, match=r"2 patches of 16 x 16 .*--set batch=1"):
        run_to_end(fit(job(tmp_path, loss=greedy)))
    one = replace(SHORT, batch=1, patch=(192, 224))
    assert "--set patch=96,112" in str(out_of_memory(MemoryError(), one, CPU))
    assert out_of_memory(RuntimeError("shapes differ"), one, CPU) is None
    with pytest.raises(RuntimeError, match="shapes differ"):
        run_to_end(fit(job(tmp_path, loss=raises(RuntimeError("shapes differ")))))


def raises(error: Exception):
    def loss(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        raise error

    return loss


def test_early_stop_follows_the_training_loss(tmp_path: Path) -> None:
    def stands_still(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        return 1 + 0 * logits.sum()

    preset = replace(
        SHORT, epochs=20, batches=1, rate_rule="plateau", patience=2, stop_after=5, least_rate=1e-3
    )
    result = run_to_end(fit(job(tmp_path, preset, loss=stands_still)))
    assert result.stopped == "early stop"
    assert result.last.epoch == 6
    rates = [float(row[3]) for row in epochs(tmp_path)]
    assert rates == pytest.approx([1e-2] * 3 + [1e-3] * 3)


def test_a_time_budget_ends_the_cosine(tmp_path: Path) -> None:
    preset = replace(SHORT, epochs=100000, minutes=1.5 / 60, warm_up=1, workers=0)
    slow = lambda seed: ToySource(seed, wait_s=0.02)  # noqa: E731
    told = []
    begun = time.monotonic()
    result = run_to_end(fit(job(tmp_path, preset, make_source=slow, cases=())), told.append)
    assert result.stopped == "minutes"
    assert time.monotonic() - begun < 30
    assert told[-1].learning_rate < 0.2 * preset.learning_rate
    assert result.last.step == len(losses(tmp_path))


@dataclass(frozen=True)
class Counted(Alone):
    """Counts what only all processes together can do."""

    calls: list[str] = field(default_factory=list)

    def agree(self, item):
        self.calls.append("agree")
        return item


def test_the_first_process_measures_without_the_others(tmp_path: Path) -> None:
    parallel, seen = Counted(), []

    def predict(network: nn.Module, case: ToyCase) -> Steps[np.ndarray]:
        before = len(parallel.calls)
        result = yield from toy_predict(network, case)
        seen.append(len(parallel.calls) - before)
        return result

    preset = replace(SHORT, minutes=60.0)
    told = []
    run_to_end(fit(job(tmp_path, preset, predict=predict, parallel=parallel)), told.append)
    assert seen == [0, 0, 0]
    assert len(parallel.calls) >= 12
    assert len(told) == 12 + 3 * (2 + 1)  # Of each epoch two of measuring, and its end


def test_the_average_follows_weights_and_batch_statistics() -> None:
    network = toy_network()
    learner = Learner(network, partial_label_loss, replace(SHORT, ema=0.5), CPU, Alone())
    before = weights(learner.kept)
    learner.step(*ToySource(0).next_batch(), rate=1e-2, number=1)
    assert learner.kept is not learner.network
    now, average = network.state_dict(), learner.kept.state_dict()
    decay = 1 / 11
    for key in ("0.weight", "1.running_mean", "1.running_var"):
        expected = decay * before[key] + (1 - decay) * now[key]
        assert not torch.equal(before[key], now[key])
        torch.testing.assert_close(average[key], expected)
    assert Learner(network, partial_label_loss, replace(SHORT, ema=0), CPU, Alone()).kept is network


def test_volumes_train_in_float32_on_a_cpu() -> None:
    fast = Device("cpu", "CPU", "bfloat16")
    volumes = replace(SHORT, recipe="mueller2021", patch=(8, 8, 8), precision="auto")
    slices = replace(SHORT, precision="auto")
    assert as_set(fast, volumes).precision == "float32"
    assert as_set(fast, slices).precision == "bfloat16"
    assert as_set(fast, replace(volumes, precision="bfloat16")).precision == "bfloat16"
    assert as_set(Device("cuda:0", "card", "bfloat16"), volumes).precision == "bfloat16"


def test_long_gradients_are_clipped() -> None:
    moved = {}
    for clip in (0.0, 1e-3):
        network = toy_network()
        preset = replace(SHORT, clip=clip, optimiser="adam", ema=0, weight_decay=0)
        learner = Learner(network, partial_label_loss, preset, CPU, Alone())
        values = learner.step(*ToySource(0).next_batch(), rate=0.0, number=1)
        moved[clip] = math.sqrt(
            sum(float((p.grad**2).sum()) for p in network.parameters() if p.grad is not None)
        )
        assert values.values()[1] > 1e-2
    assert moved[0.0] > 1e-2
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns(tmp_path: Path, precision: str) -> None:
    preset = replace(SHORT, precision=precision, epochs=8)
    run_to_end(fit(job(tmp_path, preset)))
    rows = [float(loss) for _, loss in losses(tmp_path)]
    assert rows[-1] < 0.8 * rows[0]
