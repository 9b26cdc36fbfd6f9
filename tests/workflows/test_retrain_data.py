from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from raw_datasets import lung_block, write_dataset

from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError
from napari_covseg.io.nnunet import read_datasets
from napari_covseg.io.read import read_volume
from napari_covseg.workflows.retrain_data import check_others


def test_a_scan_that_measures_is_found_though_the_store_wrote_it_anew(tmp_path: Path) -> None:
    labels = {"a": lung_block((3, 20, 24), 2), "b": lung_block((4, 20, 24), 3)}
    datasets = read_datasets(write_dataset(tmp_path / "raw", labels))
    image = tmp_path / "raw" / "imagesTr" / "b_0000.nii.gz"
    store = CaseStore.create(tmp_path / "store", author="RA")
    case = store.add_case(read_volume(image), author="RA").name
    measuring = store.image_path(case)
    assert measuring.read_bytes() != image.read_bytes()
    with pytest.raises(InputError, match=r"^b_0000\.nii\.gz: this scan is held out"):
        check_others(datasets, [measuring])
    other = nib.load(image)
    values = np.asarray(other.dataobj).copy()
    values[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(values, other.affine), image)
    check_others(datasets, [measuring])
    check_others(datasets, [])


def test_scans_that_cannot_be_read_are_told_by_their_bytes(tmp_path: Path) -> None:
    datasets = read_datasets(write_dataset(tmp_path / "raw", {"a": lung_block((3, 20, 24), 2)}))
    (image,) = (tmp_path / "raw" / "imagesTr").iterdir()
    image.write_bytes(b"no scan")
    same, other = tmp_path / "same.nii.gz", tmp_path / "other.nii.gz"
    same.write_bytes(b"no scan")
    other.write_bytes(b"nor this")
    check_others(datasets, [other])
    with pytest.raises(InputError, match="is held out in the store"):
        check_others(datasets, [same])
