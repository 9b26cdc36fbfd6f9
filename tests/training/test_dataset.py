import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.config import DEVELOPMENT_VALIDATION
from napari_covseg.training.dataset import (
    NO_LESION,
    SliceSampler,
    TrainingSlice,
    load_slices,
    read_patients,
)


@pytest.mark.real_data
def test_patients_left_out_are_in_no_set(data_dir: Path) -> None:
    data = data_dir / "covid_ct"
    patients = read_patients(data)
    left_out = set(DEVELOPMENT_VALIDATION)
    assert left_out <= set(patients.values())
    seen = {
        one.patient
        for name in ("medseg", "ma", "sirm")
        for one in load_slices(data, name, AxialRecipe(), patients, left_out)
    }
    assert not seen & left_out
    assert seen | left_out == set(patients.values())


@pytest.mark.real_data
def test_near_identical_single_slices_stay_on_one_side(data_dir: Path) -> None:
    with (data_dir / "covid_ct" / "cases.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == "sirm"]
    held = [row["case"] for row in rows if row["patient"] in DEVELOPMENT_VALIDATION]
    assert len(held) == 11
    assert {"sirm_10", "sirm_43"} <= set(held)


@pytest.mark.real_data
def test_a_set_without_lung_masks_says_no_lesion_instead_of_background(data_dir: Path) -> None:
    data = data_dir / "covid_ct"
    patients = read_patients(data)
    others = set(patients.values()) - {"s00"}
    (one,) = load_slices(data, "sirm", AxialRecipe(), patients, others)
    assert set(np.unique(one.codes)) == {Label.GGO, Label.CONSOLIDATION, NO_LESION}
    expected = [round(273 * 0.732 / 1.35), round(369 * 0.732 / 1.35)]
    assert list(one.grey.shape) == expected


@pytest.mark.real_data
def test_grey_levels_are_those_of_the_source(data_dir: Path) -> None:
    data = data_dir / "covid_ct"
    patients = read_patients(data)
    others = set(patients.values()) - {"r36"}
    slices = list(load_slices(data, "medseg", AxialRecipe(), patients, others))
    assert len(slices) == 45
    image = nib.load(data / "medseg/imagesTr/medseg_8_0000.nii.gz").get_fdata()
    labels = np.asarray(nib.load(data / "medseg/labelsTr/medseg_8.nii.gz").dataobj)
    lung = np.concatenate([s.grey[s.codes == Label.LUNG] for s in slices])
    assert abs(lung.mean() * 1500 / 255 - 1350 - image[labels == 1].mean()) < 5
    assert abs(lung.size * 1.35**2 / ((labels == 1).sum() * 1.05**2) - 1) < 0.005


def test_without_the_table_of_patients_nothing_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cases\.csv: not found"):
        read_patients(tmp_path)


def _slice(patient: str, code: int) -> TrainingSlice:
    codes = np.full((4, 4), code, np.uint8)
    return TrainingSlice(patient, patient, np.zeros((4, 4), np.uint8), codes)


def test_sampler_draws_sets_patients_and_lesions_by_their_weights() -> None:
    first = [_slice("a", Label.GGO)] + [_slice("a", Label.LUNG)] * 8
    second = [_slice("b", Label.GGO)]
    sampler = SliceSampler(
        {"one": first, "two": second}, {"one": 0.75, "two": 0.25}, 0.5, np.random.default_rng(0)
    )
    drawn = [sampler.draw() for _ in range(4000)]
    of_one = [s for s in drawn if s.patient == "a"]
    assert abs(len(of_one) / len(drawn) - 0.75) < 0.03
    lesions = np.mean([s.has_lesion for s in of_one])
    assert abs(lesions - (0.5 + 0.5 / 9)) < 0.03
