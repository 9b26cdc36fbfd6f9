"""Which inputs paths stand for."""

import zipfile

import numpy as np
import pytest
from dicom_maker import image

from napari_covseg.domain.errors import InputError
from napari_covseg.io import case_name, find_inputs

DICOM = bytes(128) + b"DICM" + bytes(32)


def touch(folder, *names, content=b"x"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("a.nii.gz", "a"),
        ("a_0000.nii.gz", "a"),
        ("a.b.NII", "a.b"),
        ("a.seg.nrrd", "a"),
        ("a.mhd", "a"),
        ("x/a_0001.mha", "a_0001"),
        ("plain", "plain"),
        ("_0000.nii", "_0000"),
        (".nii", ".nii"),
        ("caf\udce9_0000.nii.gz", "caf_"),
        ("café.nii.gz", "café"),
    ],
)
def test_case_names(name, case):
    assert case_name(name) == case


def test_a_folder_of_volumes_is_many_inputs_without_results(tmp_path):
    touch(tmp_path, "b.nii.gz", "a.nrrd", "c.mhd", "c.raw", "a_labels.nii.gz", "a.seg.nrrd")
    touch(tmp_path, "notes.txt", ".hidden.nii")
    assert [path.name for path in find_inputs([tmp_path])] == ["a.nrrd", "b.nii.gz", "c.mhd"]


def test_a_dicom_folder_is_one_input_and_files_pass_through(tmp_path):
    touch(tmp_path, "scan/1.dcm", "scan/2.dcm", content=DICOM)
    touch(tmp_path, "one_labels.nii.gz")
    given = [tmp_path / "one_labels.nii.gz", tmp_path / "scan", tmp_path / "scan"]
    assert find_inputs(given) == given[:2]


def test_folders_and_zips_of_scans(tmp_path):
    touch(tmp_path, "p1/a.nii", "p2/b.nii", "empty/readme.txt")
    assert find_inputs([str(tmp_path)]) == [tmp_path / "p1" / "a.nii", tmp_path / "p2" / "b.nii"]


def study(uid, *paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        image(np.zeros((4, 4)), StudyInstanceUID=uid).save_as(path)


def names_of(folder):
    return [path.relative_to(folder).as_posix() for path in find_inputs([folder])]


def test_a_study_of_several_series_is_one_input_and_several_studies_are_many(tmp_path):
    study("1.1", tmp_path / "p1" / "s1" / "a", tmp_path / "p1" / "s2" / "a")
    touch(tmp_path, "p1/DICOMDIR", content=bytes(128) + b"DICM\x02\x00\x10\x00UI\x14\x00")
    with (tmp_path / "p1" / "DICOMDIR").open("ab") as file:
        file.write(b"1.2.840.10008.1.3.10")
    assert names_of(tmp_path) == ["."]
    study("1.2", tmp_path / "p2" / "a.dcm")
    assert names_of(tmp_path) == ["p1", "p2"]
    assert names_of(tmp_path / "p1") == ["."]
    study("1.3", tmp_path / "p1" / "s3" / "a")
    assert names_of(tmp_path) == ["p1/s1", "p1/s2", "p1/s3", "p2"]


def test_volume_files_and_zips_do_not_hide_dicom(tmp_path):
    study("1.1", tmp_path / "dicom" / "a.dcm")
    touch(tmp_path, "ct.nii.gz")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(tmp_path / "dicom" / "a.dcm", "a.dcm")
    touch(tmp_path, "viewer.zip")
    assert names_of(tmp_path) == [".", "ct.nii.gz", "scan.zip"]
    study("1.2", tmp_path / "other" / "a.dcm")
    assert names_of(tmp_path) == ["ct.nii.gz", "dicom", "other", "scan.zip"]


def test_zips_alone_are_inputs_even_if_damaged(tmp_path):
    touch(tmp_path, "a.zip")
    assert names_of(tmp_path) == ["a.zip"]


def test_linked_studies_are_found(tmp_path):
    study("1.1", tmp_path / "archive" / "a.dcm")
    (tmp_path / "todo").mkdir()
    (tmp_path / "todo" / "p1").symlink_to(tmp_path / "archive")
    assert names_of(tmp_path / "todo") == ["p1"]


def test_label_files_of_a_folder_are_no_inputs_but_may_be_named(tmp_path):
    endings = ("_labels.nii.gz", "_label.nii", "_seg.nrrd", "_MASK.mha", ".seg.nrrd")
    touch(tmp_path, "c.nii", "segovia.nii", *(f"c{ending}" for ending in endings))
    assert names_of(tmp_path) == ["c.nii", "segovia.nii"]
    assert find_inputs([tmp_path / "c_seg.nrrd"]) == [tmp_path / "c_seg.nrrd"]
    touch(tmp_path / "set", "imagesTr/c_0000.nii", "labelsTr/c.nii")
    assert names_of(tmp_path / "set") == ["imagesTr/c_0000.nii"]


@pytest.mark.parametrize("kind", ["missing", "empty", "texts"])
def test_nothing_to_read_is_told(tmp_path, kind):
    folder = tmp_path / kind
    if kind != "missing":
        folder.mkdir()
    if kind == "texts":
        touch(folder, "a.txt")
    with pytest.raises(InputError, match=rf"^{kind}: (no such file or folder|no CT in this)"):
        find_inputs([folder])
