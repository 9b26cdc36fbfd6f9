import tracemalloc
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from raw_datasets import AFFINE, lung_block, write_case, write_dataset, write_patients

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.io.nnunet import read_datasets
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.steps import ClipHU, GreyLevels, Resample, ZScore
from napari_covseg.preprocess.volume_recipe import VolumeRecipe
from napari_covseg.training.cases import (
    Recipe,
    TrainingCase,
    check_classes,
    load_cases,
    tells_lesions_apart,
)
from napari_covseg.training.dataset import NO_LESION


def _load(folder: Path, recipe: Recipe | None = None, **options: object) -> list[TrainingCase]:
    datasets = read_datasets(folder, **options)
    return run_to_end(load_cases(datasets, recipe or VolumeRecipe.mueller2021(), None))


def test_a_volume_is_prepared_and_its_labels_follow(tmp_path: Path) -> None:
    labels = lung_block((6, 40, 48))
    folder = write_dataset(tmp_path / "d", {"a": labels})
    write_patients(tmp_path / "cases.csv", {"a": "p"})
    steps: list[Progress] = []
    recipe = VolumeRecipe.mueller2021()
    (case,) = run_to_end(load_cases(read_datasets(folder), recipe, None), steps.append)
    assert (case.name, case.dataset, case.patient) == ("a", "d", "p")
    assert case.image.dtype == np.float16
    assert case.codes.dtype == np.uint8
    assert case.image.shape == case.codes.shape == (11, 25, 30)
    assert np.allclose(case.spacing_mm, (30 / 11, 1.6, 1.6))
    assert set(np.unique(case.codes)) == {Label.BACKGROUND, Label.LUNG, Label.GGO}
    assert case.codes[5, 9, 10] == Label.GGO
    means = [case.image[case.codes == c].astype(float).mean() for c in (0, Label.LUNG, Label.GGO)]
    assert means[0] < means[1] - 0.5 < means[2] - 1
    assert [(s.done, s.total) for s in steps] == [(0, 1), (1, 1)]


@pytest.mark.parametrize("spacing_mm", [(2.7, 1.58, 1.58), (2.0, 0.7, 0.7)])
def test_a_volume_is_prepared_in_little_memory(
    tmp_path: Path, spacing_mm: tuple[float, float, float]
) -> None:
    """In volumes of float32: the copy, and what is resampled."""
    shape = (24, 160, 160)
    folder = write_dataset(tmp_path / "d", {})
    write_case(folder, "a", lung_block(shape), np.diag([-0.7, -0.7, 2.0, 1.0]))
    recipe = VolumeRecipe((ClipHU(), GreyLevels(), Resample(spacing_mm), ZScore()))
    datasets = read_datasets(folder)
    run_to_end(load_cases(datasets, recipe, None))
    tracemalloc.start()
    (case,) = run_to_end(load_cases(datasets, recipe, None))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.3 * 4 * np.prod(shape)
    assert abs(float(case.image.astype(np.float64).mean())) < 1e-3


def test_slices_are_grey_levels_at_the_recipes_pixel_size(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", {"a": lung_block((3, 54, 27))})
    (case,) = _load(tmp_path / "d", AxialRecipe(pixel_mm=1.35))
    assert case.image.dtype == np.uint8
    assert case.image.shape == case.codes.shape == (3, 40, 20)
    assert case.spacing_mm == (5.0, 1.35, 1.35)
    expected = round((-800 + 1350) / 1500 * 255)
    assert abs(case.image[case.codes == Label.LUNG].mean() - expected) < 5


def test_without_lungs_background_may_be_lung(tmp_path: Path) -> None:
    lesion_only = np.where(lung_block() == 2, 2, 0).astype(np.uint8)
    write_dataset(tmp_path / "d", {"a": lesion_only, "b": lung_block()})
    first, second = _load(tmp_path / "d")
    assert set(np.unique(first.codes)) == {NO_LESION, Label.GGO}
    assert set(np.unique(second.codes)) == {Label.BACKGROUND, Label.LUNG, Label.GGO}


def test_lungs_with_a_side_count_as_lungs(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", {"a": lung_block()})
    scheme = {1: Label.LEFT_LUNG, 2: Label.INFECTION}
    (case,) = _load(tmp_path / "d", label_map=scheme)
    assert set(np.unique(case.codes)) == {Label.BACKGROUND, Label.LEFT_LUNG, Label.INFECTION}


def test_single_slices_stay_single(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", {"a": lung_block((1, 79, 158))})
    (case,) = _load(tmp_path / "d")
    assert case.image.shape == case.codes.shape == (1, 50, 100)


def test_other_orientations_are_turned(tmp_path: Path) -> None:
    labels = lung_block()
    write_case(write_dataset(tmp_path / "d", {"a": labels}), "b", labels, np.diag([1, 1, 5, 1]))
    first, second = _load(tmp_path / "d", AxialRecipe(pixel_mm=1.0))
    assert np.array_equal(second.codes, first.codes[:, ::-1, ::-1])
    assert not np.array_equal(second.codes, first.codes)


def test_images_and_labels_on_different_grids_are_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"a": lung_block()})
    image = folder / "imagesTr" / "a_0000.nii.gz"
    kept = image.read_bytes()
    write_case(folder, "a", lung_block((3, 20, 26)))
    image.write_bytes(kept)
    with pytest.raises(InputError, match=r"a\.nii\.gz: 26 x 20 x 3 voxels .* has 24 x 20 x 3"):
        _load(folder)
    moved = AFFINE.copy()
    moved[2, 3] = 4.0
    write_case(folder, "a", lung_block(), moved)
    image.write_bytes(kept)
    with pytest.raises(InputError, match=r"a\.nii\.gz: its affine places voxels up to 4\.0 mm"):
        _load(folder)


def test_values_without_meaning_are_listed_with_their_file(tmp_path: Path) -> None:
    labels = lung_block()
    labels[0, 0, :2] = 5
    folder = write_dataset(tmp_path / "d", {"a": lung_block(), "b": labels})
    with pytest.raises(InputError, match=r"b\.nii\.gz: label values 5 have no known meaning"):
        _load(folder, label_map={1: Label.LUNG, 2: Label.GGO})


def test_pictures_in_grey_levels_need_a_window(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"a": lung_block(), "b": lung_block()})
    (in_hu, _) = _load(folder, AxialRecipe())
    image = nib.load(folder / "imagesTr" / "a_0000.nii.gz")
    grey = AxialRecipe().to_grey(np.asarray(image.dataobj))
    nib.save(nib.Nifti1Image(grey, image.affine), folder / "imagesTr" / "a_0000.nii.gz")
    with pytest.raises(InputError, match=r"a_0000\.nii\.gz: not in Hounsfield units"):
        _load(folder)
    steps = load_cases(read_datasets(folder), AxialRecipe(), None, window_hu=(-1350, 150))
    first, second = run_to_end(steps)
    assert np.abs(first.image.astype(int) - in_hu.image).max() <= 1
    assert any("window was not used" in note for note in second.warnings)


@pytest.mark.parametrize("broken", ["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"])
def test_damaged_files_are_named(tmp_path: Path, broken: str) -> None:
    folder = write_dataset(tmp_path / "d", {"a": lung_block()})
    content = (folder / broken).read_bytes()
    (folder / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=f"{Path(broken).name}: truncated or damaged"):
        _load(folder)


def _case(*codes: int) -> TrainingCase:
    array = np.array(codes, np.uint8).reshape(1, 1, -1)
    return TrainingCase("a", "d", "p", array.astype(np.float16), array, (1, 1, 1))


def test_classes_that_nothing_teaches_are_told_or_refused() -> None:
    whole = [_case(Label.BACKGROUND, Label.LEFT_LUNG), _case(Label.GGO, Label.CONSOLIDATION)]
    assert check_classes(whole, tuple(NetworkClass)) == ()
    (lost,) = check_classes([*whole[:1], _case(Label.GGO)])
    assert "consolidation, so the model cannot learn it" in lost
    partial = [_case(NO_LESION, Label.LUNG, Label.INFECTION)]
    notes = check_classes(partial)
    assert len(notes) == 2
    assert all("for certain" in note for note in notes)
    with pytest.raises(InputError, match="no voxel of ggo, which is asked for"):
        check_classes(partial, [NetworkClass.GGO])
    with pytest.raises(InputError, match="no labelled voxel"):
        check_classes([_case(Label.IGNORE, Label.IGNORE)])


def test_lesions_are_told_apart_where_both_classes_are_taught() -> None:
    either, ggo, consolidation = (
        _case(Label.LUNG, one) for one in (Label.INFECTION, Label.GGO, Label.CONSOLIDATION)
    )
    assert not tells_lesions_apart([either])
    assert not tells_lesions_apart([either, ggo])
    assert tells_lesions_apart([either, ggo, consolidation])
    assert tells_lesions_apart([ggo])


@pytest.mark.real_data
def test_slices_have_the_grey_levels_and_the_size_of_the_source(data_dir: Path) -> None:
    (case,) = _real(data_dir, "medseg", "medseg_8")
    folder = data_dir / "covid_ct" / "medseg"
    image = nib.load(folder / "imagesTr" / "medseg_8_0000.nii.gz").get_fdata()
    labels = np.asarray(nib.load(folder / "labelsTr" / "medseg_8.nii.gz").dataobj)
    lung = case.image[case.codes == Label.LUNG]
    assert abs(lung.mean() * 1500 / 255 - 1350 - image[labels == 1].mean()) < 5
    assert abs(lung.size * 1.35**2 / ((labels == 1).sum() * 1.05**2) - 1) < 0.005


@pytest.mark.real_data
def test_a_real_set_without_lungs_says_no_lesion_instead_of_background(data_dir: Path) -> None:
    (case,) = _real(data_dir, "sirm", "sirm_00")
    assert set(np.unique(case.codes)) == {Label.GGO, Label.CONSOLIDATION, NO_LESION}
    assert case.image.shape == (1, round(273 * 0.732 / 1.35), round(369 * 0.732 / 1.35))


def _real(data_dir: Path, dataset: str, name: str) -> list[TrainingCase]:
    (found,) = read_datasets(data_dir / "covid_ct" / dataset)
    (case,) = (case for case in found.cases if case.name == name)
    return run_to_end(load_cases([replace(found, cases=(case,))], AxialRecipe(), None))
