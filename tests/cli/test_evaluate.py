"""``covseg evaluate`` as a user calls it."""

import json

import nibabel as nib
import numpy as np
import pytest

from napari_covseg.cli.evaluate import summary_table
from napari_covseg.cli.main import main
from napari_covseg.metrics.overlap import CLASSES, Counts
from napari_covseg.workflows.scores import CaseScores, Evaluation, SurfaceFigures


def save(folder, name, values, shift=0.0):
    folder.mkdir(exist_ok=True)
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[0, 3] = shift
    array = np.asarray(values, dtype=np.uint8).reshape(-1, 1, 1)
    nib.save(nib.Nifti1Image(array, affine), folder / name)


@pytest.fixture
def call(tmp_path):
    save(tmp_path / "p", "a_labels.nii.gz", [1, 3, 3, 0])
    save(tmp_path / "r", "a.nii.gz", [1, 3, 0, 3])
    save(tmp_path / "p", "b_labels.nii.gz", [1, 3, 3, 0])
    save(tmp_path / "r", "b.nii.gz", [1, 3, 3, 0])
    save(tmp_path / "r", "c.nii.gz", [1])
    fixed = ["--predictions", tmp_path / "p", "--references", tmp_path / "r"]
    fixed += ["--output", tmp_path / "out" / "figures.json"]
    return lambda *more: main(["evaluate", *map(str, fixed), *map(str, more)])


def test_a_table_and_a_file(call, tmp_path, capsys):
    assert call() == 0
    shown = capsys.readouterr()
    row = next(line.split() for line in shown.out.splitlines() if line.startswith("ggo"))
    assert row[:3] == ["ggo", "0.750", "0.354"]
    assert "1 case has no prediction: c" in shown.out
    assert shown.err == ""
    assert "- to -" not in shown.out
    content = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert content["summary"]["ggo"]["dice"]["mean"] == 0.75


def test_the_table_fits_a_hundred_columns(call, tmp_path, capsys):
    assert call() == 0
    lines = capsys.readouterr().out.splitlines()
    head = lines[0].split()
    assert head[-6:] == ["HD95", "mm", "NSD", "ml", "off", "patients"]
    assert max(map(len, lines[:7])) <= 100
    assert call("--no-surface") == 0
    assert "HD95" not in capsys.readouterr().out.splitlines()[0]


def test_large_numbers_fit_a_hundred_columns_too():
    counts = (Counts(200_000, 100, 1_834_500), Counts(9_000_000, 10, 634_500))
    scores = tuple(
        CaseScores(
            case,
            {one.name: found for one in CLASSES},
            0.001,
            surfaces={one.name: SurfaceFigures(123.4, 0.2) for one in CLASSES},
        )
        for case, found in zip("ab", counts, strict=True)
    )
    table = summary_table(Evaluation(scores, {}, surface_tolerance_mm=2.0)).splitlines()
    assert "-1234.4" in table[1]
    assert max(map(len, table)) <= 100


def test_more_figures_on_demand(call, capsys):
    assert call("--figures", "iou,specificity") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    iou = next(row for row in rows if row[:2] == ["ggo", "iou"])
    assert iou[2] == f"{(1 / 3 + 1) / 2:.3f}"
    assert iou[-2:] == ["2", "2"]
    specificity = next(row for row in rows if row[:2] == ["ggo", "specificity"])
    assert specificity[2] == "0.7500"
    assert not any(row[:2] == ["consolidation", "iou"] for row in rows)
    assert call("--figures", "all") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("accuracy", "absolute_volume_error_ml"))
    assert call("--figures", "dise") == 2
    assert "'dise' is no figure; expected all or some of dice, iou" in capsys.readouterr().err


def test_a_missed_class_is_told_below_the_table(call, tmp_path, capsys):
    save(tmp_path / "p", "b_labels.nii.gz", [1, 1, 1, 0])
    assert call() == 0
    assert "ggo: no HD95 where only one map holds the class (1 of 2 cases)" in (
        capsys.readouterr().out
    )


def test_the_tolerance_is_that_of_the_surface_dice(call, tmp_path, capsys):
    path = tmp_path / "out" / "figures.json"
    assert call("--tolerance", 1) == 0
    narrow = json.loads(path.read_text())
    assert call("--tolerance", 4) == 0
    wide = json.loads(path.read_text())
    assert (narrow["surface_tolerance_mm"], wide["surface_tolerance_mm"]) == (1, 4)
    narrow, wide = (one["summary"]["ggo"]["surface_dice"]["mean"] for one in (narrow, wide))
    assert narrow < wide == 1


def test_json_alone_on_standard_output(call, tmp_path, capsys):
    assert call("--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((tmp_path / "out" / "figures.json").read_text())


def test_a_case_on_another_grid_is_a_line_and_the_exit_code(call, tmp_path, capsys):
    save(tmp_path / "p", "b_labels.nii.gz", [1, 3, 3, 0], shift=3)
    assert call() == 3
    shown = capsys.readouterr()
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith("covseg: b: prediction and reference lie on different grids")
    assert (tmp_path / "out" / "figures.json").is_file()


def test_patients_and_label_maps(call, tmp_path, capsys):
    (tmp_path / "cases.csv").write_text("case,patient\na,1\nb,1\n")
    assert call("--patients", tmp_path / "cases.csv", "--label-map", "lung=1,consolidation=3") == 0
    content = json.loads((tmp_path / "out" / "figures.json").read_text())
    expected = {"mean": 0, "std": None, "interval_95": [None, None], "patients": 1, "cases": 2}
    assert content["summary"]["ggo"]["dice"] == expected
    assert content["summary"]["lung"]["dice"]["mean"] == pytest.approx((4 / 6 + 1) / 2)
    assert call("--no-lung-reference") == 0
    content = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert content["summary"]["lung"]["cases_without_reference"] == 2


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--label-map", "liver=1"], 2),
        (["--tolerance", "-1"], 2),
        (["--patients", "nowhere.csv"], 3),
        (["--references", "nowhere"], 3),
        (["--output", "/proc/nowhere/x.json"], 4),
    ],
)
def test_wrong_calls_give_one_line(call, capsys, more, code):
    assert call(*more) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_missing_flags_are_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate"])
    assert caught.value.code == 2
