"""Cases without labels that a retraining may use, so that a new model keeps what the old one knew.

Never those of a patient who measures, now or later: half of the patients whom nobody has labelled
are set aside for ever, by a hash of their pseudonym, so that enough are left to be held out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from napari_covseg.cases.held_out import Division, Role, roles_of
from napari_covseg.cases.records import State
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError

MOST = 20
"""Cases at most: each costs seconds to prepare, and a short training sees no more."""
_UNSEEN = (State.NEW, State.PREDICTED)


def set_aside(patient: str) -> bool:
    """Whether a patient without labels is kept from teaching, to measure one day."""
    return hashlib.sha256(patient.encode()).digest()[0] % 2 == 0


def unlabelled_cases(store: CaseStore, division: Division, seed: int) -> tuple[str, ...]:
    """Names of cases that nobody has worked on, of patients who neither measure nor validate.

    Cases in work, sent back or flagged are left out: what the old model says of them is known, or
    suspected, to be wrong. Of many `MOST` are drawn with ``seed``.
    """
    roles = roles_of(store)
    labelled = {case.patient for case in store.cases() if case.accepted is not None}
    not_these = division.measured_patients | (labelled - roles.keys())
    found = [
        case.name
        for case in store.cases(states=_UNSEEN)
        if case.accepted is None
        and not case.claimed_by
        and case.patient not in not_these
        and roles.get(case.patient, Role.TRAINING) is Role.TRAINING
        and (case.patient in roles or not set_aside(case.patient))
    ]
    order = np.random.default_rng(seed).permutation(len(found))
    return tuple(sorted(found[i] for i in order[:MOST]))


def unreadable_cases(store: CaseStore, cases: Iterable[str]) -> tuple[str, ...]:
    """Those of the cases whose scan is gone or damaged: one of many is no reason to end.

    Reads each scan: seconds.
    """
    found = []
    for case in cases:
        try:
            store.image(case)
        except InputError:
            found.append(case)
    return tuple(found)
