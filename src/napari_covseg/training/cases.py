"""Training cases from raw datasets: prepared as the network sees them, checked, and cached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.io.labels import read_labels
from napari_covseg.io.nnunet import RawCase, RawDataset
from napari_covseg.io.read import read_volume
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.resample import resample_labels, resample_linear
from napari_covseg.preprocess.volume_recipe import VolumeRecipe
from napari_covseg.training.cache import Entry, content_key, read_entry, write_entry
from napari_covseg.training.dataset import NO_LESION, UNLABELLED

Recipe = AxialRecipe | VolumeRecipe
_MARK_LUNG = (Label.LEFT_LUNG, Label.RIGHT_LUNG, Label.LUNG)
_TEACH: Mapping[NetworkClass, tuple[int, ...]] = {
    NetworkClass.BACKGROUND: (Label.BACKGROUND, NO_LESION),
    NetworkClass.LUNG: _MARK_LUNG,
    NetworkClass.GGO: (Label.GGO,),
    NetworkClass.CONSOLIDATION: (Label.CONSOLIDATION,),
}


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """One case on the recipe's grid.

    Parameters
    ----------
    name, dataset, patient
        As in the raw dataset.
    image
        ``(z, y, x)``: uint8 grey levels (`AxialRecipe`) or float16 prepared values
        (`VolumeRecipe`); may be mapped from disk.
    codes
        uint8, same shape: values of `Label`, and ``NO_LESION``.
    spacing_mm
        ``(z, y, x)``.
    warnings
        What the readers had to do.
    """

    name: str
    dataset: str
    patient: str
    image: NDArray
    codes: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    warnings: tuple[str, ...] = ()


def load_cases(
    datasets: Iterable[RawDataset],
    recipe: Recipe,
    cache: Path | None,
    *,
    window_hu: tuple[float, float] | None = None,
) -> Steps[list[TrainingCase]]:
    """Every case, read and prepared, or taken from the folder ``cache``; order as given.

    ``window_hu`` says what black and white stand for in images that are not in HU, as those of
    Radiopaedia in the set of Ma et al.; without it such images are refused. Yields progress after
    each case.

    Raises
    ------
    InputError
        If a file is missing or damaged, image and labels do not lie on one grid, or a label value
        has no meaning; the line names the file.
    ResourceError
        If the cache cannot be written.
    """
    jobs = [
        _Job(case, dataset.label_map, recipe, window_hu)
        for dataset in datasets
        for case in dataset.cases
    ]
    cases: list[TrainingCase] = []
    for job in jobs:
        case = job.case
        yield Progress(len(cases), len(jobs), f"reading {case.dataset}")
        entry = _entry(job, cache)
        cases.append(
            TrainingCase(
                case.name,
                case.dataset,
                case.patient,
                entry.image,
                entry.codes,
                entry.spacing_mm,
                entry.warnings,
            )
        )
    yield Progress(len(cases), len(jobs), "the data is read")
    return cases


def without_labels(case: TrainingCase) -> TrainingCase:
    """The same case as if nobody had labelled any of it."""
    return replace(case, codes=np.broadcast_to(np.uint8(UNLABELLED), case.codes.shape))


def check_classes(
    cases: Sequence[TrainingCase], asked: Iterable[NetworkClass] = ()
) -> tuple[str, ...]:
    """Warnings about network classes that no voxel of the data teaches.

    Raises
    ------
    InputError
        If one of the classes ``asked`` for is among them, or no voxel has a label at all.
    """
    counts = _counts(cases)
    if counts.sum() == counts[Label.IGNORE]:
        raise InputError("the training data has no labelled voxel: all of it is ignored or empty")
    empty = [c for c in NetworkClass if not counts[list(_TEACH[c])].sum()]
    for missing in empty:
        if missing in asked:
            raise InputError(
                f"the training data has no voxel of {missing.name.lower()}, which is asked for; "
                "add cases that have it, or train without it"
            )
    unknown = counts[Label.INFECTION] > 0
    return tuple(f"no voxel of the training data is {_told(c, bool(unknown))}" for c in empty)


def tells_lesions_apart(cases: Sequence[TrainingCase]) -> bool:
    """Whether the labels teach what is GGO and what consolidation.

    They do not where a lesion may be either and no voxel is one of them for certain: the network
    could then call every lesion so and lose nothing.
    """
    counts = _counts(cases)
    either = bool(counts[Label.INFECTION])
    return not either or bool(counts[Label.GGO] and counts[Label.CONSOLIDATION])


def _counts(cases: Sequence[TrainingCase]) -> NDArray[np.int64]:
    counts = np.zeros(NO_LESION + 1, np.int64)
    for case in cases:
        # Slice by slice: `bincount` copies what it counts to eight bytes a voxel.
        for plane in case.codes:
            counts += np.bincount(plane.reshape(-1), minlength=NO_LESION + 1)
    return counts


def _told(missing: NetworkClass, infection: bool) -> str:
    title = "GGO" if missing is NetworkClass.GGO else missing.name.lower()
    if infection and missing in (NetworkClass.GGO, NetworkClass.CONSOLIDATION):
        return f"{title} for certain (some are infection, its class unknown)"
    return f"{title}, so the model cannot learn it"


@dataclass(frozen=True)
class _Job:
    """A case, and all that decides what becomes of it."""

    case: RawCase
    label_map: Mapping[int, Label]
    recipe: Recipe
    window_hu: tuple[float, float] | None

    def key(self) -> str:
        labels = {str(value): int(label) for value, label in self.label_map.items()}
        settings = {"recipe": self.recipe.to_dict(), "labels": labels, "window": self.window_hu}
        return content_key(self.case, settings)


def _entry(job: _Job, cache: Path | None) -> Entry:
    if cache is None:
        return _prepare(job)
    key = job.key()
    return read_entry(cache, key) or write_entry(cache, key, _prepare(job))


def _prepare(job: _Job) -> Entry:
    case, recipe = job.case, job.recipe
    volume = read_volume(case.image, window=job.window_hu)
    labels = read_labels(case.labels, label_map=job.label_map)
    _check_grids(case, volume, labels)
    codes = labels.labels
    # Plane by plane: numpy looks values up by indices of eight bytes.
    if not any(np.isin(plane, _MARK_LUNG).any() for plane in codes):
        # Nobody drew lungs here: what is no lesion may be lung.
        codes = np.where(codes == Label.BACKGROUND.value, np.uint8(NO_LESION), codes)
    spacing = volume.geometry.spacing_mm
    warnings = tuple(f"{case.image.name}: {note}" for note in volume.warnings)
    warnings += tuple(f"{case.labels.name}: {note}" for note in labels.warnings)
    if isinstance(recipe, AxialRecipe):
        return _axial(volume.hu, codes, spacing, recipe, warnings)
    # What was read goes as soon as it is copied: whole CTs as floats fill a memory.
    hu = [volume.hu]
    del volume, labels
    prepared = recipe.prepare(hu.pop(), spacing)
    image, new_spacing = prepared.array.astype(np.float16), prepared.spacing_mm
    del prepared
    return Entry(image, recipe.prepare_labels(codes, spacing), new_spacing, warnings)


def _axial(
    hu: NDArray,
    codes: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    recipe: AxialRecipe,
    warnings: tuple[str, ...],
) -> Entry:
    image = axial_grey(hu, spacing_mm, recipe)
    small = np.empty_like(image)
    for number in range(len(image)):
        one = slice(number, number + 1)
        small[one] = resample_labels(codes[one], (1, *image.shape[1:]))
    return Entry(image, small, (spacing_mm[0], recipe.pixel_mm, recipe.pixel_mm), warnings)


def axial_grey(
    hu: NDArray, spacing_mm: tuple[float, float, float], recipe: AxialRecipe
) -> NDArray[np.uint8]:
    """Grey slices of the recipe's pixel size; one by one, so that no volume of floats is made."""
    pixel, (z, y, x) = recipe.pixel_mm, hu.shape
    _, y_mm, x_mm = spacing_mm
    height, width = (max(1, round(n * mm / pixel)) for n, mm in ((y, y_mm), (x, x_mm)))
    image = np.empty((z, height, width), np.uint8)
    for number in range(z):
        one = slice(number, number + 1)
        grey = recipe.to_grey(hu[one].astype(np.float32))
        image[one] = np.rint(resample_linear(grey, (1, height, width)))
    return image


def _check_grids(case: RawCase, volume: CTVolume, labels: LabelMap) -> None:
    name, image = case.labels.name, case.image.name
    if not labels.geometry.orthogonal:
        raise InputError(
            f"{name}: its axes are not at right angles; resample it and {image} to a regular grid"
        )
    ours, theirs = labels.geometry, volume.geometry
    if ours.shape != theirs.shape:
        here, there = (" x ".join(map(str, g.shape[::-1])) for g in (ours, theirs))
        raise InputError(
            f"{name}: {here} voxels (x, y, z, in the patient's order), but its image {image} has "
            f"{there}; labels must lie on their image's grid"
        )
    if not ours.same_as(theirs):
        apart = float(np.abs(ours.corners_mm() - theirs.corners_mm()).max())
        raise InputError(
            f"{name}: its affine places voxels up to {apart:.1f} mm from those of {image}; labels "
            "must lie on their image's grid"
        )
