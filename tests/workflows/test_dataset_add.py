import json

import numpy as np
import pytest
from dicom_maker import write_series
from raw_datasets import lung_block, write_dataset, write_patients
from small_stores import lungs, new_store, volume

from napari_covseg.cases.records import Kind, State
from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.labels import read_labels
from napari_covseg.io.write import write_labels, write_volume
from napari_covseg.workflows.dataset_add import AddRequest, add_cases, add_labels


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store", cases=0)


def _add(store, *inputs, **more):
    return run_to_end(add_cases(store, AddRequest(tuple(inputs), "RA", **more)))


def _scans(folder, count=2):
    folder.mkdir()
    return [write_volume(volume(n), folder / f"scan{n}_0000.nii.gz") for n in range(count)]


def test_a_folder_of_scans(store, tmp_path):
    _scans(tmp_path / "scans")
    added = _add(store, tmp_path / "scans")
    assert [(a.source, a.case, a.patient, a.state) for a in added] == [
        ("scan0_0000.nii.gz", "case_0001", "patient_0001", State.NEW),
        ("scan1_0000.nii.gz", "case_0002", "patient_0002", State.NEW),
    ]
    assert "a patient of its own" in added[0].warnings[0]
    again = _add(store, tmp_path / "scans")
    assert [(a.case, a.already_there, a.error) for a in again] == [
        ("case_0001", True, None),
        ("case_0002", True, None),
    ]
    assert len(store.cases()) == 2


def test_one_bad_scan_stops_no_other(store, tmp_path):
    _scans(tmp_path / "scans")
    (tmp_path / "scans" / "scan0_0000.nii.gz").write_bytes(b"no scan")
    first, second = _add(store, tmp_path / "scans")
    assert isinstance(first.error, InputError)
    assert (second.case, second.error) == ("case_0001", None)


def test_labels_beside_scans(store, tmp_path):
    scans = _scans(tmp_path / "scans", 3)
    folder = tmp_path / "drawn"
    folder.mkdir()
    for n, ending in enumerate((".seg.nrrd", "_labels.nii.gz")):
        write_labels(LabelMap.like(volume(n), lungs(size=n + 3)), folder / f"scan{n}{ending}")
    added = _add(store, tmp_path / "scans", labels=folder)
    assert [a.state for a in added] == [State.CORRECTED, State.CORRECTED, State.NEW]
    for n in range(2):
        (version,) = store.history(f"case_000{n + 1}")
        assert (version.kind, version.author) == (Kind.IMPORT, "RA")
        assert version.reviewed == set(range(6))
        np.testing.assert_array_equal(store.labels(version.id).labels, lungs(size=n + 3))
    write_labels(LabelMap.like(volume(0), lungs()), folder / "other_labels.nii.gz")
    with pytest.raises(InputError, match="fit no CT that is added, such as other_labels"):
        _add(store, *scans, labels=folder)
    with pytest.raises(UsageError, match="one label file for 3 CTs"):
        _add(store, *scans, labels=folder / "scan0.seg.nrrd")


def test_labels_for_a_scan_that_is_there(store, tmp_path):
    (scan,) = _scans(tmp_path / "scans", 1)
    drawn = write_labels(LabelMap.like(volume(0), lungs()), tmp_path / "a_labels.nii.gz")
    _add(store, scan)
    (added,) = _add(store, scan, labels=drawn)
    assert (added.already_there, added.state) == (True, State.CORRECTED)
    (added,) = _add(store, scan, labels=drawn)
    assert added.warnings == (
        "it has labels already: those given were left out (add them with --case)",
    )
    assert len(store.history("case_0001")) == 1


def test_labels_that_do_not_fit_leave_no_case(store, tmp_path):
    (scan,) = _scans(tmp_path / "scans", 1)
    other = volume(0, (5, 10, 12))
    drawn = write_labels(LabelMap.like(other, lungs((5, 10, 12))), tmp_path / "a_labels.nii.gz")
    (added,) = _add(store, scan, labels=drawn)
    assert "a_labels.nii.gz: it does not lie on the grid of its CT" in str(added.error)
    assert store.cases() == []


def test_an_nnunet_dataset(store, tmp_path):
    data = tmp_path / "data"
    partial = lung_block(lesion=4)
    partial[0] = 5
    write_dataset(data / "one", {"a": partial, "b": lung_block(lesion=3)})
    write_dataset(data / "two", {"c": lung_block(lesion=2)})
    write_patients(data / "cases.csv", {"a": "r7", "b": "r10", "c": "r7"})
    added = _add(store, data, accept=True)
    assert [(a.case, a.patient, a.state) for a in added] == [
        ("case_0001", "patient_0001", State.ACCEPTED),
        ("case_0002", "patient_0002", State.ACCEPTED),
        ("case_0003", "patient_0001", State.ACCEPTED),
    ]
    written = read_labels(store.labels_path("case_0001")).labels
    assert (written[0] == Label.IGNORE).all(), "what was ignored stays so"
    mapped = np.array([0, Label.LUNG, Label.GGO, Label.CONSOLIDATION, Label.INFECTION, 7])
    np.testing.assert_array_equal(written, mapped[partial])
    assert store.case("case_0001").accepted_slices == {1, 2}
    assert json.loads((store.folder / "dataset.json").read_text())["numTraining"] == 3
    assert store.verify() == []


def test_a_label_map_and_a_table_of_ones_own(store, tmp_path):
    scans = _scans(tmp_path / "scans")
    table = tmp_path / "whose.csv"
    write_patients(table, {"scan0": "p", "scan1": "p"})
    drawn = write_labels(LabelMap.like(volume(0), lungs()), tmp_path / "a.nii.gz")
    added = _add(store, *scans, patients=table, keep_names=True)
    assert [(a.case, a.patient, a.warnings) for a in added] == [
        ("scan0", "patient_0001", ()),
        ("scan1", "patient_0001", ()),
    ]
    _add(
        *(store, scans[0]),
        labels=drawn,
        patients=table,
        label_map={2: Label.LUNG, 3: Label.INFECTION},
    )
    (version,) = store.history("scan0")
    assert set(np.unique(store.labels(version.id).labels)) == {0, Label.LUNG, Label.INFECTION}
    write_patients(table, {"scan0": "p"})
    with pytest.raises(InputError, match=r"whose.csv: names no patient for scan1"):
        _add(store, *scans, patients=table)


def test_dicom_of_one_patient(store, tmp_path):
    places = [(0, 0, 2.0 * z) for z in range(4)]

    def hu(points):
        return -900 + 10 * points[..., 0] + 60 * points[..., 2]

    for name, series, patient in (
        ("a", "1.2.1", "4711"),
        ("b", "1.2.22", "4711"),
        ("c", "1.2.333", ""),
    ):
        write_series(
            tmp_path / name,
            places,
            hu=lambda points, more=series: hu(points) + len(more),
            SeriesInstanceUID=series,
            PatientID=patient,
        )
    added = _add(store, *(tmp_path / name for name in "abc"))
    assert [a.error for a in added] == [None] * 3
    assert [a.patient for a in added] == ["patient_0001", "patient_0001", "patient_0002"]
    assert "no PatientID: it counts as a patient of its own" in added[2].warnings
    everything = b"".join(p.read_bytes() for p in store.folder.rglob("*") if p.is_file())
    assert b"4711" not in everything
    assert b"Doe" not in everything


def test_a_file_from_3d_slicer_becomes_the_next_version(tmp_path):
    store = new_store(tmp_path / "store")
    drawn = write_labels(LabelMap.like(volume(0), lungs()), tmp_path / "x.seg.nrrd")
    first = add_labels(store, "case_0001", drawn, author="A", reviewed=[0, 1], minutes=3)
    assert (first.kind, first.parent, first.minutes) == (Kind.IMPORT, None, 3)
    write_labels(LabelMap.like(volume(0), lungs(size=4)), drawn)
    second = add_labels(store, "case_0001", drawn, author="B")
    assert (second.kind, second.parent) == (Kind.CORRECTION, first.id)
    assert (second.reviewed, second.edited_voxels) == ({0, 1}, 8)
    other = write_labels(LabelMap.like(volume(0, (5, 10, 12)), lungs((5, 10, 12))), drawn)
    assert store.labels(add_labels(store, "case_0001", other, author="B").id).labels[5].max() == 0
    with pytest.raises(InputError, match="no such case"):
        add_labels(store, "case_0002", drawn, author="B")


@pytest.mark.real_data
def test_a_real_series_and_its_copy_as_nrrd(store, tmp_path, data_dir):
    """The DICOM series and the NRRD of one scan: each with its own HU, the lung mask on both."""
    scans = data_dir / "volumes"
    mask = scans / "cip_ct64" / "wholeLung-64.nrrd"
    scheme = {1: Label.LUNG, 2: Label.LUNG, 3: Label.LUNG}
    (added,) = _add(store, scans / "cip_ct64_dicom", labels=mask, label_map=scheme)
    assert added.error is None
    assert added.state is State.CORRECTED
    (version,) = store.history(added.case)
    labels, image = store.labels(version.id).labels, store.image(added.case)
    assert labels.shape == image.hu.shape
    assert np.median(image.hu[labels == Label.LUNG]) < -700 < np.median(image.hu[labels == 0])
    assert store.verify() == []
