import json
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from raw_datasets import lung_block, write_about, write_case, write_patients

from napari_covseg.domain.errors import (
    Cancelled,
    CovsegError,
    InputError,
    ModelError,
    ResourceError,
    UsageError,
)
from napari_covseg.domain.labels import label_by_name
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.inference.sliding import PatchRunner
from napari_covseg.io import read_volume
from napari_covseg.io.nnunet import read_datasets
from napari_covseg.models.zoo import load
from napari_covseg.training.logs import read_rows
from napari_covseg.training.outcome import TrainingProgress
from napari_covseg.training.process import Handle
from napari_covseg.training.schedules import PRESETS
from napari_covseg.workflows.segment import SegmentSettings, segment
from napari_covseg.workflows.split import split_by_fold, split_by_patients
from napari_covseg.workflows.train import start_training, train
from napari_covseg.workflows.train_request import TrainRequest, TrainResult

TINY = PRESETS["fast"].with_settings(
    [
        *("network=unet2d", 'network_arguments={"channels":[8,16]}', "pretrained=false"),
        *("patch=16,16", "batch=2", "batches=3", "epochs=2", "warm_up=1", "workers=1"),
        *("precision=float32", "learning_rate=0.01", "ema=0"),
        "spacing_mm=8",
    ]
)
TINY_3D = PRESETS["mueller2021"].with_settings(
    [
        *('network_arguments={"channels":[4,8]}', "patch=4,16,16", "batches=2", "epochs=2"),
        *("workers=0", "precision=float32", "spacing_mm=5,8,8"),
    ]
)

INFNET = {"loss": "iou_bce", "batches": 8, "learning_rate": 3e-3}


def write_toy(folder: Path, lesions: tuple[int, ...]) -> None:
    """Cases as wide as a chest."""
    write_about(folder, numTraining=len(lesions))
    for number, lesion in enumerate(lesions):
        affine = np.diag([-8.0, -8.0, 5.0, 1.0])
        write_case(folder, f"toy_{number}", lung_block(lesion=lesion), affine, seed=number)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases of three patients."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    write_toy(folder, (2, 3, 2, 3))
    write_patients(
        folder / "cases.csv", {"toy_0": "p0", "toy_1": "p1", "toy_2": "p2", "toy_3": "p2"}
    )
    return folder


def request(data: Path, output: Path, **changes) -> TrainRequest:
    fields = {"preset": TINY, "validation": ("toy_0",), "device": "cpu", "tensorboard": False}
    return TrainRequest(data, output, **{**fields, **changes})


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    output = tmp_path_factory.mktemp("trained") / "fold_1"
    preset = replace(TINY, epochs=10, batches=6)
    return run_to_end(train(request(data, output, preset=preset)))


def test_the_model_can_be_used(trained: TrainResult, data: Path) -> None:
    model = load(trained.model.parent)
    assert model.name == "fold_1"
    about = model.card["training"]
    assert about["training_cases"] == ["toy_1", "toy_2", "toy_3"]
    assert about["validation_cases"] == ["toy_0"]
    assert about["left_out_patients"] == ["p0"]
    assert about["settings"]["batches"] == 6
    assert about["validation"]["lung"]["patients"] == 1
    assert len(about["data_sha256"]) == 64
    assert load(trained.best.parent).card["training"]["chosen_by_validation"]
    volume = read_volume(data / "imagesTr" / "toy_0_0000.nii.gz")
    settings = SegmentSettings(model=str(trained.model.parent), device="cpu")
    result = run_to_end(segment(volume, settings))
    assert result.labels.labels.shape == (3, 20, 24)


def test_it_learned(trained: TrainResult) -> None:
    figures = trained.fit.last.validation.figures
    assert figures["lung"].mean > 0.8
    assert figures["lung"].cases == 1
    written = json.loads((trained.model.parent / "logs" / "result.json").read_text())
    assert TrainResult.from_dict(written) == trained


@pytest.mark.parametrize(
    ("network", "arguments"), [("infnet2d", {}), ("infnet2d_multi", {"channels": [4, 8]})]
)
def test_networks_with_several_outputs_train_and_are_used(
    network: str, arguments: dict, data: Path, tmp_path: Path
) -> None:
    small = {**arguments, "width": 4, "encoder_width": 4}
    preset = replace(TINY, network=network, network_arguments=small, patch=(32, 32), epochs=8)
    result = run_to_end(train(request(data, tmp_path / "inf", preset=replace(preset, **INFNET))))
    rows = read_rows(tmp_path / "inf" / "logs" / "epochs.csv")
    assert float(rows[-1]["loss"]) < 0.95 * float(rows[0]["loss"])
    volume = read_volume(data / "imagesTr" / "toy_0_0000.nii.gz")
    settings = SegmentSettings(model=str(result.model.parent), device="cpu")
    assert run_to_end(segment(volume, settings)).labels.labels.shape == (3, 20, 24)


def test_cases_without_labels_are_not_read_for_theirs(
    trained: TrainResult, data: Path, tmp_path: Path
) -> None:
    """What lies in their label files changes nothing, unlike that of cases that have labels."""
    shutil.copytree(data, tmp_path / "toy")
    affine, others = np.diag([-8.0, -8.0, 5.0, 1.0]), tmp_path / "others"
    write_about(others, numTraining=1)
    preset = replace(TINY, epochs=1).with_settings(["dataset_weights=toy:0.5,others:0.5"])
    said = {"unlabelled": ("other_0",), "distillation": 2.0, "start": str(trained.model.parent)}

    def weights(folder: str, labels: np.ndarray, **changes) -> dict:
        write_case(others, "other_0", labels, affine)
        image = nib.Nifti1Image(np.full((24, 20, 3), -500, np.int16), affine)
        nib.save(image, others / "imagesTr" / "other_0_0000.nii.gz")
        one = request(tmp_path, tmp_path / folder, preset=preset, **{**said, **changes})
        done = run_to_end(train(one))
        model = load(done.model.parent)
        about = model.card["training"]
        assert about["unlabelled_cases"] == list(one.unlabelled)
        assert about["distillation"] == one.distillation
        assert len(about["training_cases"]) == done.training_cases == 4 - len(one.unlabelled)
        return model.network.state_dict()

    right, wrong = lung_block(), lung_block(lesion=3)
    first, again = weights("first", right), weights("again", wrong)
    assert all(torch.equal(first[key], again[key]) for key in first)
    labelled = {"unlabelled": (), "distillation": 0.0}
    first, other = weights("labelled", right, **labelled), weights("other", wrong, **labelled)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_distillation_that_cannot_be(trained: TrainResult, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected both, or neither"):
        request(data, tmp_path, distillation=1.0)
    with pytest.raises(UsageError, match="with 1 cases without labels: expected both"):
        request(data, tmp_path, unlabelled=("toy_1",))
    with pytest.raises(UsageError, match="needs a model to start from"):
        request(data, tmp_path, unlabelled=("toy_1",), distillation=1.0)
    said = {"distillation": 1.0, "start": str(trained.model.parent)}
    for names, reason in (
        (("toy_2",), "patients have cases in training and in validation"),
        (("toy_9",), "cases that the data does not hold: toy_9"),
        (("toy_0", "toy_1", "toy_2"), "no case to train on"),
    ):
        one = request(data, tmp_path, unlabelled=names, validation=("toy_3",), **said)
        with pytest.raises(InputError, match=reason):
            run_to_end(train(one))


def test_a_finished_training_answers_at_once(trained: TrainResult, data: Path) -> None:
    preset = replace(TINY, epochs=10, batches=6)
    told = []
    again = request(data, trained.model.parent, preset=preset, resume=True)
    assert run_to_end(train(again), told.append).fit.last == trained.fit.last
    assert not any(isinstance(step, TrainingProgress) for step in told)


def test_changed_data_is_noticed(trained: TrainResult, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "toy")
    write_toy(tmp_path / "toy", (3, 3, 3, 3))
    preset = replace(TINY, epochs=10, batches=6)
    again = request(tmp_path / "toy", trained.model.parent, preset=preset, resume=True)
    with pytest.raises(UsageError, match="other settings: data was"):
        run_to_end(train(again))


def test_volumes(data: Path, tmp_path: Path) -> None:
    done = run_to_end(train(request(data, tmp_path / "out", preset=TINY_3D)))
    model = load(tmp_path / "out")
    assert model.card["patch"] == [4, 16, 16]
    assert model.card["architecture"] == "unet3d"
    assert done.fit.last.epoch == 2
    assert done.fit.last.validation.figures["lung"].patients == 1
    again = request(data, tmp_path / "out", preset=replace(TINY_3D, batch=1), resume=True)
    with pytest.raises(UsageError, match="batch was 2, is 1"):
        run_to_end(train(again))


def test_what_short_memory_made_of_measuring_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PatchRunner.__call__

    def one_at_a_time(runner: PatchRunner, patches: torch.Tensor) -> torch.Tensor:
        if len(patches) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return real(runner, patches)

    monkeypatch.setattr(PatchRunner, "__call__", one_at_a_time)
    done = run_to_end(train(request(data, tmp_path / "out", preset=TINY_3D)))
    assert done.fit.last.validation.figures["lung"].cases == 1
    (note,) = (warning for warning in done.warnings if "memory" in warning)
    assert note.startswith("measuring an epoch: CPU")
    assert note.endswith("ran out of memory: went on with smaller batches.")


def test_nobody_measures(data: Path, tmp_path: Path) -> None:
    done = run_to_end(train(request(data, tmp_path / "out", validation=())))
    assert (done.training_cases, done.validation_cases, done.best) == (4, 0, None)
    assert done.fit.last.validation is None


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"train": ("toy_9",)}, InputError, "does not hold: toy_9"),
        ({"validation": ("toy_0", "toy_1", "toy_2", "toy_3")}, InputError, "no case to train on"),
        ({"validation": ("toy_2",)}, InputError, "1 patients have cases in training and in"),
        ({"preset": replace(TINY, network="unet9")}, ModelError, "'unet9' is not known"),
        ({"preset": replace(TINY, network="unet3d")}, UsageError, "takes 3D input, but recipe"),
        (
            {"preset": replace(TINY, loss="boundary", loss_settings={"spacing": [1, 1, 1]})},
            UsageError,
            "spacing: expected 2 sizes, got 3",
        ),
        ({"preset": replace(TINY, pretrained=True)}, UsageError, "--set pretrained=false"),
        ({"preset": replace(TINY, loss="dice")}, UsageError, "unknown loss 'dice'"),
        ({"preset": replace(TINY, dataset_weights={"ma": 1.0})}, InputError, "no training case in"),
        ({"device": "tpu"}, UsageError, "unknown device"),
        (
            {"preset": replace(TINY, patch=(16, 17))},
            UsageError,
            "patch=16,17 does not suit network",
        ),
        (
            {"preset": replace(TINY_3D, patch=(4, 16, 15))},
            UsageError,
            "patch=4,16,15 does not suit network unet3d: ",
        ),
        ({"preset": replace(TINY, spacing_mm=(0.0,))}, UsageError, "spacing_mm=0.0: expected"),
        ({"preset": replace(TINY_3D, spacing_mm=(5, -1, 8))}, UsageError, "spacing_mm=5,-1,8: "),
    ],
)
def test_what_cannot_work_fails_first(
    data: Path, tmp_path: Path, changes, error: type[CovsegError], words: str
) -> None:
    told: list[Progress] = []
    with pytest.raises(error, match=words):
        run_to_end(train(request(data, tmp_path / "out", **changes)), told.append)
    assert not any(isinstance(step, TrainingProgress) for step in told)


def test_what_labels_and_grey_levels_mean_can_be_said(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "toy")
    about = tmp_path / "toy" / "dataset.json"
    said = json.loads(about.read_text())
    meaning = {value: label_by_name(name) for name, value in said["labels"].items()}
    said["labels"] = {
        f"x{value}" if value else name: value for name, value in said["labels"].items()
    }
    about.write_text(json.dumps(said))
    preset = replace(TINY, epochs=1, batches=1, validate_every=2)
    asked = request(tmp_path / "toy", tmp_path / "out", preset=preset)
    with pytest.raises(InputError, match="--label-map"):
        run_to_end(train(asked))
    told = replace(asked, label_map=meaning, window=(-1000.0, 200.0))
    assert run_to_end(train(told)).fit.last.step == 1
    with pytest.raises(UsageError, match="other settings: data was"):
        run_to_end(train(replace(told, window=None, resume=True)))
    assert TrainRequest.from_dict(json.loads(json.dumps(told.to_dict()))) == told


def test_splits_are_by_patient(data: Path, tmp_path: Path) -> None:
    datasets = read_datasets(data)
    fold = split_by_patients(datasets, ["p2"])
    assert (fold.train, fold.validation) == (("toy_0", "toy_1"), ("toy_2", "toy_3"))
    with pytest.raises(InputError, match="1 of the 2 validation patients have no case"):
        split_by_patients(datasets, ["p0", "p7"])
    with pytest.raises(InputError, match="none is left to train"):
        split_by_patients(datasets, ["p0", "p1", "p2"])
    file = tmp_path / "splits.json"
    folds = [split_by_fold(datasets, n, 3, file, seed=0) for n in (1, 2, 3)]
    assert sorted(name for one in folds for name in one.validation) == [
        f"toy_{n}" for n in range(4)
    ]
    assert split_by_fold(datasets, 2, 3, file, seed=5) == folds[1]
    with pytest.raises(UsageError, match="fold 4/3: expected 1/3 to 3/3"):
        split_by_fold(datasets, 4, 3, file, seed=0)


def test_a_training_starts_from_a_model(trained: TrainResult, data: Path, tmp_path: Path) -> None:
    start = str(trained.model)
    slow = replace(TINY, epochs=1, batches=1, learning_rate=1e-9)
    done = run_to_end(train(request(data, tmp_path / "out", preset=slow, start=start)))
    assert done.fit.last.validation.figures["lung"].mean == pytest.approx(
        trained.fit.last.validation.figures["lung"].mean, abs=0.02
    )
    before, after = load(trained.model), load(done.model)
    assert after.card["training"]["start_sha256"] == before.sha256
    assert before.card["training"]["start_sha256"] is None
    pairs = zip(before.network.parameters(), after.network.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in pairs)
    other = request(data, tmp_path / "out", preset=slow, resume=True)
    with pytest.raises(UsageError, match="start was "):
        run_to_end(train(other))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network_arguments": {"channels": [8, 8]}}, "its network_arguments is"),
        ({"spacing_mm": (6.0,)}, "its recipe is"),
        ({"network": "attention_unet2d", "network_arguments": {}}, "its network is unet2d"),
    ],
)
def test_another_kind_of_model_is_no_start(
    trained: TrainResult, data: Path, tmp_path: Path, changes, words: str
) -> None:
    asked = request(data, tmp_path / "out", preset=replace(TINY, **changes))
    with pytest.raises(UsageError, match=words):
        run_to_end(train(replace(asked, start=str(trained.model))))


def test_a_request_crosses_processes(data: Path, tmp_path: Path) -> None:
    one = request(data, tmp_path, patients=tmp_path / "p.csv", preset=TINY_3D)
    assert TrainRequest.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.slow
def test_training_in_a_process_of_its_own(data: Path, tmp_path: Path) -> None:
    handle = start_training(request(data, tmp_path / "own"))
    steps = list(handle.progress())
    result = handle.result()
    assert not handle.running
    assert [s.done for s in steps if isinstance(s, TrainingProgress)][-1] == 6
    measured = [s for s in steps if getattr(s, "validation", None)]
    assert measured[-1].validation == result.fit.last.validation
    here = run_to_end(train(request(data, tmp_path / "here" / "own")))
    assert load(result.model.parent).sha256 == load(here.model.parent).sha256
    failing = start_training(request(data, tmp_path / "own"))
    with pytest.raises(UsageError, match="holds a training already"):
        failing.result()


@pytest.mark.slow
def test_cancel_leaves_a_state_to_resume(data: Path, tmp_path: Path) -> None:
    long = replace(TINY, epochs=100000)
    handle = start_training(request(data, tmp_path / "out", preset=long))
    for step in handle.progress():
        if isinstance(step, TrainingProgress):
            handle.cancel()
            break
    with pytest.raises(Cancelled):
        handle.result()
    again = train(request(data, tmp_path / "out", preset=long, resume=True))
    first = next(step for step in again if isinstance(step, TrainingProgress))
    assert first.done > step.done
    again.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_a_crashed_child_gives_one_error(data: Path, tmp_path: Path) -> None:
    handle = start_training(request(data, tmp_path / "out", preset=replace(TINY, epochs=100000)))
    next(step for step in handle.progress() if isinstance(step, TrainingProgress))
    handle.kill()
    with pytest.raises(CovsegError, match=r"was killed, often because memory .*process\.log"):
        handle.result()


@pytest.mark.slow
def test_a_child_that_cannot_start_gives_one_error(tmp_path: Path) -> None:
    handle: Handle[dict] = Handle("no.such.module", {}, dict, tmp_path / "process.log")
    with pytest.raises(CovsegError, match=r"ended with code 1; see process\.log"):
        handle.result()
    assert b"no.such" in (tmp_path / "process.log").read_bytes() or sys.platform == "win32"


CHILD = """
import time
from napari_covseg.domain.errors import ResourceError
from napari_covseg.domain.progress import Progress
from napari_covseg.training.process import serve

def work(request):
    print("a library says something")
    yield Progress(1, 2, request["word"])
    if request["word"] == "fail":
        raise ResourceError("the disk is full")
    return request

raise SystemExit(serve(work, dict))
"""


@pytest.mark.slow
def test_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    handle: Handle[dict] = Handle("toy_child", {"word": "wörd"}, dict, tmp_path / "a.log")
    assert list(handle.progress()) == [Progress(1, 2, "wörd")]
    assert handle.result() == {"word": "wörd"}
    assert (tmp_path / "a.log").read_text().strip() == "a library says something"
    handle = Handle("toy_child", {"word": "fail"}, dict, tmp_path / "b.log")
    with pytest.raises(ResourceError, match="the disk is full"):
        run_to_end(handle.steps())


MANY = """
from napari_covseg.domain.progress import Progress
from napari_covseg.training.process import serve

def work(request):
    for number in range(20000):
        yield Progress(number, 20000, "x" * 100)
    return request

raise SystemExit(serve(work, dict))
"""


@pytest.mark.slow
def test_a_child_that_tells_much_can_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_many.py").write_text(MANY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    handle: Handle[dict] = Handle("toy_many", {}, dict, tmp_path / "a.log")
    steps = handle.steps()
    assert next(steps).done == 0
    time.sleep(1)  # The pipe is full, and the child waits for a reader.
    guard = threading.Timer(60, handle.kill)
    guard.start()
    steps.close()
    guard.cancel()
    assert not handle.running
    with pytest.raises(Cancelled):
        handle.result()


def test_a_full_disk_while_the_model_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_covseg.models import checkpoint

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "replace_file", full)
    with pytest.raises(ResourceError, match="cannot be written"):
        run_to_end(train(request(data, tmp_path / "out")))
    monkeypatch.undo()
    done = run_to_end(train(request(data, tmp_path / "out", resume=True)))
    assert done.fit.last.step == 6


def test_numbers_of_cases(trained: TrainResult) -> None:
    assert (trained.training_cases, trained.validation_cases) == (3, 1)
    rows = read_rows(trained.model.parent / "logs" / "epochs.csv")
    trained_s = sum(float(row["seconds"]) for row in rows)
    assert trained_s < trained.fit.seconds
    assert trained.fit.images_per_second == pytest.approx(60 * 2 / trained_s, rel=0.1)
