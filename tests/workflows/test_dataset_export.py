import json

import nibabel as nib
import numpy as np
import pytest
from small_stores import corrected, lungs, new_store, predicted

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io.labels import read_labels
from napari_covseg.io.nnunet import read_datasets
from napari_covseg.workflows.dataset_export import export_dataset, export_labels, find_version


@pytest.fixture
def store(tmp_path):
    """case_0001 accepted in part, case_0002 predicted, case_0003 new."""
    store = new_store(tmp_path / "store", cases=3)
    store.accept(corrected(store, predicted(store), reviewed=[0, 2]).id, reader="B")
    predicted(store, "case_0002")
    return store


def _files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_accepted_cases_only(store, tmp_path):
    done = run_to_end(export_dataset(store, tmp_path / "out"))
    assert (done.accepted, done.others) == (("case_0001",), ())
    assert _files(tmp_path / "out") == [
        *("cases.csv", "dataset.json"),
        "imagesTr/case_0001_0000.nii.gz",
        "labelsTr/case_0001.nii.gz",
    ]
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["numTraining"] == 1
    assert "dataset" not in about, "the folders say it all"
    (dataset,) = read_datasets(tmp_path / "out")
    (case,) = dataset.cases
    assert case.patient == "patient_0001"
    written = read_labels(case.labels).labels
    np.testing.assert_array_equal(written[[0, 2]], lungs(size=4)[[0, 2]])
    assert (written[[1, 3, 4, 5]] == Label.IGNORE).all()
    assert case.image.read_bytes() == store.image_path("case_0001").read_bytes()
    np.testing.assert_array_equal(nib.load(case.image).affine, nib.load(case.labels).affine)


def test_everything_keeps_what_is_not_accepted_apart(store, tmp_path):
    (tmp_path / "out").mkdir()
    done = run_to_end(export_dataset(store, tmp_path / "out", everything=True))
    assert done.others == ("case_0002", "case_0003")
    assert _files(tmp_path / "out")[2:] == [
        "imagesTr/case_0001_0000.nii.gz",
        "imagesTs/case_0002_0000.nii.gz",
        "imagesTs/case_0003_0000.nii.gz",
        "labelsTr/case_0001.nii.gz",
        "labelsTs/case_0002.nii.gz",
    ]
    np.testing.assert_array_equal(
        read_labels(tmp_path / "out" / "labelsTs" / "case_0002.nii.gz").labels, lungs()
    )
    assert len(read_datasets(tmp_path / "out")[0].cases) == 1


def test_whole_or_not_at_all(store, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(UsageError, match="is there already"):
        run_to_end(export_dataset(store, tmp_path / "full"))
    steps = export_dataset(store, tmp_path / "out", everything=True)
    next(steps)
    next(steps)
    steps.close()
    store.image_path("case_0003").unlink()
    with pytest.raises(InputError, match=r"case_0003_0000.nii.gz: missing"):
        run_to_end(export_dataset(store, tmp_path / "out", everything=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "store"]
    with pytest.raises(InputError, match="no case is accepted yet"):
        run_to_end(export_dataset(new_store(tmp_path / "new"), tmp_path / "out"))


@pytest.mark.parametrize("name", ["x.seg.nrrd", "x.nii.gz"])
def test_one_label_map(store, tmp_path, name):
    for number, size in ((None, 4), (1, 2), (2, 4)):
        path = export_labels(store, "case_0001", tmp_path / name, version=number)
        labels = read_labels(path)
        np.testing.assert_array_equal(labels.labels, lungs(size=size))
        assert labels.geometry.same_as(store.case("case_0001").geometry)


def test_versions_by_number(store):
    assert find_version(store, "case_0001").number == 2
    assert find_version(store, "case_0002").number == 1
    with pytest.raises(InputError, match="no version 3; it has 1 to 2"):
        find_version(store, "case_0001", 3)
    with pytest.raises(InputError, match="no label version; it has none yet"):
        find_version(store, "case_0003")
