"""Who measures and who trains: drawn once for each patient, kept in the store, never changed.

From five patients with accepted labels on, some are held out: they measure old and new models and
train none; with six, some validate: they choose how far a new model goes from its old one. With
fewer than five each is left out of a training in turn. A case is always measured against the label
version that was accepted when it was first measured; its hash is kept, and files are held against
it. Both are kept as events, which nobody can change; where two programs drew at once, the first
counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from napari_covseg.cases.derived import with_ignore
from napari_covseg.cases.encoding import numbers_from, ranges_from
from napari_covseg.cases.gate import Way
from napari_covseg.cases.records import CaseRecord, ModelRecord
from napari_covseg.cases.replayed import replayed_patients
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.volume import LabelMap

FEWEST_FOR_HELD_OUT, FEWEST_FOR_VALIDATION = 5, 6
FEWEST_HELD_OUT = 2
HELD_OUT_SHARE, VALIDATION_SHARE = 0.25, 0.15
DRAWN, FROZEN = "roles drawn", "measured labels frozen"
MAY_HAVE_SEEN = "may_have_seen"
"""Field of a model's settings: cases of the store that were in its training, by its card."""

UNLABELLED_CASES = "unlabelled_cases"
"""Field of a model's settings: cases that taught it without labels (by what its parent said)."""


class Role(StrEnum):
    """What a patient's cases are for, as long as the store lives."""

    TRAINING = "training"
    VALIDATION = "validation"
    HELD_OUT = "held out"


@dataclass(frozen=True, slots=True)
class FrozenCase:
    """A case to measure on: the version of its labels, the file's hash, and the reviewed slices."""

    case: str
    patient: str
    version: str
    sha256: str
    slices: frozenset[int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "case": self.case,
            "patient": self.patient,
            "version": self.version,
            "sha256": self.sha256,
            "slices": ranges_from(self.slices),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FrozenCase:
        """What `to_dict` wrote."""
        return cls(**{**content, "slices": numbers_from(content["slices"])})


@dataclass(frozen=True)
class Division:
    """Cases by what they are for; ``measured`` are frozen, and with `Way.FOLDS` they train too."""

    way: Way
    training: tuple[str, ...]
    validation: tuple[str, ...]
    measured: tuple[FrozenCase, ...]

    @property
    def measured_patients(self) -> frozenset[str]:
        """Whom a model must not have trained on to be measured."""
        return frozenset(one.patient for one in self.measured)


def sizes(patients: int) -> tuple[int, int]:
    """How many of so many patients are held out, and how many validate."""
    if patients < FEWEST_FOR_HELD_OUT:
        return 0, 0
    held_out = max(FEWEST_HELD_OUT, round(HELD_OUT_SHARE * patients))
    if patients < FEWEST_FOR_VALIDATION:
        return held_out, 0
    return held_out, max(1, round(VALIDATION_SHARE * patients))


def draw_roles(
    known: Mapping[str, Role],
    patients: Iterable[str],
    trained_on: Collection[str],
    seed: int,
    taught: Collection[str] = (),
) -> dict[str, Role]:
    """Roles for patients that have none yet; none for fewer than five patients in all.

    Parameters
    ----------
    known
        Roles drawn before.
    patients
        Everyone with accepted labels.
    trained_on
        Patients whom a model of the store has trained on: they are held out or validate only
        where there are too few others.
    seed
        Of the draw.
    taught
        Patients whose scans taught a model of the store without labels, or as other data: they
        train, or no model would be left that could be measured on them.
    """
    new = sorted(set(patients) - known.keys())
    held_out, validation = sizes(len(new) + len(known))
    if not held_out:
        return {}
    taken = list(known.values())
    rng = np.random.default_rng([seed, len(known)])
    order = [new[i] for i in rng.permutation(len(new))]
    order.sort(key=lambda patient: patient in trained_on)
    roles = dict.fromkeys(order, Role.TRAINING)
    for role, wanted in ((Role.HELD_OUT, held_out), (Role.VALIDATION, validation)):
        free = [patient for patient in order if roles[patient] is Role.TRAINING]
        free = [patient for patient in free if patient not in taught]
        for patient in free[: max(0, wanted - taken.count(role))]:
            roles[patient] = role
    return roles


def roles_of(store: CaseStore) -> dict[str, Role]:
    """The role of each patient that has one."""
    roles: dict[str, Role] = {}
    for event in store.events(kind=DRAWN):
        for patient, role in event.detail["patients"].items():
            roles.setdefault(patient, Role(role))
    return roles


def frozen_cases(store: CaseStore) -> dict[str, FrozenCase]:
    """What each case is measured against, by case, for those that were measured before."""
    found: dict[str, FrozenCase] = {}
    for event in store.events(kind=FROZEN):
        one = FrozenCase.from_dict(event.detail)
        found.setdefault(one.case, one)
    return found


def divide(store: CaseStore, *, author: str, seed: int = 0) -> Division:
    """Who trains and who measures now; patients and cases that are new to it are drawn and frozen.

    Raises
    ------
    ResourceError
        If the store may not be written to.
    """
    labelled = [case for case in store.cases() if case.accepted is not None]
    roles = roles_of(store)
    trained_on = set().union(*(trained_patients(store, one) for one in store.models()))
    patients = [case.patient for case in labelled]
    new = draw_roles(roles, patients, trained_on, seed, taught_patients(store))
    if new:
        detail = {"patients": {patient: role.value for patient, role in new.items()}, "seed": seed}
        store.record_event(DRAWN, actor=author, detail=detail)
        roles = roles_of(store)
    way = Way.HELD_OUT if roles else Way.FOLDS
    measure = [case for case in labelled if not roles or roles[case.patient] is Role.HELD_OUT]
    frozen = _frozen(store, measure, author)
    # A held-out case stays so when its labels are sent back.
    kept = [f for f in frozen_cases(store).values() if roles.get(f.patient) is Role.HELD_OUT]
    measured = {one.case: one for one in (*frozen, *kept)}
    return Division(
        way,
        _of_role(labelled, roles, Role.TRAINING),
        _of_role(labelled, roles, Role.VALIDATION),
        tuple(measured[case] for case in sorted(measured)),
    )


def _of_role(cases: Iterable[CaseRecord], roles: Mapping[str, Role], role: Role) -> tuple[str, ...]:
    """Names of the cases of a role; without any roles all train."""
    return tuple(
        sorted(case.name for case in cases if roles.get(case.patient, Role.TRAINING) is role)
    )


def _frozen(store: CaseStore, cases: Iterable[CaseRecord], author: str) -> list[FrozenCase]:
    known = frozen_cases(store)
    new = [case for case in cases if case.name not in known]
    for case in new:
        assert case.accepted is not None
        version = store.version(case.accepted)
        one = FrozenCase(case.name, case.patient, version.id, version.sha256, case.accepted_slices)
        store.record_event(FROZEN, actor=author, case=case.name, detail=one.to_dict())
    known = frozen_cases(store) if new else known
    return [known[case.name] for case in cases]


def reference(store: CaseStore, frozen: FrozenCase) -> LabelMap:
    """The labels to measure against; slices that were not reviewed are ``ignore``.

    Raises
    ------
    InputError
        If the file is gone or was changed since it was saved.
    """
    return with_ignore(store.labels(frozen.version), frozen.slices)


def trained_patients(store: CaseStore, model: ModelRecord | None) -> frozenset[str]:
    """Patients of the store that a model or one it descends from trained on; none for None.

    Scans that were replayed count, also where they came into the store later. None is the model
    that the package ships: it was trained on other data.
    """
    patients = {case.name: case.patient for case in store.cases()}
    by_hash = {one.sha256: one for one in store.models()}
    found: set[str] = set()
    line = []
    while model is not None:
        line.append(model)
        cases = {case for case, _ in model.trained_on}
        cases |= set(model.settings.get(MAY_HAVE_SEEN, ()))
        cases |= set(model.settings.get(UNLABELLED_CASES, ()))
        found |= {patients[case] for case in cases if case in patients}
        model = by_hash.get(model.parent or "")
    return frozenset(found) | replayed_patients(store, line)


def taught_patients(store: CaseStore) -> frozenset[str]:
    """Patients whose scans taught a model of the store without labels, or were replayed."""
    models = store.models()
    cases = {case for one in models for case in one.settings.get(UNLABELLED_CASES, ())}
    taught = frozenset(case.patient for case in store.cases() if case.name in cases)
    return taught | replayed_patients(store, models)


def clean_ancestor(
    store: CaseStore, model: ModelRecord | None, patients: Collection[str]
) -> ModelRecord | None:
    """The model itself, or the nearest one it descends from, that trained on none of them.

    None is the model that the package ships.
    """
    by_hash = {one.sha256: one for one in store.models()}
    while model is not None and trained_patients(store, model) & set(patients):
        model = by_hash.get(model.parent or "")
    return model
