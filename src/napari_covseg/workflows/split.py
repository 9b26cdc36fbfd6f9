"""Which cases train and which measure, always by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.io.nnunet import RawDataset
from napari_covseg.training.splits import Fold, read_or_draw

SPLIT_SEED = 0
"""Folds are drawn with it whatever the seed of a training: another seed changes how a network is
trained and not who measures it, or trainings would not compare."""


def split_by_patients(datasets: Sequence[RawDataset], patients: Sequence[str]) -> Fold:
    """The cases of these patients measure, all others train.

    Raises
    ------
    InputError
        If a patient has no case, or none is left to train.
    """
    cases = [case for dataset in datasets for case in dataset.cases]
    unknown = sorted(set(patients) - {case.patient for case in cases})
    if unknown:
        raise InputError(
            f"{len(unknown)} of the {len(set(patients))} validation patients have no case; see the "
            "column 'patient' of cases.csv"
        )
    measures = {case.name for case in cases if case.patient in patients}
    train = tuple(sorted(case.name for case in cases if case.name not in measures))
    if not train:
        raise InputError("every patient is a validation patient: none is left to train")
    return Fold(train, tuple(sorted(measures)))


def split_by_fold(
    datasets: Sequence[RawDataset], number: int, folds: int, file: Path, seed: int = SPLIT_SEED
) -> Fold:
    """Fold ``number`` (from 1) of ``folds``, kept in ``file``.

    Raises
    ------
    UsageError
        If there is no such fold.
    InputError, ResourceError
        As `read_or_draw`.
    """
    if not 1 <= number <= folds:
        raise UsageError(f"fold {number}/{folds}: expected 1/{folds} to {folds}/{folds}")
    patients = {case.name: case.patient for dataset in datasets for case in dataset.cases}
    return read_or_draw(file, patients, folds, seed)[number - 1]


def checked_split(
    datasets: Sequence[RawDataset], fold: Fold, unlabelled: Sequence[str] = ()
) -> Fold:
    """The split with all other cases in training, where none were named.

    Cases that are ``unlabelled`` are in neither part; their patients must not measure either.

    Raises
    ------
    InputError
        If it names unknown cases, leaves none to train, or a patient stands on both sides.
    """
    cases = {case.name: case for dataset in datasets for case in dataset.cases}
    aside = set(unlabelled)
    names = fold.train or tuple(sorted(cases.keys() - set(fold.validation)))
    names = tuple(name for name in names if name not in aside)
    unknown = sorted({*names, *fold.validation, *aside} - cases.keys())
    if unknown:
        raise InputError(f"the split names cases that the data does not hold: {unknown[0]}")
    if not names:
        raise InputError("the split leaves no case to train on")
    taught = {cases[name].patient for name in (*names, *aside)}
    shared = taught & {cases[name].patient for name in fold.validation}
    if shared:
        raise InputError(
            f"{len(shared)} patients have cases in training and in validation; split by patient"
        )
    return Fold(tuple(sorted(names)), tuple(sorted(fold.validation)))


def only_cases(datasets: Sequence[RawDataset], names: set[str]) -> list[RawDataset]:
    """The datasets with only these cases; those with none are left out."""
    kept = [
        replace(dataset, cases=tuple(case for case in dataset.cases if case.name in names))
        for dataset in datasets
    ]
    return [dataset for dataset in kept if dataset.cases]
