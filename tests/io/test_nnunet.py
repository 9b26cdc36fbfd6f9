from pathlib import Path

import pytest
from raw_datasets import (
    SCHEME,
    lung_block,
    write_about,
    write_dataset,
    write_patients,
)

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.io.nnunet import read_datasets, read_patients


def test_one_dataset_with_its_patients(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "ours", {"b": lung_block(), "a": lung_block()})
    write_patients(tmp_path / "cases.csv", {"a": "p1", "b": "p2", "other": "p3"})
    (dataset,) = read_datasets(folder)
    assert dataset.name == "ours"
    assert [(c.name, c.patient, c.dataset) for c in dataset.cases] == [
        ("a", "p1", "ours"),
        ("b", "p2", "ours"),
    ]
    assert dataset.cases[0].image == folder / "imagesTr" / "a_0000.nii.gz"
    assert dataset.cases[0].labels == folder / "labelsTr" / "a.nii.gz"
    assert dataset.label_map == {
        0: Label.BACKGROUND,
        1: Label.LUNG,
        2: Label.GGO,
        3: Label.CONSOLIDATION,
        4: Label.INFECTION,
        5: Label.IGNORE,
    }
    assert dataset.warnings == ()


def test_several_datasets_and_a_table_given(tmp_path: Path) -> None:
    for name in ("two", "one"):
        write_dataset(tmp_path / "data" / name, {f"{name}_1": lung_block()})
    (tmp_path / "data" / "notes").mkdir()
    write_patients(tmp_path / "table.csv", {"one_1": "p", "two_1": "p"})
    datasets = read_datasets(tmp_path / "data", patients=tmp_path / "table.csv")
    assert [d.name for d in datasets] == ["one", "two"]
    assert {c.patient for d in datasets for c in d.cases} == {"p"}


def test_without_a_table_each_case_is_a_patient_and_that_is_told(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", {"a": lung_block(), "b": lung_block()})
    (dataset,) = read_datasets(folder)
    assert [c.patient for c in dataset.cases] == ["a", "b"]
    assert len(dataset.warnings) == 1
    assert "patient of its own" in dataset.warnings[0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            {"background": 0, "lung": [1, 2, 3], "infection": [2, 3], "ggo": [2], "ignore": 4},
            {0: Label.BACKGROUND, 1: Label.LUNG, 2: Label.GGO, 3: Label.INFECTION, 4: Label.IGNORE},
        ),
        (
            {"0": "background", "1": "left lung", "2": "right lung", "3": "infection"},
            {0: Label.BACKGROUND, 1: Label.LEFT_LUNG, 2: Label.RIGHT_LUNG, 3: Label.INFECTION},
        ),
    ],
)
def test_regions_and_the_form_of_version_1(
    tmp_path: Path, labels: dict, expected: dict[int, Label]
) -> None:
    write_dataset(tmp_path / "d", {"a": lung_block()})
    write_about(tmp_path / "d", labels)
    assert read_datasets(tmp_path / "d")[0].label_map == expected


def test_a_name_that_is_not_known_is_refused_unless_the_values_are_explained(
    tmp_path: Path,
) -> None:
    folder = write_dataset(tmp_path / "d", {"a": lung_block()})
    write_about(folder, {"background": 0, "haze": 1})
    with pytest.raises(InputError, match=r"'haze' is not known"):
        read_datasets(folder)
    given = {1: Label.GGO}
    assert read_datasets(folder, label_map=given)[0].label_map == given


def test_other_endings_and_files_listed_in_the_json(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"a": lung_block(), "b": lung_block()})
    write_about(folder, SCHEME, file_ending=".nrrd")
    with pytest.raises(InputError, match="no training cases"):
        read_datasets(folder)
    listed = {"first": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}}
    write_about(folder, SCHEME, dataset=listed)
    (case,) = read_datasets(folder)[0].cases
    assert (case.name, case.image.name) == ("first", "a_0000.nii.gz")
    write_about(folder, SCHEME, dataset={"first": {"label": "x"}})
    with pytest.raises(InputError, match=r"listed in dataset\.json are damaged"):
        read_datasets(folder)


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_headers_apart_from_their_voxels_are_refused(tmp_path: Path, ending: str) -> None:
    folder = write_dataset(tmp_path / "d", {"a": lung_block()})
    (folder / "imagesTr" / f"b_0000{ending}").touch()
    (folder / "labelsTr" / f"b{ending}").touch()
    assert [case.name for case in read_datasets(folder)[0].cases] == ["a"]
    write_about(folder, SCHEME, file_ending=ending)
    with pytest.raises(InputError, match=rf"b{ending}, b_0000{ending}; convert them to .nii.gz"):
        read_datasets(folder)


def test_a_count_that_differs_is_told(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"a": lung_block()})
    write_about(folder, numTraining=7)
    assert any("says 7 training cases, 1 are there" in w for w in read_datasets(folder)[0].warnings)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"a": lung_block(), "b": lung_block()})
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_datasets(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no nnU-Net dataset"):
        read_datasets(folder / "imagesTr")
    (folder / "labelsTr" / "b.nii.gz").unlink()
    with pytest.raises(InputError, match=r"1 of 2 cases without label file: b .*labelsTr/b\.nii"):
        read_datasets(folder)
    (folder / "labelsTr" / "b.nii.gz").touch()
    (folder / "imagesTr" / "a_0000.nii.gz").unlink()
    with pytest.raises(InputError, match=r"without image: a .*imagesTr/a_0000"):
        read_datasets(folder)
    (folder / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json could not be read"):
        read_datasets(folder)
    (folder / "dataset.json").unlink()
    with pytest.raises(InputError, match=r"d: dataset\.json is missing"):
        read_datasets(tmp_path)


def test_several_channels_and_names_used_twice_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_dataset(tmp_path / name, {"a": lung_block()})
    with pytest.raises(InputError, match="more than one dataset: a;"):
        read_datasets(tmp_path)
    write_about(tmp_path / "one", channel_names={"0": "CT", "1": "PET"})
    with pytest.raises(InputError, match="2 channels"):
        read_datasets(tmp_path / "one")


def test_tables_of_patients_that_cannot_be_used(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"a": lung_block(), "b": lung_block()})
    table = folder / "cases.csv"
    write_patients(table, {"a": "p1"})
    with pytest.raises(InputError, match=r"cases\.csv: names no patient for 1 cases of d: b"):
        read_datasets(folder)
    table.write_text("case,patient\na,p1\na,p2\n")
    with pytest.raises(InputError, match="case a has two patients"):
        read_patients(table)
    table.write_text("case,patient\na,\n")
    with pytest.raises(InputError, match="case a has no patient"):
        read_patients(table)
    table.write_text("name,patient\na,p\n")
    with pytest.raises(InputError, match="columns case and patient"):
        read_patients(table)
    with pytest.raises(InputError, match=r"absent\.csv: no such file"):
        read_datasets(folder, patients=tmp_path / "absent.csv")


def test_the_table_as_spreadsheets_save_it(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_bytes("\ufeffcase,patient\r\na,p1\r\n".encode())
    assert read_patients(tmp_path / "cases.csv") == {"a": "p1"}


@pytest.mark.real_data
def test_the_development_data(data_dir: Path) -> None:
    datasets = read_datasets(data_dir / "covid_ct")
    assert {d.name: len(d.cases) for d in datasets} == {"ma": 18, "medseg": 8, "sirm": 50}
    assert [d.warnings for d in datasets] == [(), (), ()]
    patients = {c.name: c.patient for d in datasets for c in d.cases}
    assert patients["medseg_2"] == patients["medseg_3"] == "r10"
    assert patients["medseg_1"] != patients["medseg_2"]
