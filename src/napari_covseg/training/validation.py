"""Dice of a network on validation cases, from labels that may leave a voxel's class open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_covseg.domain.labels import NetworkClass
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.metrics.summary import mean_over_patients
from napari_covseg.training.dataset import NO_LESION, allowed_table

_LESIONS = (NetworkClass.GGO, NetworkClass.CONSOLIDATION)
MEASURED: Mapping[str, tuple[NetworkClass, ...]] = {
    "lung": (NetworkClass.LUNG, *_LESIONS),
    "infection": _LESIONS,
    "ggo": (NetworkClass.GGO,),
    "consolidation": (NetworkClass.CONSOLIDATION,),
}
"""What is measured, each a union of classes."""


class Case(Protocol):
    """What is needed of a case: codes are uint8 ``(z, y, x)``."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def patient(self) -> str:
        """Whose it is."""
        ...

    @property
    def codes(self) -> NDArray[np.uint8]:
        """Its labels as training codes."""
        ...


@dataclass(frozen=True, slots=True)
class Figure:
    """Dice of one class.

    ``mean`` and ``std`` are over patients (cases of one patient averaged first), ``pooled`` is over
    all voxels; None where there is nothing to measure. ``where_present`` is the mean over the cases
    whose reference holds the class: what is measured does not depend on the prediction.
    """

    mean: float | None
    std: float | None
    pooled: float | None
    patients: int
    cases: int
    where_present: float | None = None


@dataclass(frozen=True)
class Validation:
    """Figures by class (`MEASURED`)."""

    figures: Mapping[str, Figure]

    @property
    def score(self) -> float | None:
        """Mean Dice over the classes that the references hold: what picks the best epoch.

        A class that is in no reference has Dice 0 in an epoch that predicts a voxel of it and none
        in another; epochs must be compared over the same classes and cases.
        """
        means = [f.where_present for f in self.figures.values() if f.where_present is not None]
        return float(np.mean(means)) if means else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: asdict(figure) for name, figure in self.figures.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Validation:
        """What `to_dict` wrote."""
        return cls({name: Figure(**figure) for name, figure in content.items()})


Counts = tuple[int, int, int]


def class_counts(classes: NDArray[np.uint8], codes: NDArray[np.uint8]) -> dict[str, Counts | None]:
    """Voxels in both, in the prediction only and in the reference only, for each of `MEASURED`.

    Only voxels whose code decides whether they belong to the class are counted. None where the
    codes say nothing about a class: its voxels may be among those left open (infection of unknown
    kind, for GGO), and none is known to belong to it; or, for lung, where no lungs were marked.
    ``classes`` are of `NetworkClass`, ``codes`` training codes, both of one shape.
    """
    table = allowed_table().numpy()
    n_codes, n_classes = table.shape
    joint = np.zeros((n_classes, n_codes), np.int64)
    for found, said in zip(classes, codes, strict=True):
        # A plane at a time: numpy counts in int64, eight times the size of a volume.
        pairs = np.ravel(found) * np.uint8(n_codes) + np.ravel(said)
        joint += np.bincount(pairs, minlength=joint.size).reshape(joint.shape)
    there = joint.sum(axis=0) > 0
    counts: dict[str, Counts | None] = {}
    for name, members in MEASURED.items():
        inside = np.isin(np.arange(n_classes), members)
        is_in = ~table[:, ~inside].any(axis=1)
        is_out = ~table[:, inside].any(axis=1)
        is_open = ~is_in & ~is_out & ~table.all(axis=1)
        unmarked = name == "lung" and there[NO_LESION]
        if unmarked or (there[is_open].any() and not there[is_in].any()):
            counts[name] = None
            continue
        counts[name] = (
            int(joint[np.ix_(inside, is_in)].sum()),
            int(joint[np.ix_(inside, is_out)].sum()),
            int(joint[np.ix_(~inside, is_in)].sum()),
        )
    return counts


def validate(
    network: nn.Module,
    cases: Sequence[Case],
    predict: Callable[[nn.Module, Any], Steps[NDArray[np.uint8]]],
) -> Steps[Validation]:
    """Measure ``network`` on ``cases``; ``predict`` gives its classes on a case's own grid."""
    found: dict[str, dict[str, Counts | None]] = {}
    for done, case in enumerate(cases):
        message = f"validation, case {done + 1} of {len(cases)}"
        yield Progress(done, len(cases), message)
        steps = predict(network, case)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                classes = end.value
                break
            yield Progress(done, len(cases), message)
        found[case.name] = class_counts(classes, case.codes)
    patients = {case.name: case.patient for case in cases}
    return Validation({name: _figure(name, found, patients) for name in MEASURED})


def _figure(
    name: str, found: Mapping[str, Mapping[str, Counts | None]], patients: Mapping[str, str]
) -> Figure:
    counts = {case: one for case, by_class in found.items() if (one := by_class[name]) is not None}
    mean = mean_over_patients({case: _dice(*one) for case, one in counts.items()}, patients)
    held = {case: _dice(*one) for case, one in counts.items() if one[0] + one[2]}
    pooled = _dice(*(sum(column) for column in zip(*counts.values(), strict=True))) if counts else 0
    return Figure(
        _number(mean.mean),
        _number(mean.std),
        _number(pooled) if mean.cases else None,
        mean.patients,
        mean.cases,
        _number(mean_over_patients(held, patients).mean),
    )


def _dice(both: int, predicted: int, missed: int) -> float:
    """NaN where the class is in neither."""
    total = 2 * both + predicted + missed
    return 2 * both / total if total else float("nan")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
