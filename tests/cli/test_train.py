import argparse
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from raw_datasets import lung_block, write_about, write_case, write_foreign, write_patients

from napari_covseg.cli.main import main
from napari_covseg.cli.train import _split, add_parser, preset_from, read_fold
from napari_covseg.domain.errors import UsageError
from napari_covseg.io.nnunet import read_datasets
from napari_covseg.models.zoo import load
from napari_covseg.training.schedules import PRESETS, Preset, find_preset
from napari_covseg.workflows.split import split_by_fold

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
        write_case(folder, f"toy_{number}", lung_block(lesion=2 + number % 2), affine, seed=number)
    write_patients(folder / "cases.csv", {f"toy_{n}": f"p{n}" for n in range(3)})
    return folder


def arguments(data: Path, output: Path, *more: str) -> list[str]:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["train", str(data), "--output", str(output), "--device", "cpu", *sets, *more]


def test_a_fold(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main(arguments(data, output, "--fold", "2/3", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["training_cases"] == 2
    assert said["fit"]["last"]["epoch"] == 2
    assert said["fit"]["last"]["validation"]["lung"]["patients"] == 1
    model = load(output)
    assert Path(said["model"]) == output / "out.json"
    kept = json.loads((output / "splits.json").read_text())
    (measured,) = model.card["training"]["validation_cases"]
    assert kept["cases"][measured]["fold"] == 1
    assert main(arguments(data, output, "--fold", "2/3")) == 2
    assert "holds a training already" in capsys.readouterr().err
    assert main(arguments(data, output, "--fold", "1/3", "--resume")) == 2
    assert "other settings" in capsys.readouterr().err
    further = arguments(data, tmp_path / "further", "--fold", "2/3", "--from", str(output))
    assert main(further) == 0
    assert load(tmp_path / "further").card["training"]["start_sha256"] == model.sha256
    assert main([*further, "--resume", "--from", "covseg-default"]) == 2
    assert "cannot start from this model, its network is unet_lite" in capsys.readouterr().err
    assert main(arguments(data, output, "--fold", "2/3", "--resume")) == 0
    out = capsys.readouterr().out
    assert "2 cases, 2 epochs (epochs)" in out
    assert "Dice of the last epoch, lung:" in out


def test_chosen_patients(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(data, tmp_path / "a", "--validation-patients", "p1", "--json")) == 0
    capsys.readouterr()
    assert load(tmp_path / "a").card["training"]["validation_cases"] == ["toy_1"]
    assert main(arguments(data, tmp_path / "b", "--validation-patients", "p1,nobody")) == 3
    assert "1 of the 2 validation patients have no case" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_ctrl_c_leaves_a_state(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "out" / "logs" / "steps.csv"

    def interrupt() -> None:
        for _ in range(2000):
            if log.is_file():
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(0.05)

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    endless = arguments(data, tmp_path / "out", "--all-patients", "--set", "epochs=1000000")
    assert main(endless) == 130
    waiting.join()
    assert "go on with --resume" in capsys.readouterr().err
    assert (tmp_path / "out" / "state" / "training.state").is_file()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["train", "data", "--output", "out", *words])


def test_settings_change_the_preset() -> None:
    assert preset_from(parsed()) == PRESETS["fast"]
    words = ("--preset", "mueller2021", "--set", "patch=48,64,80", "--set", "batch=4")
    preset = preset_from(parsed(*words, "--minutes", "12.5", "--seed", "7"))
    assert preset.patch == (48, 64, 80)
    assert (preset.batch, preset.minutes, preset.seed) == (4, 12.5, 7)
    assert preset.network == "unet3d"
    weighted = find_preset("fast").with_settings(["dataset_weights=ma:0.3,medseg:0.7"])
    assert weighted.dataset_weights == {"ma": 0.3, "medseg": 0.7}
    assert Preset.from_dict(json.loads(json.dumps(weighted.to_dict()))) == weighted


def test_mueller_as_published() -> None:
    preset = PRESETS["mueller2021"]
    assert (preset.epochs, preset.batches, preset.batch) == (1000, 150, 2)
    assert preset.patch == (80, 160, 160)
    assert (preset.optimiser, preset.learning_rate, preset.rate_rule) == ("adam", 1e-3, "plateau")
    assert (preset.factor, preset.patience, preset.least_rate) == (0.1, 15, 1e-5)
    assert (preset.stop_after, preset.loss, preset.augmentation) == (100, "tversky_ce", 0.15)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("batch=many", "'many' is not a value for batch"),
        ("batch=0", "batch=0: expected more than 0"),
        ("colour=red", "with FIELD one of name, network"),
        ("batch", "expected FIELD=VALUE"),
        ("patch=64", "patch=64: recipe axial needs 2 sizes"),
        ("precision=int8", "use one of auto, float32"),
        ("ema=1.5", "expected 0 to 1"),
        ("compile=maybe", "'maybe' is not a value for compile"),
        ("network_arguments=[1]", "is not a value for network_arguments"),
        ("learning_rate=nan", "expected more than 0"),
    ],
)
def test_settings_that_cannot_be(setting: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        PRESETS["fast"].with_settings([setting])
    assert words in str(caught.value)


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="'slow' is not known; known: fast, mueller2021"):
        find_preset("slow")
    for text in ("3", "a/b", "1/", "-1/5"):
        with pytest.raises(UsageError, match="expected K/N"):
            read_fold(text)
    assert read_fold("2/5") == (2, 5)


def test_the_seed_does_not_draw_another_split(data: Path, tmp_path: Path) -> None:
    folds = [
        _split(parsed_for(data, tmp_path / seed, "--seed", seed), (1, 3)) for seed in ("0", "1")
    ]
    assert folds[0] == folds[1]
    drawn = {
        split_by_fold(read_datasets(data), 1, 3, tmp_path / f"{seed}.json", seed)
        for seed in range(20)
    }
    assert len(drawn) > 1


def test_trainings_share_a_file_of_splits(data: Path, tmp_path: Path) -> None:
    shared = ("--splits", str(tmp_path / "shared.json"))
    fold = _split(parsed_for(data, tmp_path / "a", *shared), (2, 3))
    assert _split(parsed_for(data, tmp_path / "b", *shared), (2, 3)) == fold
    assert not (tmp_path / "b" / "splits.json").exists()
    kept = json.loads((tmp_path / "shared.json").read_text())
    assert [name for name, case in kept["cases"].items() if case["fold"] == 1] == [*fold.validation]


def test_names_and_pictures_that_are_not_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_foreign(tmp_path / "foreign")
    bare = arguments(folder, tmp_path / "out", "--fold", "1/3")
    assert main(bare) == 3
    assert "say what it is with --label-map" in capsys.readouterr().err
    named = [*bare, "--label-map", "lung=1,ggo=2"]
    assert main(named) == 3
    assert "--window LOW HIGH" in capsys.readouterr().err
    assert main([*named, "--window", "200", "-1350"]) == 2
    assert "LOW must be below HIGH" in capsys.readouterr().err
    assert main([*bare, "--label-map", "lobe=1", "--window", "-1350", "200"]) == 2
    assert "'lobe' is not known" in capsys.readouterr().err
    assert main([*named, "--window", "-1350", "200", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["fit"]["last"]["validation"]
    assert figures["ggo"]["cases"] == figures["lung"]["cases"] == 1
    by_patient = arguments(folder, tmp_path / "b", "--validation-patients", "foreign_1")
    more = ("--label-map", "lung=1,consolidation=2", "--window", "-1350", "200", "--json")
    assert main([*by_patient, *more]) == 0
    figures = json.loads(capsys.readouterr().out)["fit"]["last"]["validation"]
    assert figures["consolidation"]["cases"] == 1


def parsed_for(data: Path, output: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["train", str(data), "--output", str(output), *words])
