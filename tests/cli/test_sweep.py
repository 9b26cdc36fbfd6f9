import json
from pathlib import Path

import numpy as np
import pytest
from raw_datasets import lung_block, write_about, write_case, write_patients

from napari_covseg.cli.main import main

SETTINGS = (
    *("network=unet2d", 'network_arguments={"channels":[4,8]}', "pretrained=false"),
    *("patch=16,16", "batch=2", "batches=2", "epochs=1", "warm_up=1", "workers=0"),
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


def arguments(data: Path, output: Path, *more: str) -> list[str]:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    where = ["--output", str(output), "--device", "cpu"]
    return ["sweep", str(data), *where, "--split", "1,1,1", *sets, *more]


def test_table_and_json(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = arguments(data, tmp_path / "out", "--grid", "network_arguments.channels=[4,8],4")
    assert main(words) == 5
    shown = capsys.readouterr()
    assert "covseg: row 2: these arguments do not fit network 'unet2d'" in shown.err
    lines = shown.out.splitlines()
    assert lines[0].split()[:3] == ["Row", "network_arguments.channels", "Dice"]
    assert lines[1].split()[0] == "1"
    assert lines[-1] == str(tmp_path / "out" / "table.html")
    assert main([*words, "--json"]) == 5
    said = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in said["rows"] if row["class"] in ("infection", "")] == [
        *("finished", "failed"),
    ]
    assert said["best"] in (1, None)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "preset fast has no grid of its own: say what to vary with --grid"),
        (("--grid", "batch=1", "--grid-file", "g.toml"), "give one of them"),
        (("--grid", "batch"), "--grid batch: expected FIELD=VALUE,VALUE"),
        (("--grid", "batches=1", "--split", "70,30"), "--split 70,30: expected three shares"),
        (("--grid", "batch=1", "--device", "auto,cpu"), "auto cannot be one of several"),
    ],
)
def test_wrong_usage_is_one_line(
    data: Path,
    tmp_path: Path,
    more: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(data, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
