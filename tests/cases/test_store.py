import json

import nibabel as nib
import numpy as np
import pytest
from small_stores import SHAPE, corrected, names, new_store, predicted, volume
from sqlalchemy import select

from napari_covseg.cases.records import DuplicateCase, State
from napari_covseg.cases.schema import PatientRow
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.io.labels import read_labels
from napari_covseg.io.nnunet import read_datasets


def test_a_new_store_is_an_empty_dataset(tmp_path):
    store = CaseStore.create(tmp_path / "store", author="RA")
    assert store.cases() == []
    assert store.verify() == []
    about = json.loads((store.folder / "dataset.json").read_text())
    assert about["numTraining"] == 0
    assert about["file_ending"] == ".nii.gz"
    assert about["channel_names"] == {"0": "CT"}
    assert list(about["labels"].values()) == list(range(8))
    assert about["labels"]["ignore"] == max(about["labels"].values())
    assert about["labels"]["consolidation"] == 4


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        CaseStore.create(tmp_path, author="RA")
    CaseStore.create(tmp_path / "store", author="RA")
    with pytest.raises(UsageError, match="holds a case store already"):
        CaseStore.create(tmp_path / "store", author="RA")
    with pytest.raises(UsageError, match="say who you are"):
        CaseStore.create(tmp_path / "other", author="  ")


def test_no_store_there(tmp_path):
    with pytest.raises(InputError, match="no case store here"):
        CaseStore.open(tmp_path)
    with pytest.raises(InputError, match="no case store here"):
        CaseStore.open(tmp_path / "nowhere")
    assert not (tmp_path / "covseg.sqlite").exists()


def test_a_case_keeps_its_image_and_grid(tmp_path):
    store = new_store(tmp_path / "store", cases=2)
    assert names(store.cases()) == ["case_0001", "case_0002"]
    original, kept = volume(1), CaseStore.open(store.folder).image("case_0002")
    np.testing.assert_array_equal(kept.hu, original.hu)
    assert kept.geometry.same_as(original.geometry, 1e-3)
    assert kept.to_native == original.to_native
    record = store.case("case_0002")
    assert record.geometry.same_as(original.geometry, 1e-9)
    assert record.to_native == original.to_native
    assert (record.state, record.newest, record.versions) == (State.NEW, None, 0)


def test_the_same_image_is_added_once(tmp_path):
    store = new_store(tmp_path / "store", cases=2)
    with pytest.raises(DuplicateCase, match="as case_0002") as caught:
        store.add_case(volume(1), author="RA")
    assert caught.value.case == "case_0002"
    assert len(list((store.folder / "imagesTr").iterdir())) == 2


def test_patients_share_a_pseudonym_and_nothing_tells_who_they_are(tmp_path):
    store = CaseStore.create(tmp_path / "store", author="RA")
    for seed, patient in enumerate(["Doe-4711", " Doe-4711 ", "Doe-4712", None, None]):
        store.add_case(volume(seed), author="RA", patient=patient)
    patients = [one.patient for one in store.cases()]
    assert patients == [f"patient_000{n}" for n in (1, 1, 2, 3, 4)]
    assert names(store.cases(patient="patient_0001")) == ["case_0001", "case_0002"]
    everything = b"".join(p.read_bytes() for p in store.folder.rglob("*") if p.is_file())
    assert b"4711" not in everything
    table = (store.folder / "cases.csv").read_text().splitlines()
    assert table[:2] == ["case,patient", "case_0001,patient_0001"]
    other = CaseStore.create(tmp_path / "other", author="RA")
    other.add_case(volume(0), author="RA", patient="Doe-4711")
    keys = [_patient_keys(one) for one in (store, other)]
    assert not keys[0] & keys[1], "the hash is keyed by the store"


def _patient_keys(store: CaseStore) -> set[str]:
    with store._db.read() as session:
        return set(session.scalars(select(PatientRow.key)))


def test_names_of_ones_own(tmp_path):
    store = CaseStore.create(tmp_path / "store", author="RA")
    assert store.add_case(volume(0), author="RA", name="medseg_1").name == "medseg_1"
    for wrong in ("medseg_1", "MEDSEG_1", "../up", "Jane Doe", ""):
        with pytest.raises(UsageError):
            store.add_case(volume(1), author="RA", name=wrong)
    assert names(store.cases()) == ["medseg_1"]
    assert store.verify() == []


def test_a_file_in_the_way_is_not_overwritten(tmp_path):
    store = new_store(tmp_path / "store", cases=0)
    (store.folder / "imagesTr" / "case_0001_0000.nii.gz").write_bytes(b"mine")
    assert store.add_case(volume(0), author="RA").name == "case_0002"
    assert (store.folder / "imagesTr" / "case_0001_0000.nii.gz").read_bytes() == b"mine"
    (problem,) = store.verify()
    assert problem.file == "imagesTr/case_0001_0000.nii.gz"


def test_accepted_cases_are_a_training_set(tmp_path):
    """Also nnU-Net's: it takes the files listed in dataset.json, and needs as many as it says."""
    store = new_store(tmp_path / "store", cases=3)
    version = corrected(store, predicted(store, "case_0002"))
    store.accept(version.id, reader="RA")
    about = json.loads((store.folder / "dataset.json").read_text())
    assert about["numTraining"] == 1
    assert about["dataset"] == {
        "case_0002": {
            "images": ["imagesTr/case_0002_0000.nii.gz"],
            "label": "labelsTr/case_0002.nii.gz",
        }
    }
    (dataset,) = read_datasets(store.folder)
    (case,) = dataset.cases
    assert (case.name, case.patient) == ("case_0002", "patient_0002")
    assert dict(dataset.label_map) == {int(label): label for label in Label}
    assert dataset.warnings == ()
    labels = read_labels(case.labels)
    np.testing.assert_array_equal(labels.labels[:3], store.labels(version.id).labels[:3])
    assert (labels.labels[3:] == Label.IGNORE).all()
    image, mask = nib.load(case.image), nib.load(case.labels)
    np.testing.assert_array_equal(image.affine, mask.affine)
    assert image.shape == mask.shape == SHAPE[::-1]


def test_a_store_can_be_moved(tmp_path):
    store = new_store(tmp_path / "store")
    version = predicted(store)
    store.folder.rename(tmp_path / "moved")
    moved = CaseStore.open(tmp_path / "moved")
    assert moved.verify() == []
    assert moved.labels(version.id).labels.sum() > 0
    with pytest.raises(InputError, match="is gone"):
        store.cases()
    with pytest.raises(InputError):
        store.add_case(volume(5), author="RA")
    assert not (tmp_path / "store").exists()
