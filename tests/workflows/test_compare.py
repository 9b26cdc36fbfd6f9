"""Two models on the same references: pairs, patients, and what one of them lacks."""

import json

import nibabel as nib
import numpy as np
import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.workflows.compare import COMPARED, ComparedModel, compare, write_comparison
from napari_covseg.workflows.evaluate import EvaluateSettings

RIGHT, HALF, WRONG = [1, 3, 3, 0, 0], [1, 3, 1, 0, 0], [1, 1, 1, 0, 0]


def save(folder, name, values):
    folder.mkdir(exist_ok=True)
    array = np.asarray(values, dtype=np.uint8).reshape(-1, 1, 1)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 2.0, 5.0, 1.0])), folder / f"{name}.nii.gz")


@pytest.fixture
def folders(tmp_path):
    """Eight cases; the second model is right for seven, the first for the other only."""
    for i in range(8):
        save(tmp_path / "r", f"c{i}", RIGHT)
        save(tmp_path / "old", f"c{i}", RIGHT if i == 0 else HALF)
        save(tmp_path / "new", f"c{i}", WRONG if i == 0 else RIGHT)
    return tmp_path


def run(folder, second_map=None, **settings):
    first = ComparedModel(folder / "old")
    second = ComparedModel(folder / "new", second_map)
    return run_to_end(compare(first, second, folder / "r", EvaluateSettings(**settings)))


def test_differences_are_second_minus_first(folders):
    found = run(folders)
    assert found.names == ("old", "new")
    dice = found.difference("ggo", "dice")
    assert dice.first == pytest.approx((1 + 7 * 2 / 3) / 8)
    assert dice.second == pytest.approx(7 / 8)
    assert dice.difference == pytest.approx(dice.second - dice.first)
    assert (dice.wins, dice.losses, dice.patients) == (7, 1, 8)
    # One loss, the largest difference: ranks 8 against 7 * 4.
    assert 0.05 < dice.p < 0.3
    assert found.exit_code == 0


def test_less_is_better_for_distances_and_errors(folders):
    found = run(folders)
    distance = found.difference("ggo", "hd95_mm")
    # The new model misses case 0, so its distance there is no value.
    assert (distance.wins, distance.cases_unpaired) == (7, 1)
    assert distance.difference == pytest.approx(-1.0, rel=0.1)
    error = found.difference("ggo", "absolute_volume_error_ml")
    assert (error.wins, error.losses) == (7, 1)
    assert found.difference("ggo", "surface_dice").cases_unpaired == 0
    assert "volume_error_ml" not in COMPARED


def test_patients_are_the_pairs(folders):
    rows = "".join(f"c{i},{i // 4}\n" for i in range(8))
    (folders / "cases.csv").write_text(f"case,patient\n{rows}")
    dice = run(folders, patients=folders / "cases.csv").difference("ggo", "dice")
    assert (dice.patients, dice.cases) == (2, 8)
    assert np.isnan(dice.p)
    assert "needs 6" in dice.note


def test_the_json_holds_all_figures_and_no_patient(folders):
    path = write_comparison(run(folders), folders / "new folder" / "figures.json")
    content = json.loads(path.read_text())
    assert (content["first"]["name"], content["second"]["name"]) == ("old", "new")
    assert set(content["differences"]["ggo"]) == set(COMPARED)
    ggo = content["differences"]["ggo"]["dice"]
    assert ggo["difference"] == pytest.approx(
        content["second"]["summary"]["ggo"]["dice"]["mean"]
        - content["first"]["summary"]["ggo"]["dice"]["mean"]
    )
    assert content["differences"]["consolidation"]["dice"]["p"] is None
    assert content["surface_tolerance_mm"] == 2.0


def test_a_case_of_one_model_only_leaves_the_pairs(folders):
    (folders / "new" / "c1.nii.gz").unlink()
    (folders / "old" / "c2.nii.gz").write_bytes(b"")
    found = run(folders)
    assert found.difference("ggo", "dice").cases == 6
    assert found.difference("ggo", "dice").cases_unpaired == 2
    assert found.second.without_prediction == ("c1",)
    assert list(found.first.errors) == ["c2"]
    assert found.exit_code == 3
    assert found.to_json()["first"]["errors"][0]["case"] == "c2"


def test_each_model_has_its_own_label_map(folders):
    for i in range(8):
        save(folders / "new", f"c{i}", [5, 9, 9, 0, 0])
    dice = run(folders, second_map={5: Label.LUNG, 9: Label.GGO}).difference("ggo", "dice")
    assert dice.second == 1
    assert (dice.wins, dice.ties) == (7, 1)


def test_no_common_case(folders):
    for i in range(8):
        (folders / "new" / f"c{i}.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"^old, new: no case could be scored for both.* c0: "):
        run(folders)
    for i in range(8):
        (folders / "new" / f"c{i}.nii.gz").unlink()
    save(folders / "new", "z", RIGHT)
    with pytest.raises(InputError, match="no case in both"):
        run(folders)
    save(folders / "r", "z", RIGHT)
    with pytest.raises(InputError, match="of the same cases in both folders"):
        run(folders)
