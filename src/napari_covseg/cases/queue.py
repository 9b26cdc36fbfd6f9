"""In which order cases are worked on: by expected benefit, at random, or first come first served.

By benefit, the next case is that of the highest score less what it resembles cases already taken
(maximal marginal relevance, Carbonell and Goldstein, SIGIR 1998), so that ten alike cases do not
follow one another. Cases served lately stand behind all others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

HOLD_BACK = timedelta(minutes=30)
DIVERSITY = 0.3
"""Weight of likeness against score, both from 0 to 1."""
_SAME_PATIENT = 0.5
"""Two scans of one patient are at least this much alike."""


class Order(StrEnum):
    """What decides which case is next."""

    SCORE = "score"
    RANDOM = "random"
    FIRST_COME = "first-come"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A case that may be next; ``number`` is when it came, ``served`` when it was last handed out.

    ``score`` is None and ``features`` empty where nobody computed them.
    """

    name: str
    patient: str
    number: int
    score: float | None = None
    features: tuple[float, ...] = ()
    served: datetime | None = None


def ordered(
    candidates: Sequence[Candidate],
    order: Order,
    now: datetime,
    recent: Sequence[Candidate] = (),
    seed: int = 0,
) -> list[Candidate]:
    """The candidates, the next one first.

    Parameters
    ----------
    candidates
        The cases to choose from.
    order
        With `Order.SCORE`, cases without a score follow those with one, first come first.
    now
        Cases served less than `HOLD_BACK` ago go to the end, the one served longest ago first.
    recent
        Cases served before, for diversity.
    seed
        Of the random order, which is the same each time, also when cases are added.
    """
    held = [one for one in candidates if one.served and now - one.served < HOLD_BACK]
    names = {one.name for one in held}
    free = [one for one in candidates if one.name not in names]
    held.sort(key=lambda one: (one.served, one.number))
    if order is Order.RANDOM:
        free.sort(key=lambda one: hashlib.sha256(f"{seed} {one.name}".encode()).digest())
    else:
        free.sort(key=lambda one: one.number)
    if order is Order.SCORE:
        scored = [one for one in free if one.score is not None]
        free = _diverse(scored, recent) + [one for one in free if one.score is None]
    return free + held


def _diverse(scored: list[Candidate], recent: Sequence[Candidate]) -> list[Candidate]:
    """Greedy: each time the best of what is left, given what was taken."""
    if not scored:
        return []
    names = {one.name for one in scored}
    everyone = [*scored, *(one for one in recent if one.name not in names)]
    alike = _likeness(everyone)
    values = np.array([one.score for one in scored], dtype=np.float64)
    span = float(np.ptp(values))
    values = (values - values.min()) / span if span > 0 else np.zeros_like(values)
    taken = list(range(len(scored), len(everyone)))
    left = list(range(len(scored)))
    chosen: list[Candidate] = []
    while left:
        near = alike[left][:, taken].max(axis=1) if taken else np.zeros(len(left))
        gain = (1 - DIVERSITY) * values[left] - DIVERSITY * near
        best = left.pop(int(np.argmax(gain)))
        taken.append(best)
        chosen.append(scored[best])
    return chosen


def _likeness(cases: list[Candidate]) -> NDArray[np.float64]:
    """How alike each two are, 0 to 1: by distance of their features, and by patient."""
    patients = np.array([one.patient for one in cases])
    alike = np.where(patients[:, None] == patients[None, :], _SAME_PATIENT, 0.0)
    lengths = [len(one.features) for one in cases if one.features]
    if not lengths:
        return alike
    known = [i for i, one in enumerate(cases) if len(one.features) == max(lengths)]
    features = np.array([cases[i].features for i in known], dtype=np.float64)
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    distance = np.linalg.norm(features[:, None] - features[None, :], axis=-1)
    apart = distance[distance > 0]
    close = np.exp(-distance / np.median(apart)) if apart.size else np.ones_like(distance)
    grid = np.ix_(known, known)
    alike[grid] = np.maximum(alike[grid], close)
    return alike
