"""Folds by patient, kept in a file so that a case once drawn never changes sides."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_covseg.domain.errors import InputError
from napari_covseg.io.atomic import write_json
from napari_covseg.io.sniff import readable

_FORMAT = 1


class _Drawn(NamedTuple):
    """What the file holds of a case: the fold in which it measures, and its patient, hidden."""

    fold: int
    patient: str


@dataclass(frozen=True, slots=True)
class Fold:
    """Names of the cases that train and of those that measure; both sorted."""

    train: tuple[str, ...]
    validation: tuple[str, ...]

    def turned_round(self) -> Fold:
        """The small part trains and the large one measures (Müller et al.: 20 % and 80 %)."""
        return Fold(self.validation, self.train)


def draw_folds(patients_of_cases: Mapping[str, str], folds: int, seed: int) -> tuple[Fold, ...]:
    """Each patient measures in one fold and trains in the others; folds have about as many cases.

    Parameters
    ----------
    patients_of_cases
        The patient of each case, by the case's name.
    folds
        How many; as many as there are patients leaves one patient out at a time.
    seed
        Of the draw.

    Raises
    ------
    InputError
        If there are fewer than two folds, or more than patients.
    """
    patients = _check_number(patients_of_cases, folds)
    return _as_folds(_place(patients_of_cases, {}, patients, folds, seed), folds)


def read_or_draw(
    path: Path, patients_of_cases: Mapping[str, str], folds: int, seed: int
) -> tuple[Fold, ...]:
    """The folds that ``path`` (``splits.json``) holds, for the cases there are now.

    Without the file they are drawn and written. Cases that it does not know yet are added to it: a
    case of a known patient goes where its patient is, a new patient where cases are fewest. Cases
    that are gone stay in the file, so that they find their place when they come back.

    Raises
    ------
    InputError
        As `draw_folds`; or if the file is damaged or holds another number of folds, a patient's
        cases stand in different folds, or a fold has no case left.
    ResourceError
        If the file cannot be written.
    """
    patients = _check_number(patients_of_cases, folds)
    known = _read(path, folds) if path.exists() else {}
    homes = _homes(path.name, patients_of_cases, known)
    placed = _place(patients_of_cases, homes, patients, folds, seed)
    now = {case: _Drawn(fold, hidden(patients_of_cases[case])) for case, fold in placed.items()}
    drawn = {**known, **now}
    if drawn != known:
        cases = {case: drawn[case]._asdict() for case in sorted(drawn)}
        write_json(path, {"format": _FORMAT, "folds": folds, "seed": seed, "cases": cases})
    result = _as_folds(placed, folds)
    empty = [str(number) for number, fold in enumerate(result) if not fold.validation]
    if empty:
        raise InputError(
            f"{path.name}: no case is left in fold {', '.join(empty)}; bring its cases back or "
            "draw anew with another file"
        )
    return result


def _check_number(patients_of_cases: Mapping[str, str], folds: int) -> set[str]:
    patients = set(patients_of_cases.values())
    if folds < 2:
        raise InputError(f"{folds} folds: expected at least 2, one that measures and one to train")
    if len(patients) == 1:
        raise InputError(
            "one patient only: folds are by patient, so at least two are needed to train and "
            "measure on different ones"
        )
    if folds > len(patients):
        raise InputError(
            f"{folds} folds of {len(patients)} patients: folds are by patient, so use at most "
            f"{len(patients)}"
        )
    return patients


def _place(
    patients_of_cases: Mapping[str, str],
    homes: Mapping[str, int],
    patients: Iterable[str],
    folds: int,
    seed: int,
) -> dict[str, int]:
    """The fold in which each case measures: its patient's home, new patients by fewest cases."""
    sizes = Counter(patients_of_cases.values())
    filled = [0] * folds
    for patient, fold in homes.items():
        filled[fold] += sizes[patient]
    new = sorted(set(patients) - set(homes))
    order = np.random.default_rng(seed).permutation(len(new))
    result = dict(homes)
    for patient in sorted((new[i] for i in order), key=lambda p: -sizes[p]):
        fold = filled.index(min(filled))
        result[patient] = fold
        filled[fold] += sizes[patient]
    return {case: result[patient] for case, patient in patients_of_cases.items()}


def _as_folds(placed: Mapping[str, int], folds: int) -> tuple[Fold, ...]:
    cases = sorted(placed)
    return tuple(
        Fold(
            tuple(case for case in cases if placed[case] != number),
            tuple(case for case in cases if placed[case] == number),
        )
        for number in range(folds)
    )


def _read(path: Path, folds: int) -> dict[str, _Drawn]:
    try:
        with readable(path):
            content = json.loads(path.read_text(encoding="utf-8"))
        version, held = content["format"], content["folds"]
        cases = {
            case: _Drawn(int(entry["fold"]), str(entry["patient"]))
            for case, entry in content["cases"].items()
        }
        if not all(0 <= entry.fold < held for entry in cases.values()):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InputError(
            f"{path.name}: damaged, not a file of splits; restore it, since a new draw would let "
            "cases change sides"
        ) from None
    if version != _FORMAT:
        raise InputError(f"{path.name}: written by another version (format {version})")
    if held != folds:
        raise InputError(
            f"{path.name}: holds {held} folds, {folds} were asked for; use {held}, or another file"
        )
    return cases


def _homes(
    name: str, patients_of_cases: Mapping[str, str], known: Mapping[str, _Drawn]
) -> dict[str, int]:
    """The fold of each patient that has been drawn before, also by cases that are gone."""
    gone = {e.patient: e.fold for case, e in known.items() if case not in patients_of_cases}
    homes: dict[str, int] = {}
    first: dict[str, str] = {}
    for case, patient in sorted(patients_of_cases.items()):
        if case in known:
            fold = known[case].fold
            if homes.setdefault(patient, fold) != fold:
                raise InputError(
                    f"{name}: {first[patient]} and {case} are of one patient but stand in "
                    "different folds; draw anew with another file"
                )
            first.setdefault(patient, case)
    for patient in set(patients_of_cases.values()) - set(homes):
        if hidden(patient) in gone:
            homes[patient] = gone[hidden(patient)]
    return homes


def hidden(patient: str) -> str:
    """A patient's name does not stand in the file, only what tells whether it is the same."""
    return hashlib.sha256(patient.encode()).hexdigest()[:16]
