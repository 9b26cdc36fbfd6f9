import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from raw_datasets import lung_block, write_about, write_case, write_patients

from napari_covseg.domain.errors import (
    CovsegError,
    InputError,
    ModelError,
    ResourceError,
    UsageError,
)
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.models.zoo import load
from napari_covseg.training.schedules import PRESETS
from napari_covseg.workflows import fold_runs as module
from napari_covseg.workflows.crossval import CrossvalResult, crossval, crossval_fold
from napari_covseg.workflows.crossval_request import CrossvalRequest

TINY = PRESETS["fast"].with_settings(
    [
        *("network=unet2d", 'network_arguments={"channels":[8,16]}', "pretrained=false"),
        *("patch=16,16", "batch=2", "batches=4", "epochs=3", "warm_up=1", "workers=0"),
        *("precision=float32", "learning_rate=0.02", "ema=0", "spacing_mm=8"),
    ]
)
PATIENTS = {"toy_0": "Doe-J", "toy_1": "Roe-J", "toy_2": "Poe-J", "toy_3": "Poe-J"}
LESIONS = {"toy_0": 2, "toy_1": 3, "toy_2": 4, "toy_3": 3}
"""GGO, consolidation, infection of unknown kind."""
INFECTION = (3, 4, 5)


def write_toy(folder: Path, seed: int = 0) -> Path:
    write_about(folder)
    for number, (name, lesion) in enumerate(LESIONS.items()):
        affine = np.diag([-8.0, -8.0, 5.0, 1.0])
        write_case(folder, name, lung_block(lesion=lesion), affine, seed=seed + number)
    write_patients(folder / "cases.csv", PATIENTS)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("data") / "toy")


def request(data: Path, output: Path, **changes: object) -> CrossvalRequest:
    fields = {"preset": TINY, "folds": 3, "devices": ("cpu",), "tensorboard": False}
    return CrossvalRequest(data, output, **{**fields, **changes})


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CrossvalResult]:
    """A cross-validation that was never interrupted: its folder and result."""
    folder = tmp_path_factory.mktemp("straight") / "out"
    return folder, run_to_end(crossval(request(data, folder)))


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj).astype(np.uint8)


def table(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return {(row["class"], row["row"]): row for row in csv.DictReader(file)}


def test_every_case_is_measured_once_by_a_network_that_never_saw_its_patient(
    done: tuple[Path, CrossvalResult],
) -> None:
    folder, result = done
    assert sorted(one.case for one in result.content.measured) == sorted(PATIENTS)
    for fold in result.content.folds:
        about = load(folder / f"fold_{fold.number}").card["training"]
        trained = {PATIENTS[case] for case in about["training_cases"]}
        measured = {PATIENTS[one.case] for one in fold.measured}
        assert trained | measured == set(PATIENTS.values())
        assert not trained & measured
    assert result.exit_code == 0


def test_the_table_is_that_of_the_written_predictions(
    data: Path, done: tuple[Path, CrossvalResult]
) -> None:
    """Infection's Dice and sensitivity by hand, from the files."""
    folder, _ = done
    by_patient: dict[str, list[float]] = {}
    sums = np.zeros(3)
    for path in sorted(folder.glob("fold_*/predictions/*_labels.nii.gz")):
        case = path.name.removesuffix("_labels.nii.gz")
        predicted = np.isin(voxels(path), INFECTION)
        expected = np.isin(voxels(data / "labelsTr" / f"{case}.nii.gz"), (2, 3, 4))
        both = (predicted & expected).sum()
        sums += (both, predicted.sum(), expected.sum())
        dice = 2 * both / (predicted.sum() + expected.sum())
        by_patient.setdefault(PATIENTS[case], []).append(dice)
    means = [np.mean(values) for values in by_patient.values()]
    assert len(means) == 3
    row = table(folder)["infection", "Mean of patients"]
    assert float(row["dice"]) == pytest.approx(np.mean(means), abs=1e-6)
    assert 0 < float(row["dice"]) < 1
    assert float(row["pooled_dice"]) == pytest.approx(2 * sums[0] / (sums[1] + sums[2]), abs=1e-6)
    assert (row["patients"], row["cases"]) == ("3", "4")


def test_the_networks_own_output_has_no_sides(done: tuple[Path, CrossvalResult]) -> None:
    folder, result = done
    found = {
        int(v) for path in folder.glob("fold_*/predictions/*") for v in np.unique(voxels(path))
    }
    assert not found & {1, 2}
    assert 6 in found
    assert not result.content.postprocessed


def test_classes_that_the_reference_leaves_open_have_no_value(
    done: tuple[Path, CrossvalResult],
) -> None:
    _, result = done
    one = next(one for one in result.content.measured if one.case == "toy_2")
    assert one.counts["ggo"] is None
    assert one.counts["infection"] is not None
    assert (one.slices, one.lesion_slices) == (3, 3)


def test_files_of_the_report(done: tuple[Path, CrossvalResult]) -> None:
    folder, result = done
    written = {path.name for path in folder.iterdir()}
    assert written >= {"splits.json", "report.html", "crossval.json", "table.csv", "cases.csv"}
    assert {p.name for p in (folder / "figures").iterdir()} == {
        *("fitting_curves.png", "box_plots.png", "slices.png")
    }
    content = json.loads((folder / "crossval.json").read_text())
    mean = float(table(folder)["lung", "Mean of patients"]["dice"])
    assert content["summary"]["lung"]["dice"]["mean"] == pytest.approx(mean, abs=1e-6)
    assert content["folds"][0]["curve"]["epochs"] == [1, 2, 3]
    text = (folder / "report.html").read_text() + (folder / "cases.csv").read_text()
    assert not any(name in text + json.dumps(content) for name in PATIENTS.values())
    assert [view.rank for view in result.content.views] == ["best", "median", "worst"]


def test_views_are_ranked(data: Path, done: tuple[Path, CrossvalResult]) -> None:
    _, result = done
    best, median, worst = result.content.views
    assert best.dice >= median.dice >= worst.dice
    dice = sorted(one.value("infection", "dice") for one in result.content.measured)
    assert [worst.dice, median.dice, best.dice] == [dice[0], dice[1], dice[3]]
    labels = voxels(data / "labelsTr" / f"{best.case}.nii.gz")
    shown = (best.reference == LESIONS[best.case] + 1).sum()
    assert shown == (labels[..., best.slice_number - 1] == LESIONS[best.case]).sum()


def stop_in_fold(steps, number: int, after: int) -> None:
    """Close the workflow after some steps of a fold's training."""
    seen = 0
    for step in steps:
        seen += step.message.startswith(f"fold {number} of 3: epoch")
        if seen == after:
            break
    else:
        pytest.fail("it ended before it could be stopped")
    steps.close()


def test_an_interrupted_one_ends_in_the_same_table(
    data: Path, done: tuple[Path, CrossvalResult], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    stop_in_fold(crossval(request(data, folder)), number=2, after=5)
    assert (folder / "fold_1" / "scores.json").is_file()
    assert not (folder / "fold_2" / "scores.json").exists()
    assert not (folder / "report.html").exists()
    before = (folder / "fold_1" / "fold_1.safetensors").stat().st_mtime_ns
    told: list[Progress] = []
    run_to_end(crossval(request(data, folder)), told.append)
    assert (folder / "fold_1" / "fold_1.safetensors").stat().st_mtime_ns == before
    assert not any(step.message.startswith("fold 1 of 3") for step in told)
    for name in ("table.csv", "cases.csv", "splits.json"):
        assert (folder / name).read_bytes() == (done[0] / name).read_bytes()


def test_a_finished_one_trains_nothing(
    data: Path, done: tuple[Path, CrossvalResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_fold", lambda one: pytest.fail("a fold ran again"))
    again = run_to_end(crossval(request(data, done[0])))
    assert again.content.measured == done[1].content.measured


def test_the_whole_pipeline_is_measured_without_training_again(
    data: Path, done: tuple[Path, CrossvalResult], tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "out"
    shutil.copytree(done[0], folder)
    told: list[Progress] = []
    result = run_to_end(crossval(request(data, folder, postprocess=True)), told.append)
    assert not any("epoch" in step.message for step in told)
    assert result.content.postprocessed
    found = {
        int(v) for path in folder.glob("fold_*/predictions/*") for v in np.unique(voxels(path))
    }
    assert found & {1, 2}
    assert 6 not in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": replace(TINY, learning_rate=0.5)}, "settings.learning_rate was 0.02, is 0.5"),
        ({"folds": 2}, "folds was 3, is 2"),
        ({"turned_round": True}, "turned_round was False, is True"),
    ],
)
def test_a_folder_of_another_configuration(
    data: Path, done: tuple[Path, CrossvalResult], changes: dict, said: str
) -> None:
    before = (done[0] / "configuration.json").read_bytes()
    with pytest.raises(UsageError, match=said):
        run_to_end(crossval(request(data, done[0], **changes)))
    assert (done[0] / "configuration.json").read_bytes() == before


def test_changed_data_is_another_configuration(
    done: tuple[Path, CrossvalResult], tmp_path: Path
) -> None:
    changed = write_toy(tmp_path / "toy")
    write_case(changed, "toy_1", lung_block(lesion=2), np.diag([-8.0, -8.0, 5.0, 1.0]))
    with pytest.raises(UsageError, match=r"cases\.toy_1 was"):
        run_to_end(crossval(request(changed, done[0])))


def test_too_few_patients(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4 folds of 3 patients"):
        run_to_end(crossval(request(data, tmp_path / "out", folds=4)))
    write_patients(tmp_path / "one.csv", dict.fromkeys(PATIENTS, "p"))
    with pytest.raises(InputError, match="one patient only"):
        run_to_end(crossval(request(data, tmp_path / "out", patients=tmp_path / "one.csv")))
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        run_to_end(crossval(request(data, tmp_path / "out", devices=("cpu", "gpu"))))
    assert not (tmp_path / "out").exists()


def failing(numbers: dict[int, BaseException]):
    real = module.run_fold

    def run(one):
        yield Progress(0, 1, "starting")
        if one.number in numbers:
            raise numbers[one.number]
        return (yield from real(one))

    return run


def test_a_failed_fold_does_not_stop_the_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    errors = {1: ModelError("no longer a number"), 3: RuntimeError("Doe-J")}
    with monkeypatch.context() as patched:
        patched.delenv("COVSEG_DEBUG", raising=False)
        patched.setattr(module, "run_fold", failing(errors))
        result = run_to_end(crossval(request(data, folder)))
    assert result.exit_code == 5
    assert [fold.error for fold in result.content.folds][:2] == ["no longer a number", ""]
    assert "unexpected RuntimeError" in result.content.folds[2].error
    html = (folder / "report.html").read_text()
    assert "2 of 3 folds failed" in html
    assert "Doe-J" not in html
    assert table(folder)["lung", "Fold 1"]["dice"] == ""
    only = float(table(folder)["lung", "Fold 2"]["dice"])
    assert float(table(folder)["lung", "Mean of folds"]["dice"]) == pytest.approx(only)
    assert run_to_end(crossval(request(data, folder))).exit_code == 0


def test_no_fold_finished(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = {1: CovsegError("a"), 2: ResourceError("the disk is full"), 3: CovsegError("c")}
    monkeypatch.setattr(module, "run_fold", failing(errors))
    with pytest.raises(ResourceError, match="no fold could be finished; fold 2: the disk is full"):
        run_to_end(crossval(request(data, tmp_path / "out")))


def test_damaged_files_are_named(
    data: Path, done: tuple[Path, CrossvalResult], tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "out"
    shutil.copytree(done[0], folder)
    (folder / "fold_2" / "scores.json").write_text("{")
    result = run_to_end(crossval(request(data, folder)))
    assert result.errors.keys() == {2}
    assert "fold_2/scores.json: damaged" in str(result.errors[2])
    (folder / "configuration.json").write_text("[]")
    with pytest.raises(InputError, match=r"configuration\.json: damaged"):
        run_to_end(crossval(request(data, folder)))


def test_turned_round(data: Path, tmp_path: Path) -> None:
    result = run_to_end(crossval(request(data, tmp_path / "out", turned_round=True)))
    for fold in result.content.folds:
        assert fold.train_patients == 1
        assert fold.patients == 2
    assert len(result.content.measured) == 8
    assert (result.content.patients, result.content.cases) == (3, 4)
    row = table(tmp_path / "out")["lung", "Mean of patients"]
    assert (row["patients"], row["cases"]) == ("3", "4")
    means = []
    for patient in {one.patient for one in result.content.measured}:
        own = [o.value("lung", "dice") for o in result.content.measured if o.patient == patient]
        means.append(np.mean(own))
    assert float(row["dice"]) == pytest.approx(np.mean(means), abs=1e-6)


def test_a_configuration_of_before_a_setting_existed_goes_on(
    data: Path, done: tuple[Path, CrossvalResult], tmp_path: Path
) -> None:
    """What the settings lack was what is now the default; folds are kept."""
    folder = tmp_path / "out"
    shutil.copytree(done[0], folder)
    path = folder / "configuration.json"
    said = json.loads(path.read_text())
    assert said["settings"].pop("cutout") == 0.0
    path.write_text(json.dumps(said))
    result = run_to_end(crossval(request(data, folder)))
    assert [one.fold for one in result.content.measured] == [
        one.fold for one in done[1].content.measured
    ]
    with pytest.raises(UsageError, match="cutout"):
        run_to_end(crossval(request(data, folder, preset=replace(TINY, cutout=0.2))))


def test_folds_kept_in_another_place(
    data: Path, done: tuple[Path, CrossvalResult], tmp_path: Path
) -> None:
    """Another seed on the folds of an earlier cross-validation."""
    other = replace(TINY, seed=1, epochs=1)
    kept = request(data, tmp_path / "out", preset=other, splits=done[0] / "splits.json")
    result = run_to_end(crossval(kept))
    assert not (tmp_path / "out" / "splits.json").exists()
    assert result.content.seed == 0
    pairs = [(one.fold, one.case) for one in result.content.measured]
    assert pairs == [(one.fold, one.case) for one in done[1].content.measured]
    dice = [one.value("lung", "dice") for one in result.content.measured]
    assert dice != [one.value("lung", "dice") for one in done[1].content.measured]
    assert all(map(math.isfinite, dice))


@pytest.mark.slow
def test_folds_beside_one_another_give_the_same(
    data: Path, done: tuple[Path, CrossvalResult], tmp_path: Path
) -> None:
    """Two processes; torch is loaded in each."""
    folder = tmp_path / "out"
    told: list[Progress] = []
    result = run_to_end(crossval(request(data, folder, devices=("cpu", "cpu"))), told.append)
    assert result.exit_code == 0
    for name in ("table.csv", "cases.csv"):
        assert (folder / name).read_bytes() == (done[0] / name).read_bytes()
    shares = [step.done / step.total for step in told if step.message.startswith("fold")]
    assert shares[-1] <= 1
    assert {step.message[:6] for step in told if step.message.startswith("fold")} == {
        *("fold 1", "fold 2", "fold 3")
    }


def test_folds_may_be_jobs_of_their_own_on_one_folder(
    data: Path,
    done: tuple[Path, CrossvalResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As machines on a share run them, in any order; the whole finds them finished."""
    out = tmp_path / "out"
    finished = [run_to_end(crossval_fold(request(data, out), n)).finished for n in (2, 3, 1)]
    assert finished == [(2,), (2, 3), (1, 2, 3)]
    assert not (out / "table.csv").exists()

    def never(*_: object) -> None:
        raise AssertionError("a finished fold was run again")

    monkeypatch.setattr(module, "run_fold", never)
    run_to_end(crossval(request(data, out)))
    assert table(out) == table(done[0])
    with pytest.raises(UsageError, match="expected 1/3 to 3/3"):
        run_to_end(crossval_fold(request(data, out), 4))
