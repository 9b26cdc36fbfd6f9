import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
from raw_datasets import lung_block, write_about, write_case, write_patients

from napari_covseg.domain.errors import InputError, ModelError, ResourceError, UsageError
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.io.labels import read_labels
from napari_covseg.metrics.overlap import count_classes, joint_histogram
from napari_covseg.models.checkpoint import read_checkpoint
from napari_covseg.training.schedules import PRESETS, Preset
from napari_covseg.workflows import fold_runs
from napari_covseg.workflows.sweep import SweepRequest, SweepResult, row_folder, sweep

TINY = PRESETS["fast"].with_settings(
    [
        *("network=unet2d", 'network_arguments={"channels":[4,8]}', "pretrained=false"),
        *("patch=16,16", "batch=2", "batches=3", "epochs=2", "warm_up=1", "workers=0"),
        *("precision=float32", "learning_rate=0.02", "ema=0", "spacing_mm=8"),
    ]
)
GRID = {"learning_rate": (0.02, 0.001), "network_arguments.channels": ([4, 8], [4, 8, 8])}
PATIENTS = {f"toy_{n}": f"p{n % 4}" for n in range(5)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "toy"
    write_about(folder, numTraining=5)
    for number in range(5):
        affine = np.diag([-8.0, -8.0, 5.0, 1.0])
        write_case(folder, f"toy_{number}", lung_block(lesion=2), affine, seed=number)
    write_patients(folder / "cases.csv", PATIENTS)
    return folder


def request(data: Path, output: Path, **changes: object) -> SweepRequest:
    fields = {
        "preset": TINY,
        "grids": (GRID,),
        "split": (2, 1, 1),
        "devices": ("cpu",),
        "tensorboard": False,
    }
    return SweepRequest(data, output, **{**fields, **changes})


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepResult]:
    folder = tmp_path_factory.mktemp("sweep") / "out"
    return folder, run_to_end(sweep(request(data, folder)))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def infection(folder: Path) -> list[dict[str, str]]:
    return [row for row in table(folder) if row["class"] == "infection"]


def test_rows_are_in_the_order_of_the_grid(done: tuple[Path, SweepResult]) -> None:
    folder, result = done
    assert result.exit_code == 0
    rows = infection(folder)
    assert [(row["row"], row["learning_rate"]) for row in rows] == [
        *(("1", "0.02"), ("2", "0.02"), ("3", "0.001"), ("4", "0.001")),
    ]
    channels = [row["network_arguments.channels"] for row in rows]
    assert channels == ["[4, 8]", "[4, 8, 8]"] * 2
    assert {row["state"] for row in rows} == {"finished"}
    assert {row["epochs_done"] for row in rows} == {"2"}
    assert result.content.varied == ("network_arguments.channels", "learning_rate")


def test_figures_are_those_of_the_test_patients_alone(
    data: Path, done: tuple[Path, SweepResult]
) -> None:
    """Counted again from the files, by hand over patients."""
    folder, _ = done
    split = json.loads((folder / "configuration.json").read_text())
    parts = [{PATIENTS[case] for case in split[p]} for p in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 4
    row = infection(folder)[1]
    about = folder / "rows" / row["folder"]
    found: dict[str, list[dict[str, float]]] = {}
    for case in split["test"]:
        prediction = read_labels(about / "predictions" / f"{case}_labels.nii.gz").labels
        reference = read_labels(
            data / "labelsTr" / f"{case}.nii.gz",
            label_map=None,
        ).labels
        counts = count_classes(joint_histogram(prediction, reference))["infection"]
        figures = ("dice", "iou", "accuracy", "sensitivity", "specificity")
        found.setdefault(PATIENTS[case], []).append({k: getattr(counts, k) for k in figures})
    assert sorted(p.name for p in (about / "predictions").iterdir()) == [
        f"{case}_labels.nii.gz" for case in split["test"]
    ]
    for figure in ("dice", "iou", "accuracy", "sensitivity", "specificity"):
        means = [np.nanmean([one[figure] for one in cases]) for cases in found.values()]
        if np.isfinite(means).any():
            assert float(row[f"{figure}_mean"]) == pytest.approx(np.nanmean(means), abs=1e-5)
    card = read_checkpoint(about / f"{row['folder']}.json")
    assert card.card["training"]["training_cases"] == split["train"]
    assert card.card["training"]["validation_cases"] == split["validation"]
    parameters = sum(p.numel() for p in card.network.parameters())
    assert int(row["parameters"]) == parameters != int(infection(folder)[0]["parameters"])


def test_markdown_and_page_say_the_same(done: tuple[Path, SweepResult]) -> None:
    folder, result = done
    lines = (folder / "table.md").read_text().splitlines()
    assert lines[0].startswith("| Row | network_arguments.channels | learning_rate | Dice | IoU |")
    assert len([line for line in lines if line.startswith("|")]) == 2 + 4
    best = result.content.best
    page = (folder / "table.html").read_text()
    if best is not None:
        (bold,) = (line for line in lines if line.startswith("| **"))
        assert bold.startswith(f"| **{best.number}** |")
        dice = max(float(row["dice_mean"] or "nan") for row in infection(folder))
        assert result.content.mean(best, "infection", "dice").mean == pytest.approx(dice, abs=1e-6)
        assert '<tr class="best">' in page
    assert "were chosen" not in page
    assert "chosen by the very patients" in page
    for patient in set(PATIENTS.values()):
        assert f">{patient}<" not in page


def test_finished_rows_are_kept_and_new_values_join_them(
    data: Path, done: tuple[Path, SweepResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = done
    before = infection(folder)
    real, ran = fold_runs.run_fold, []

    def counted(one):
        ran.append(one.number)
        return real(one)

    monkeypatch.setattr(fold_runs, "run_fold", counted)
    run_to_end(sweep(request(data, folder)))
    assert ran == []
    assert infection(folder) == before
    wider = {**GRID, "learning_rate": (0.005, 0.02, 0.001)}
    run_to_end(sweep(request(data, folder, grids=(wider,))))
    assert ran == [1, 2]
    again = infection(folder)
    assert [row["folder"] for row in again[2:]] == [row["folder"] for row in before]
    assert [row["dice_mean"] for row in again[2:]] == [row["dice_mean"] for row in before]


def test_a_row_that_fails_does_not_stop_the_rest(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fold_runs.run_fold

    def run(one) -> Iterator[Progress]:
        yield Progress(0, 1, "starting")
        if one.number == 1:
            raise ResourceError("the disk is full")
        return (yield from real(one))

    grid = {"network_arguments.channels": ([4, 8], "wide", [4, 6])}
    with monkeypatch.context() as patched:
        patched.setattr(fold_runs, "run_fold", run)
        result = run_to_end(sweep(request(data, tmp_path / "out", grids=(grid,))))
    assert result.errors.keys() == {1, 2}
    assert isinstance(result.errors[2], ModelError)
    assert result.exit_code == ModelError.exit_code
    rows = {row["row"]: row for row in table(tmp_path / "out") if row["class"] in ("", "infection")}
    assert [rows[n]["state"] for n in "123"] == ["failed", "failed", "finished"]
    assert rows["1"]["error"] == "the disk is full"
    assert "do not fit network" in rows["2"]["error"]
    assert rows["2"]["parameters"] == ""
    assert "the disk is full" in (tmp_path / "out" / "table.md").read_text()
    mended = run_to_end(sweep(request(data, tmp_path / "out", grids=(grid,))))
    assert mended.errors.keys() == {2}


def test_the_table_grows_with_each_row(data: Path, tmp_path: Path) -> None:
    folder, seen = tmp_path / "out", []

    def look(step: Progress) -> None:
        if (folder / "table.csv").is_file():
            seen.append(sum(row["state"] == "finished" for row in table(folder)))

    grid = {"learning_rate": (0.02, 0.001)}
    run_to_end(sweep(request(data, folder, grids=(grid,))), look)
    assert 0 in seen
    assert len(set(seen)) >= 2
    assert seen == sorted(seen)


def test_a_stopped_sweep_goes_on_to_the_same_table(
    data: Path, done: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    """Stopped in the second row, after some steps."""
    folder = tmp_path / "out"
    steps = sweep(request(data, folder))
    for step in steps:
        if step.message.startswith("row 2 of 4: epoch 2"):
            break
    steps.close()
    assert [row["state"] for row in table(folder)][-1] == "open"
    run_to_end(sweep(request(data, folder)))
    ours, theirs = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in infection(where)]
        for where in (folder, done[0])
    )
    pairs = {row["folder"]: row for row in theirs}
    for row in ours:
        other = pairs[row["folder"]]
        assert row["dice_mean"] == other["dice_mean"]
        assert row["iou_mean"] == other["iou_mean"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_sweep_goes_on(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    words = [sys.executable, "-m", "napari_covseg.cli.main", "sweep", str(data)]
    words += ["--output", str(folder), "--device", "cpu", "--split", "2,1,1"]
    settings = {**TINY.to_dict(), "epochs": 40}
    for name in ("network", "batch", "batches", "epochs", "warm_up", "workers", "ema"):
        words += ["--set", f"{name}={settings[name]}"]
    words += ["--set", "pretrained=false", "--set", "patch=16,16", "--set", "spacing_mm=8"]
    words += ["--set", 'network_arguments={"channels":[4,8]}', "--grid", "learning_rate=0.02,0.001"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 300
    while not list(folder.glob("rows/*/state/training.state")) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert not list(folder.glob("rows/*/scores.json"))
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert [row["state"] for row in infection(folder)] == ["finished", "finished"]
    assert {row["epochs_done"] for row in infection(folder)} == {"40"}


@pytest.mark.slow
def test_rows_beside_one_another_give_the_same(
    data: Path, done: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    """Two processes on one device."""
    told: list[Progress] = []
    grid = {"learning_rate": (0.02, 0.001)}
    run_to_end(sweep(request(data, tmp_path / "out", grids=(grid,), jobs=2)), told.append)
    ours = {row["folder"]: row["dice_mean"] for row in infection(tmp_path / "out")}
    theirs = {row["folder"]: row["dice_mean"] for row in infection(done[0])}
    assert ours.items() <= theirs.items()
    assert {step.message[:5] for step in told if step.message.startswith("row")} == {
        *("row 1", "row 2"),
    }


def test_other_data_in_the_same_folder_is_refused(
    data: Path, done: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="train was"):
        run_to_end(sweep(request(data, done[0], splits=tmp_path / "s.json", split=(1, 1, 1))))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"split": (70, 10, 20)}, InputError, "10 folds of 4 patients"),
        ({"split": (1, 1, 0)}, UsageError, "only the second may be 0"),
        ({"split": (701, 99, 200)}, UsageError, "such as 70,10,20"),
        ({"jobs": 0}, UsageError, "0 jobs: expected 1 or more"),
        ({"grids": ()}, UsageError, "nothing to vary"),
        ({"grids": ({"colour": (1,)},)}, UsageError, "expected FIELD=VALUE"),
        ({"devices": ("tpu",)}, UsageError, "unknown device"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, changes: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_to_end(sweep(request(data, tmp_path / "out", **changes)))
    assert not list(tmp_path.glob("out/rows"))


def test_a_rows_folder_depends_on_what_changes_its_result() -> None:
    assert row_folder(TINY) == row_folder(TINY.with_settings(["name=other"]))
    assert row_folder(TINY) != row_folder(TINY.with_settings(["batch=3"]))
    assert row_folder(TINY) != row_folder(TINY.with_settings(["minutes=3"]))


@dataclass(frozen=True)
class Later(Preset):
    """The settings of a version to come."""

    more: float = 0.0


def test_a_setting_that_comes_later_leaves_the_rows_their_folders() -> None:
    later = Later(**{one.name: getattr(TINY, one.name) for one in fields(TINY)})
    assert row_folder(later) == row_folder(TINY)
    assert row_folder(replace(later, more=1.0)) != row_folder(TINY)


def test_shares_are_divided_in_as_few_parts_as_there_can_be(data: Path, tmp_path: Path) -> None:
    assert request(data, tmp_path, split=(70, 10, 20)).parts == (7, 1, 2)
    assert request(data, tmp_path, split=(80, 0, 20)).parts == (4, 0, 1)
