"""Evaluation over folders: matching, partial labels, patients, and cases that fail alone."""

import json
import math

import nibabel as nib
import numpy as np
import pytest

from napari_covseg.domain.errors import InputError, ResourceError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.workflows.evaluate import (
    EvaluateSettings,
    evaluate,
    read_patients,
    write_evaluation,
)

SPACING = (2.0, 2.0, 5.0)


def save(folder, name, values, spacing=SPACING, shift=0.0):
    folder.mkdir(exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    affine[0, 3] = shift
    array = np.asarray(values, dtype=np.uint8).reshape(1, 1, -1)
    nib.save(nib.Nifti1Image(array.T, affine), folder / name)


@pytest.fixture
def folders(tmp_path):
    """Two cases of one patient and one of another, and cases that only one side has."""
    predictions, references = tmp_path / "p", tmp_path / "r"
    save(predictions, "a1_labels.nii.gz", [1, 1, 3, 3, 0, 4])
    save(references, "a1.nii.gz", [1, 1, 3, 0, 3, 4])
    save(predictions, "a2_labels.nii.gz", [2, 3, 3, 0, 0, 0])
    save(references, "a2_0000.nii.gz", [2, 3, 3, 0, 0, 0])
    save(predictions, "b_labels.nii.gz", [2, 0, 0, 0, 0, 0])
    save(references, "b.nii.gz", [2, 3, 0, 0, 0, 0])
    save(predictions, "only_predicted.nii.gz", [0])
    save(references, "only_expected.nii.gz", [0])
    (tmp_path / "cases.csv").write_text("case,set,patient\na1,x,A\na2,x,A\nb,y,B\nc,y,C\n")
    return tmp_path


def run(folder, **settings):
    return run_to_end(evaluate(folder / "p", folder / "r", EvaluateSettings(**settings)))


def test_figures_of_a_case(folders):
    result = run(folders)
    assert [score.case for score in result.scores] == ["a1", "a2", "b"]
    ggo = result.scores[0].figures("ggo")
    assert ggo["dice"] == pytest.approx(0.5)
    assert ggo["iou"] == pytest.approx(1 / 3)
    assert ggo["volume_error_ml"] == 0
    b = result.scores[2].figures("ggo")
    assert b["reference_ml"] == pytest.approx(0.02)
    assert b["predicted_ml"] == 0
    assert b["volume_error_ml"] == pytest.approx(-0.02)
    assert b["volume_error_percent"] == pytest.approx(-100)
    assert (b["dice"], b["sensitivity"]) == (0, 0)
    assert result.exit_code == 0
    assert result.without_prediction == ("only_expected",)
    assert result.without_reference == ("only_predicted",)


def save_box(folder, name, *, width, spacing=(0.5, 0.5, 2.0)):
    """A lung with a GGO of so many columns of 0.5 mm; the file's axes are x, y, z."""
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[1:9, 2:18, 2:18] = Label.LEFT_LUNG
    labels[3:7, 5:15, 4 : 4 + width] = Label.GGO
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(labels.T, np.diag([*spacing, 1.0])), folder / name)


def test_surfaces_are_measured_in_mm(tmp_path):
    save_box(tmp_path / "r", "a.nii.gz", width=4)
    save_box(tmp_path / "p", "a_labels.nii.gz", width=10)
    result = run(tmp_path)
    ggo = result.scores[0].figures("ggo")
    assert ggo["hd95_mm"] == pytest.approx(3.0)
    assert 0.5 < ggo["surface_dice"] < 1
    assert ggo["specificity"] == pytest.approx(1 - 4 * 10 * 6 / (4000 - 4 * 10 * 4))
    assert ggo["accuracy"] == pytest.approx(1 - 4 * 10 * 6 / 4000)
    assert result.scores[0].figures("lung")["hd95_mm"] == 0
    wide = run(tmp_path, tolerance_mm=3.0)
    assert wide.scores[0].figures("ggo")["surface_dice"] == 1
    assert (result.surface_tolerance_mm, wide.surface_tolerance_mm) == (2.0, 3.0)
    summary = result.summary()["ggo"]
    assert summary["hd95_mm"]["mean"] == pytest.approx(3.0)
    assert summary["surface_dice"]["mean"] == ggo["surface_dice"]


def test_a_missed_class_has_no_distance_and_is_counted(tmp_path):
    save_box(tmp_path / "r", "a.nii.gz", width=4)
    save_box(tmp_path / "p", "a.nii.gz", width=0)
    save_box(tmp_path / "r", "b.nii.gz", width=4)
    save_box(tmp_path / "p", "b.nii.gz", width=5)
    result = run(tmp_path)
    missed = result.scores[0].figures("ggo")
    assert (missed["hd95_mm"], missed["surface_dice"]) == (math.inf, 0)
    summary = result.to_json()["summary"]["ggo"]
    assert summary["cases_infinite_distance"] == 1
    assert (summary["hd95_mm"]["mean"], summary["hd95_mm"]["cases"]) == (pytest.approx(0.5), 1)
    assert summary["surface_dice"]["cases"] == 2
    assert result.to_json()["cases"][0]["classes"]["ggo"]["hd95_mm"] is None
    assert result.summary()["consolidation"]["cases_infinite_distance"] == 0


def test_surfaces_can_be_left_out(tmp_path):
    save_box(tmp_path / "r", "a.nii.gz", width=4)
    save_box(tmp_path / "p", "a.nii.gz", width=5)
    content, with_surface = run(tmp_path, surface=False).to_json(), run(tmp_path).to_json()
    without = content["cases"][0]["classes"]["ggo"]
    assert (without["hd95_mm"], without["surface_dice"]) == (None, None)
    assert content["surface_tolerance_mm"] is None
    assert content["summary"]["ggo"]["hd95_mm"]["patients"] == 0
    measured = with_surface["cases"][0]["classes"]["ggo"]
    assert measured["hd95_mm"] == pytest.approx(0.5)
    same = {"hd95_mm": None, "surface_dice": None}
    assert {**measured, **same} == without


def test_a_sheared_grid_is_told(tmp_path):
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[0, 2] = 2.0
    for name in ("p", "r"):
        (tmp_path / name).mkdir()
        labels = np.ones((4, 4, 4), np.uint8)
        nib.save(nib.Nifti1Image(labels, affine), tmp_path / name / "a.nii.gz")
    assert any("approximate" in line for line in run(tmp_path).scores[0].warnings)
    assert not any("approx" in line for line in run(tmp_path, surface=False).scores[0].warnings)


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, math.inf])
def test_a_tolerance_is_a_distance(tolerance):
    with pytest.raises(UsageError, match="expected 0 or more"):
        EvaluateSettings(tolerance_mm=tolerance)


def test_the_volume_error_has_a_size_too(folders):
    save(folders / "p", "b_labels.nii.gz", [2, 3, 3, 3, 0, 0])
    summary = run(folders).summary()["ggo"]
    assert summary["volume_error_ml"]["mean"] == pytest.approx((0 + 0 + 0.04) / 3)
    save(folders / "p", "a2_labels.nii.gz", [2, 0, 0, 0, 0, 0])
    summary = run(folders).summary()["ggo"]
    assert summary["volume_error_ml"]["mean"] == pytest.approx(0, abs=1e-12)
    assert summary["absolute_volume_error_ml"]["mean"] == pytest.approx(0.08 / 3)


def test_means_are_over_patients_with_the_pooled_dice_beside(folders):
    ggo = run(folders, patients=folders / "cases.csv").summary()["ggo"]
    assert ggo["dice"]["mean"] == pytest.approx((0.75 + 0) / 2)
    assert (ggo["dice"]["patients"], ggo["dice"]["cases"]) == (2, 3)
    assert ggo["pooled_dice"] == pytest.approx(2 * 3 / (4 + 5))
    assert run(folders).summary()["ggo"]["dice"]["mean"] == pytest.approx(1.5 / 3)
    consolidation = run(folders).summary()["consolidation"]
    assert consolidation["cases_both_empty"] == 2
    assert (consolidation["dice"]["mean"], consolidation["dice"]["patients"]) == (1, 1)


def test_the_json_has_null_for_no_value_and_no_patient(folders, tmp_path):
    result = run(folders, patients=folders / "cases.csv")
    path = write_evaluation(result, tmp_path / "new" / "figures.json")
    content = json.loads(path.read_text())
    assert content["cases"][2]["classes"]["consolidation"]["dice"] is None
    assert content["cases"][2]["classes"]["ggo"]["dice"] == 0
    assert content["summary"]["consolidation"]["dice"]["std"] is None
    assert content["without_prediction"] == ["only_expected"]
    assert "patient" not in content["cases"][0]


def test_another_grid_is_an_error_of_its_case_alone(folders):
    save(folders / "p", "b_labels.nii.gz", [2, 0, 0, 0, 0, 0], shift=1.0)
    result = run(folders)
    assert [score.case for score in result.scores] == ["a1", "a2"]
    assert "different grids (up to 1.00 mm apart)" in str(result.errors["b"])
    assert result.exit_code == 3
    save(folders / "p", "b_labels.nii.gz", [2, 0])
    assert "2 x 1 x 1 and 6 x 1 x 1 voxels" in str(run(folders).errors["b"])


def test_a_folder_that_cannot_be_made_is_a_resource(folders):
    (folders / "file").write_text("")
    with pytest.raises(ResourceError, match=r"^out: this folder cannot be made \(Not a directory"):
        write_evaluation(run(folders), folders / "file" / "out" / "x.json")


def test_a_ct_beside_the_labels_of_its_case_is_left_out(folders):
    alone = run(folders).to_json()
    for name in ("a1.nii.gz", "a2_0000.nii.gz", "b.nii"):
        save(folders / "p", name, [7, 7, 7, 7, 7, 7])
    assert run(folders).to_json() == alone
    save(folders / "r", "b.nii", [7, 7, 7, 7, 7, 7])
    assert "several files of one case" in str(run(folders).errors["b"])


def test_a_bad_file_or_two_of_one_case_is_an_error_of_that_case(folders):
    (folders / "p" / "a1_labels.nii.gz").write_bytes(b"")
    save(folders / "p", "b_seg.nii.gz", [0, 0, 0, 0, 0, 0])
    result = run(folders)
    assert [score.case for score in result.scores] == ["a2"]
    assert "empty" in str(result.errors["a1"])
    assert "several files of one case" in str(result.errors["b"])
    assert result.exit_code == 3
    content = result.to_json()
    assert [error["case"] for error in content["errors"]] == ["a1", "b"]


def test_label_maps_for_either_side(folders):
    save(folders / "r", "a2_0000.nii.gz", [9, 8, 8, 0, 0, 0])
    result = run(folders)
    assert "label values 8, 9" in str(result.errors["a2"])
    scheme = {9: Label.LUNG, 8: Label.GGO, **{int(label): label for label in Label}}
    mapped = run(folders, label_map=scheme).scores[1]
    assert mapped.case == "a2"
    assert mapped.figures("ggo")["dice"] == 1
    swapped = {1: Label.LUNG, 2: Label.LUNG, 3: Label.CONSOLIDATION, 4: Label.GGO}
    result = run(folders, label_map=scheme, prediction_label_map=swapped)
    assert result.scores[1].figures("ggo")["dice"] == 0


def test_references_of_lesions_only(folders):
    save(folders / "r", "b.nii.gz", [0, 3, 0, 0, 0, 0])
    result = run(folders)
    assert result.scores[2].figures("lung") is None
    lung = result.summary()["lung"]
    assert lung["cases_without_reference"] == 1
    assert lung["dice"]["cases"] == 2
    forced = run(folders, lung_reference=False)
    assert forced.summary()["lung"]["dice"]["patients"] == 0
    assert forced.summary()["ggo"]["dice"]["patients"] == 3


def test_progress_names_each_case(folders):
    steps = [step.message for step in evaluate(folders / "p", folders / "r")]
    assert steps == ["comparing a1", "comparing a2", "comparing b", "compared"]


def test_no_common_case_and_no_folder(folders, tmp_path):
    save(tmp_path / "other", "z.nii.gz", [0])
    with pytest.raises(InputError, match=r"no case in both; names must agree"):
        run_to_end(evaluate(tmp_path / "other", folders / "r"))
    with pytest.raises(InputError, match="expected a folder of label files"):
        run_to_end(evaluate(folders / "cases.csv", folders / "r"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no label file in this folder"):
        run_to_end(evaluate(tmp_path / "empty", folders / "r"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "columns case and patient"),
        (b"name,patient\na,b\n", "columns case and patient"),
        (b"case,patient\na,1\na,2\n", "case a has two patients"),
        (b"\xff\xfe\x00\x01", "not a CSV text file"),
    ],
)
def test_bad_patient_files(tmp_path, content, text):
    (tmp_path / "cases.csv").write_bytes(content)
    with pytest.raises(InputError, match=text):
        read_patients(tmp_path / "cases.csv")


@pytest.mark.real_data
def test_a_reference_against_itself(data_dir, tmp_path):
    """The development scheme is mapped by its dataset.json, on both sides alike."""
    scheme = {"lung": 1, "ggo": 2, "consolidation": 3, "infection": 4, "ignore": 5}
    for name in ("ma", "sirm"):
        references = data_dir / "covid_ct" / name / "labelsTr"
        case = sorted(references.glob("*.nii.gz"))[0]
        folder = tmp_path / name
        folder.mkdir()
        (folder / case.name).write_bytes(case.read_bytes())
        (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **scheme}}))
        result = run_to_end(evaluate(folder, references))
        summary = result.summary()
        assert summary["infection"]["dice"]["mean"] == 1
        assert len(result.scores) == 1
        assert result.scores[0].figures("lung" if name == "sirm" else "ggo") is None
