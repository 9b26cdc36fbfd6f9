import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from block_lungs import as_map, as_volume, blocks
from dicom_maker import AXIAL, along, write_series

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io import read_volume, write_labels, write_volume
from napari_covseg.io.lobes import parse_lobe_map
from napari_covseg.workflows.quantify import (
    ASSUMED,
    CSV_COLUMNS,
    QuantifySettings,
    quantify_files,
    to_csv,
    to_json,
    to_rows,
    write_quantification,
)


@pytest.fixture
def case(tmp_path):
    """A CT, its labels with 6 ml of lesion in the left lung, and a lobe file."""
    labels = blocks()
    labels[5:7, 20:32, 62:72] = Label.GGO
    labels[7, 20:26, 62:72] = Label.CONSOLIDATION
    write_volume(as_volume(labels), tmp_path / "scan.nii.gz")
    write_labels(as_map(labels), tmp_path / "scan_labels.nii.gz")
    lobes = np.zeros_like(labels)
    lobes[:, :, 50:] = 1
    lobes[:17, :, 50:] = 2
    lobes[:, :, :50] = 3
    lobes[:22, :, :50] = 4
    lobes[:12, :, :50] = 5
    write_labels(as_map(lobes), tmp_path / "scan_lobes.nii.gz")
    return tmp_path


def result_of(case, **settings):
    names = QuantifySettings(lobe_map=parse_lobe_map("LUL=1,LLL=2,RUL=3,RML=4,RLL=5"), **settings)
    return run_to_end(
        quantify_files(
            case / "scan_labels.nii.gz",
            case / "scan.nii.gz",
            case / "scan_lobes.nii.gz",
            names,
        )
    )


def test_files_to_figures(case):
    result = result_of(case)
    assert result.case == "scan"
    assert result.lobes_from == "map"
    assert result.lobes["left_lower"].lesions.ml == pytest.approx(6.0)
    assert result.lobes["left_lower"].lung_ml == pytest.approx(240.0)
    assert result.parts["left"].high_opacity.ml == pytest.approx(1.2)
    assert result.warnings == ()


def test_labels_alone(case):
    result = run_to_end(quantify_files(case / "scan_labels.nii.gz"))
    assert result.density is None
    assert result.lobes_from == "approximate"
    assert result.parts["left"].lesions.ml == pytest.approx(6.0)


def test_csv_has_a_row_for_each_figure(case):
    result = result_of(case)
    rows = list(csv.DictReader(io.StringIO(to_csv(result))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == len(to_rows(result))
    found = {(r["group"], r["name"], r["figure"], r["unit"]): r for r in rows}
    assert float(found["part", "left", "lesions", "ml"]["value"]) == pytest.approx(6.0)
    assert float(found["part", "left", "lesions", "%"]["value"]) == pytest.approx(1.25)
    assert float(found["lobe_map", "left_lower", "ggo", "ml"]["value"]) == pytest.approx(4.8)
    score = found["score", "ct_score_25", "of 25", "points"]
    assert (score["value"], score["note"], score["low"]) == ("1", "", "")
    assert found["score", "ct_severity_score", "of 40", "points"]["note"] == "approximate"
    assert found["lesion", "1", "ml", "ml"]["note"] == "left"
    assert found["lesions", "all", "count", ""]["value"] == "1"
    assert not {"nan", "None"} & {row["value"] for row in rows}


def test_json_holds_the_choices(case, tmp_path):
    result = result_of(case)
    path = write_quantification(result, tmp_path / "new" / "scan.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps(to_json(result)))
    assert found["choices"]["high_opacity_from_hu"] == -200
    assert found["choices"]["bands_hu"]["emphysema"][1] == -950
    assert found["scores"]["ct_score_25"]["value"] == 1
    assert found["parts"]["left"]["lesions"]["percent"] == pytest.approx(1.25)


def test_written_csv_is_the_text(case, tmp_path):
    result = result_of(case)
    path = write_quantification(result, tmp_path / "scan.csv")
    assert path.read_text(encoding="utf-8") == to_csv(result)


def test_a_single_slice_of_assumed_thickness_has_no_ml(case, monkeypatch):
    volume = replace(
        as_volume(blocks()), warnings=("the slice has no thickness: 1 mm was assumed",)
    )
    monkeypatch.setattr("napari_covseg.io.read_volume", lambda *_, **__: volume)
    result = result_of(case)
    assert result.parts["left"].lung_ml is None
    assert result.parts["left"].lesions.percent == pytest.approx(1.25)
    assert result.warnings[0].startswith("the slice has no thickness")


def test_the_readers_warning_is_the_one_that_is_looked_for(tmp_path):
    write_series(tmp_path, along(AXIAL, 1, 1.0), SliceThickness=None)
    assert any(ASSUMED in line for line in read_volume(tmp_path).warnings)


def test_a_missing_file_is_one_line(case):
    with pytest.raises(InputError):
        run_to_end(quantify_files(case / "nothing.nii.gz"))


def test_a_case_named_like_a_formula_is_text(case):
    result = run_to_end(quantify_files(case / "scan_labels.nii.gz"))
    named = replace(result, case="=cmd|' /C calc'!A0")
    rows = list(csv.DictReader(to_csv(named).splitlines()))
    assert {row["case"] for row in rows} == {"'=cmd|' /C calc'!A0"}
    assert {row["case"] for row in to_rows(named)} == {"=cmd|' /C calc'!A0"}
