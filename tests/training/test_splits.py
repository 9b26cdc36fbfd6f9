import csv
import json
from pathlib import Path

import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.training.splits import Fold, draw_folds, read_or_draw

PATIENTS = {f"case{n}": f"p{n // 2}" for n in range(20)}
"""Ten patients of two cases each."""


def _side(folds: tuple[Fold, ...], case: str) -> list[bool]:
    return [case in fold.train for fold in folds]


def _check(folds: tuple[Fold, ...], patients: dict[str, str]) -> None:
    measured = [case for fold in folds for case in fold.validation]
    assert sorted(measured) == sorted(patients)
    for fold in folds:
        assert sorted(fold.train + fold.validation) == sorted(patients)
        sides = [{patients[c] for c in side} for side in (fold.train, fold.validation)]
        assert not sides[0] & sides[1]
        assert all(sides)


def test_patients_stay_together_and_each_measures_once() -> None:
    folds = draw_folds(PATIENTS, 5, 0)
    _check(folds, PATIENTS)
    assert [len(fold.validation) for fold in folds] == [4] * 5
    assert folds == draw_folds(dict(reversed(PATIENTS.items())), 5, 0)
    assert folds != draw_folds(PATIENTS, 5, 1)
    one_out = draw_folds(PATIENTS, 10, 0)
    assert all(len({PATIENTS[c] for c in fold.validation}) == 1 for fold in one_out)


def test_uneven_patients_are_balanced_by_cases() -> None:
    patients = {**{f"big{n}": "big" for n in range(6)}, **{f"s{n}": f"s{n}" for n in range(6)}}
    assert [len(fold.validation) for fold in draw_folds(patients, 2, 3)] == [6, 6]


def test_a_fold_can_be_turned_round() -> None:
    fold = draw_folds(PATIENTS, 5, 0)[0]
    assert fold.turned_round() == Fold(fold.validation, fold.train)
    assert len(fold.turned_round().train) == 4


@pytest.mark.parametrize(
    ("patients", "folds", "message"),
    [
        ({"a": "p", "b": "p"}, 2, "one patient only"),
        ({"a": "p", "b": "q"}, 3, "3 folds of 2 patients"),
        ({"a": "p", "b": "q"}, 1, "at least 2"),
    ],
)
def test_folds_that_cannot_be_drawn(
    patients: dict[str, str], folds: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        draw_folds(patients, folds, 0)
    with pytest.raises(InputError, match=message):
        read_or_draw(tmp_path / "splits.json", patients, folds, 0)
    assert not list(tmp_path.iterdir())


def test_what_was_drawn_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    folds = read_or_draw(path, PATIENTS, 5, 0)
    assert folds == draw_folds(PATIENTS, 5, 0)
    written = path.read_bytes()
    assert read_or_draw(path, PATIENTS, 5, 99) == folds
    assert path.read_bytes() == written
    assert not any(f'"{patient}"' in written.decode() for patient in PATIENTS.values())


def test_new_cases_are_added_and_nobody_moves(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    before = read_or_draw(path, PATIENTS, 5, 0)
    grown = {**PATIENTS, "case1b": "p0", "new1": "q1", "new2": "q2", "new3": "q2"}
    after = read_or_draw(path, grown, 5, 1)
    _check(after, grown)
    for case in PATIENTS:
        assert _side(after, case) == _side(before, case)
    assert _side(after, "case1b") == _side(before, "case0")
    # the two new patients went to folds that were not the fullest
    assert sorted(len(fold.validation) for fold in after) == [4, 4, 5, 5, 6]
    assert read_or_draw(path, grown, 5, 2) == after


def test_cases_that_are_gone_come_back_to_their_place(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    before = read_or_draw(path, PATIENTS, 2, 0)
    kept = {case: p for case, p in PATIENTS.items() if p not in ("p0", "p1")}
    fewer = read_or_draw(path, kept, 2, 0)
    _check(fewer, kept)
    other_scan = {**kept, "later": "p0", "another": "p1"}
    assert _side(read_or_draw(path, other_scan, 2, 0), "later") == _side(before, "case0")
    again = read_or_draw(path, PATIENTS, 2, 0)
    assert again == before


def test_patients_found_to_be_one_across_folds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    folds = read_or_draw(path, PATIENTS, 5, 0)
    first, second = folds[0].validation[0], folds[1].validation[0]
    same = {**PATIENTS, first: "one", second: "one"}
    with pytest.raises(InputError, match=r"are of one patient but stand in different folds") as e:
        read_or_draw(path, same, 5, 0)
    assert first in str(e.value)
    assert second in str(e.value)
    renamed = {case: f"new {patient}" for case, patient in PATIENTS.items()}
    assert read_or_draw(path, renamed, 5, 0) == folds


def test_a_fold_without_cases_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    folds = read_or_draw(path, PATIENTS, 5, 0)
    left = {case: p for case, p in PATIENTS.items() if case not in folds[3].validation}
    with pytest.raises(InputError, match="no case is left in fold 3"):
        read_or_draw(path, left, 5, 0)


def test_files_that_do_not_fit_are_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    read_or_draw(path, PATIENTS, 5, 0)
    with pytest.raises(InputError, match=r"splits\.json: holds 5 folds, 4 were asked for"):
        read_or_draw(path, PATIENTS, 4, 0)
    content = json.loads(path.read_text())
    for broken in (
        "{",
        "[]",
        json.dumps({**content, "cases": {"case0": {"fold": 9, "patient": "x"}}}),
    ):
        path.write_text(broken)
        with pytest.raises(InputError, match="damaged"):
            read_or_draw(path, PATIENTS, 5, 0)
        assert path.read_text() == broken
    path.write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(InputError, match="another version"):
        read_or_draw(path, PATIENTS, 5, 0)


@pytest.mark.real_data
def test_development_folds_keep_patients_together(data_dir: Path, tmp_path: Path) -> None:
    kept = Path(__file__).parents[2] / "benchmarks" / "development_splits.json"
    with (data_dir / "covid_ct" / "cases.csv").open(newline="") as file:
        patients = {row["case"]: row["patient"] for row in csv.DictReader(file)}
    copy = tmp_path / kept.name
    copy.write_bytes(kept.read_bytes())
    folds = read_or_draw(copy, patients, 4, seed=0)
    assert copy.read_bytes() == kept.read_bytes()
    assert [len(fold.validation) for fold in folds] == [17, 22, 20, 17]
    for fold in folds:
        assert not {patients[c] for c in fold.train} & {patients[c] for c in fold.validation}
    assert {"sirm_10", "sirm_43"} <= set(folds[0].validation)
