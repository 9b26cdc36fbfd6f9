import json
from pathlib import Path

import numpy as np
import pytest
from raw_datasets import lung_block, write_about, write_case, write_foreign, write_patients

from napari_covseg.cli.main import main
from napari_covseg.domain.errors import CovsegError
from napari_covseg.workflows import fold_runs as workflow

SETTINGS = (
    *("network=unet2d", 'network_arguments={"channels":[4,8]}', "pretrained=false"),
    *("patch=16,16", "batch=2", "batches=2", "epochs=2", "warm_up=1", "workers=0"),
    *("precision=float32", "spacing_mm=8"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "toy"
    write_about(folder)
    for number in range(3):
        affine = np.diag([-8.0, -8.0, 5.0, 1.0])
        write_case(folder, f"toy_{number}", lung_block(lesion=2), affine, seed=number)
    write_patients(folder / "cases.csv", {f"toy_{n}": f"p{n}" for n in range(3)})
    return folder


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that the folds are trained once."""
    return tmp_path_factory.mktemp("cv") / "out"


def arguments(data: Path, output: Path, *more: str) -> list[str]:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    where = ["--output", str(output), "--device", "cpu"]
    return ["crossval", str(data), *where, "--folds", "2", *sets, *more]


def test_json_and_table(data: Path, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(data, output, "--json")) == 0
    shown = capsys.readouterr()
    said = json.loads(shown.out)
    assert said == json.loads((output / "crossval.json").read_text())
    lung = said["summary"]["lung"]
    assert (lung["patients"], lung["cases"]) == (3, 3)
    assert said["settings"]["batches"] == 2
    assert main(arguments(data, output)) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("lung")).split()
    assert row[1] == f"{lung['dice']['mean']:.3f}"
    assert row[-2:] == [f"{fold['dice']:.3f}" for fold in lung["folds"]]
    assert lines[-1] == str(output / "report.html")
    assert any(line.startswith("2 folds by patient") for line in lines)


def test_another_configuration(
    data: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not output.exists():
        pytest.skip("runs after the folds were trained")
    assert main(arguments(data, output, "--set", "batch=4")) == 2
    assert "settings.batch was 2, is 4" in capsys.readouterr().err


def test_the_seed_changes_the_training_and_not_the_folds(
    data: Path, output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not output.exists():
        pytest.skip("runs after the folds were trained")
    assert main(arguments(data, tmp_path / "out", "--seed", "3", "--json")) == 0
    other, first = (
        json.loads(capsys.readouterr().out),
        json.loads((output / "crossval.json").read_text()),
    )
    assert other["settings"]["seed"] == 3
    for one, two in zip(other["measurements"], first["measurements"], strict=True):
        assert (one["fold"], one["case"]) == (two["fold"], two["case"])
    for one, two in zip(other["folds"], first["folds"], strict=True):
        assert one["curve"]["epochs"] == two["curve"]["epochs"]
        assert one["curve"] != two["curve"]


def test_a_folder_whose_folds_another_seed_drew_goes_on(
    data: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not output.exists():
        pytest.skip("runs after the folds were trained")
    file = output / "configuration.json"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), "seed": 7}))
    assert main(arguments(data, output, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["lung"]["cases"] == 3
    file.write_text(before)


def test_a_failed_fold_gives_its_exit_code(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = workflow.run_fold

    def run(request):
        if request.number == 2:
            raise CovsegError("the loss is no longer a number")
        return real(request)

    monkeypatch.setattr(workflow, "run_fold", run)
    assert main(arguments(data, tmp_path / "out", "--json")) == 1
    shown = capsys.readouterr()
    assert "covseg: fold 2: the loss is no longer a number" in shown.err
    assert json.loads(shown.out)["folds"][1]["error"] == "the loss is no longer a number"


def test_names_and_pictures_that_are_not_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = write_foreign(tmp_path / "foreign"), tmp_path / "out"
    said = ("--label-map", "lung=1,ggo=2", "--window", "-1350", "200")
    assert main(arguments(folder, output, *said, "--json")) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert summary["ggo"]["cases"] == summary["lung"]["cases"] == 3
    other = ("--label-map", "lung=1,consolidation=2", "--window", "-1350", "200")
    assert main(arguments(folder, output, *other)) == 2
    line = capsys.readouterr().err
    assert "label_map.2 was 3, is 4" in line
    assert "cases" not in line
    assert main(arguments(folder, output, *said[:-1], "150")) == 2
    assert "window was [-1350.0, 200.0], is [-1350.0, 150.0]" in capsys.readouterr().err
    assert main(arguments(folder, output, *said)) == 0


@pytest.mark.parametrize(
    ("more", "code", "line"),
    [
        (("--folds", "4"), 3, "4 folds of 3 patients"),
        (("--folds", "1"), 3, "1 folds: expected at least 2"),
        (("--device", "cpu,auto"), 2, "auto cannot be one of several"),
        (("--set", "no=1"), 2, "expected FIELD=VALUE"),
        (("--preset", "no"), 2, "preset 'no' is not known"),
    ],
)
def test_bad_calls(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    code: int,
    line: str,
) -> None:
    assert main(arguments(data, tmp_path / "out", *more)) == code
    shown = capsys.readouterr()
    assert line in shown.err
    assert shown.out == ""
    assert not (tmp_path / "out").exists()
