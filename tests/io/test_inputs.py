"""Which inputs paths stand for."""

import pytest

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


@pytest.mark.parametrize("kind", ["missing", "empty", "texts"])
def test_nothing_to_read_is_told(tmp_path, kind):
    folder = tmp_path / kind
    if kind != "missing":
        folder.mkdir()
    if kind == "texts":
        touch(folder, "a.txt")
    with pytest.raises(InputError, match=rf"^{kind}: (no such file or folder|no CT in this)"):
        find_inputs([folder])
