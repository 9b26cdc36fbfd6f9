import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from raw_datasets import lung_block, write_case, write_dataset

from napari_covseg.domain.errors import ResourceError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io.nnunet import RawDataset, read_datasets
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe
from napari_covseg.training import cache as cache_module
from napari_covseg.training import cases as cases_module
from napari_covseg.training.cache import write_entry
from napari_covseg.training.cases import Recipe, TrainingCase, load_cases

RECIPE = VolumeRecipe.mueller2021()


@pytest.fixture
def dataset(tmp_path: Path) -> RawDataset:
    return read_datasets(write_dataset(tmp_path / "d", {"a": lung_block((4, 40, 40))}))[0]


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of cases that were prepared rather than taken from the cache."""
    done: list[str] = []
    prepare = cases_module._prepare

    def spy(job):
        done.append(job.case.name)
        return prepare(job)

    monkeypatch.setattr(cases_module, "_prepare", spy)
    return done


def _load(dataset: RawDataset, cache: Path, recipe: Recipe = RECIPE) -> TrainingCase:
    return run_to_end(load_cases([dataset], recipe, cache))[0]


def _same(first: TrainingCase, second: TrainingCase) -> bool:
    return (
        np.array_equal(first.image, second.image)
        and first.image.dtype == second.image.dtype
        and np.array_equal(first.codes, second.codes)
        and first.spacing_mm == second.spacing_mm
    )


@pytest.mark.parametrize("recipe", [RECIPE, AxialRecipe()])
def test_a_case_is_prepared_once_and_mapped(
    dataset: RawDataset, tmp_path: Path, prepared: list[str], recipe: Recipe
) -> None:
    cache = tmp_path / "deep" / "cache"
    first, second = _load(dataset, cache, recipe), _load(dataset, cache, recipe)
    (fresh,) = run_to_end(load_cases([dataset], recipe, None))
    assert prepared == ["a", "a"]
    assert _same(first, second)
    assert _same(first, fresh)
    assert isinstance(second.image, np.memmap)
    assert not second.image.flags.writeable


def test_other_content_recipes_or_meanings_are_other_entries(
    dataset: RawDataset, tmp_path: Path, prepared: list[str]
) -> None:
    cache = tmp_path / "cache"
    first = _load(dataset, cache)
    _load(dataset, cache, VolumeRecipe.mueller2021(clahe=True))
    other = RawDataset("d", dataset.folder, dataset.cases, {1: Label.LUNG, 2: Label.CONSOLIDATION})
    assert (_load(other, cache).codes == Label.CONSOLIDATION).any()
    write_case(dataset.folder, "a", lung_block((4, 40, 40), lesion=3))
    changed = _load(dataset, cache)
    assert prepared == ["a"] * 4
    assert not _same(first, changed)
    renamed = RawDataset("e", dataset.folder, dataset.cases, dataset.label_map)
    _load(renamed, cache)
    assert len(prepared) == 4


@pytest.mark.parametrize("suffix", [".json", ".image.npy", ".codes.npy"])
@pytest.mark.parametrize("damage", ["gone", "short", "empty", "changed"])
def test_damaged_entries_are_made_again(
    dataset: RawDataset, tmp_path: Path, prepared: list[str], suffix: str, damage: str
) -> None:
    cache = tmp_path / "cache"
    first = _load(dataset, cache)
    (file,) = cache.glob(f"*{suffix}")
    content = file.read_bytes()
    file.unlink()
    broken = {
        "short": content[: len(content) // 2],
        "empty": b"",
        "changed": content[:-20] + bytes(b ^ 1 for b in content[-20:]),
    }
    if damage != "gone":
        file.write_bytes(broken[damage])
    again = _load(dataset, cache)
    assert prepared == ["a", "a"]
    assert _same(first, again)
    _load(dataset, cache)
    assert prepared == ["a", "a"]


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """As a full disk does, the system refuses to write more than ``size`` bytes to a file."""
    resource = pytest.importorskip("resource", reason="no limit on files there")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("size", [100, 5000])
def test_a_full_disk_is_told_and_leaves_nothing(
    dataset: RawDataset, tmp_path: Path, size: int
) -> None:
    # the image takes 9 kB: with 100 bytes not even its header fits
    cache = tmp_path / "cache"
    told = r"^\S+: the cache cannot be written \(the disk is full\); make room"
    with _largest_file(size), pytest.raises(ResourceError, match=told):
        _load(dataset, cache)
    assert list(cache.iterdir()) == []
    assert _load(dataset, cache).image.shape == (7, 25, 25)


def test_a_disk_that_fills_up_after_the_image_leaves_nothing(
    dataset: RawDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ResourceError("the disk is full")

    monkeypatch.setattr("napari_covseg.training.cache.write_json", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        _load(dataset, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_another_process_has_finished_is_taken(
    dataset: RawDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, prepare = tmp_path / "cache", cases_module._prepare
    written: dict[str, int] = {}

    def slower_than_another(job):
        write_entry(cache, job.key(), prepare(job))
        written.update({file.name: file.stat().st_ino for file in cache.iterdir()})
        return prepare(job)

    monkeypatch.setattr(cases_module, "_prepare", slower_than_another)
    case = _load(dataset, cache)
    assert isinstance(case.image, np.memmap)
    assert len(written) == 3
    assert {file.name: file.stat().st_ino for file in cache.iterdir()} == written


def test_an_error_leaves_what_another_process_has_finished(
    dataset: RawDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: list[str]
) -> None:
    cache = tmp_path / "cache"
    write = cache_module._write_array

    def full(path: Path, array: np.ndarray) -> None:
        monkeypatch.setattr(cache_module, "_write_array", write)
        _load(dataset, cache)
        raise ResourceError("the disk is full")

    monkeypatch.setattr(cache_module, "_write_array", full)
    first = _load(dataset, cache)
    assert prepared == ["a", "a"]
    assert _same(_load(dataset, cache), first)
    assert prepared == ["a", "a"]


def test_trainings_may_fill_a_cache_together(
    dataset: RawDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, prepare = tmp_path / "cache", cases_module._prepare
    together = threading.Barrier(4)

    def prepare_all_at_once(job):
        entry = prepare(job)
        together.wait(60)
        return entry

    monkeypatch.setattr(cases_module, "_prepare", prepare_all_at_once)
    with ThreadPoolExecutor(4) as pool:
        cases = list(pool.map(lambda _: _load(dataset, cache), range(4)))
    monkeypatch.setattr(cases_module, "_prepare", prepare)
    (alone,) = run_to_end(load_cases([dataset], RECIPE, None))
    assert all(_same(case, alone) for case in cases)
    assert len(list(cache.iterdir())) == 3


def test_a_folder_that_cannot_be_made_is_told(dataset: RawDataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="the cache cannot be written"):
        _load(dataset, tmp_path / "file" / "cache")
