"""A cross-validation as data: what was measured, where, and what it cannot show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.metrics.overlap import Counts

MEASURED: Mapping[str, str] = {
    "lung": "Lungs",
    "infection": "Infection (GGO or consolidation)",
    "ggo": "GGO",
    "consolidation": "Consolidation",
}
"""Classes of the report and how a person reads them."""


@dataclass(frozen=True, slots=True)
class MeasuredCase:
    """A validation case of a fold, compared with its reference in its own grid.

    ``patient`` is a number within this report, never an identifier. ``counts`` holds a value for
    each of `MEASURED`, None where the reference says nothing about the class. ``slices`` are those
    with any annotation, ``lesion_slices`` those among them with a lesion in the reference.
    """

    fold: int
    case: str
    dataset: str
    patient: int
    counts: Mapping[str, Counts | None]
    slices: int
    lesion_slices: int

    def value(self, name: str, figure: str) -> float:
        """``dice``, ``sensitivity``, ... of a class; NaN where there is none."""
        counts = self.counts[name]
        return float("nan") if counts is None else float(getattr(counts, figure))


@dataclass(frozen=True)
class Curve:
    """How a fold's training went, an entry for each epoch; NaN where nothing was measured."""

    epochs: tuple[int, ...]
    loss: tuple[float, ...]
    dice: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class FoldReport:
    """What became of a fold, numbered from 1; ``error`` is the line why it has no figures."""

    number: int
    train_patients: int
    train_cases: int
    patients: int
    cases: int
    error: str = ""
    device: str = ""
    epochs: int = 0
    seconds: float = float("nan")
    stopped: str = ""
    curve: Curve | None = None
    measured: tuple[MeasuredCase, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class SliceView:
    """A slice of a case to look at.

    ``rank`` says why this case (``best``, ``median``, ``worst``), ``chosen_by`` the class whose
    Dice decided. ``hu``, ``reference`` and ``prediction`` are ``(y, x)`` in radiological
    orientation, the latter two of `Label`; ``spacing_mm`` is ``(y, x)``.
    """

    rank: str
    chosen_by: str
    case: str
    fold: int
    slice_number: int
    slices: int
    dice: float
    hu: NDArray
    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    spacing_mm: tuple[float, float]


@dataclass(frozen=True, eq=False)
class CrossvalContent:
    """All that the report says.

    Parameters
    ----------
    datasets
        Names of the data sets.
    folds
        In order.
    seed
        Of the draw of the folds.
    turned_round
        Whether a fold's small part trained and the large one was measured.
    postprocessed
        Whether label maps of the whole pipeline were measured, or the network's own output.
    settings
        Of the training: field to value.
    views
        Slices to show.
    warnings
        About the data.
    version
        Of the software.
    """

    datasets: tuple[str, ...]
    folds: tuple[FoldReport, ...]
    seed: int
    turned_round: bool
    postprocessed: bool
    settings: Mapping[str, Any]
    views: tuple[SliceView, ...] = ()
    warnings: tuple[str, ...] = ()
    version: str = ""

    @property
    def measured(self) -> tuple[MeasuredCase, ...]:
        """Every measurement; with ``turned_round`` a case is measured in several folds."""
        return tuple(one for fold in self.folds for one in fold.measured)

    @property
    def failed(self) -> tuple[FoldReport, ...]:
        """Folds without figures."""
        return tuple(fold for fold in self.folds if fold.error)

    @property
    def patients(self) -> int:
        """How many were measured."""
        return len({one.patient for one in self.measured})

    @property
    def cases(self) -> int:
        """How many different ones were measured."""
        return len({one.case for one in self.measured})


def how_split(content: CrossvalContent) -> str:
    """In words, how the folds were drawn."""
    k = len(content.folds)
    patients = _range(fold.patients for fold in content.folds)
    cases = _range(fold.cases for fold in content.folds)
    trained = _range(fold.train_patients for fold in content.folds)
    turned = (
        f"Turned round, as in the second split of Müller et al.: each fold trained on its small "
        f"part ({trained} patients) and was measured on the others ({patients} patients, {cases} "
        f"cases), so every case was measured {k - 1} times; its values are averaged first."
        if content.turned_round
        else f"Each fold trained on {trained} patients and was measured on the {patients} others "
        f"({cases} cases), so every case was measured once, by a network that never saw its "
        "patient."
    )
    return (
        f"{k} folds by patient, drawn at random (seed {content.seed}) and kept in splits.json: all "
        f"cases of a patient stand on one side. {turned}"
    )


def what_measured(content: CrossvalContent) -> str:
    """In words, which output was compared with the reference."""
    if content.postprocessed:
        return (
            "Measured is the whole pipeline's label map (post-processing included), voxel by voxel "
            "in the original grid of each CT."
        )
    return (
        "Measured is the network's own output, brought back to the original grid of each CT, "
        "without post-processing."
    )


def limits(content: CrossvalContent) -> list[str]:
    """What these data cannot show, one sentence each."""
    return list(_limits(content))


def _limits(content: CrossvalContent) -> Iterator[str]:
    measured = content.measured
    yield (
        "All cases come from the same data sets as the training: how well the network does on "
        "other scanners, protocols, hospitals or diseases is not shown."
    )
    slices = sum(one.slices for one in measured)
    healthy = slices - sum(one.lesion_slices for one in measured)
    if slices and not healthy:
        yield (
            "Every annotated slice holds infection: false alarms on healthy slices cannot be "
            "measured, and figures on whole chests will be lower."
        )
    elif slices and healthy < 0.2 * slices:
        yield (
            f"Only {healthy} of {slices} annotated slices are free of infection: false alarms on "
            "healthy lung are hardly measured."
        )
    yield from _about_classes(measured)
    if 0 < content.patients < 10:
        yield (
            f"{_count(content.patients, 'patient')} only: the intervals are too narrow, and a "
            "single patient moves every mean."
        )
    yield (
        "References are drawn by people. Two readers of COVID-19 CT agree at a Dice of about 0.74 "
        "to 0.86 for infection: a figure far above that points to a leak between training and "
        "validation rather than to a better network."
    )
    yield (
        "Folds share most of their training cases, so the spread over folds is not that of "
        "independent repetitions; spread over seeds is not measured."
        if not content.turned_round
        else "Cases are measured by several networks, so the folds are not independent."
    )


def _about_classes(measured: tuple[MeasuredCase, ...]) -> Iterator[str]:
    cases = {one.case: one for one in measured}.values()
    for name, title in MEASURED.items():
        without = sum(one.counts[name] is None for one in cases)
        if not without:
            continue
        short = title.split(" (")[0]
        why = "mark no lungs" if name == "lung" else f"do not say which lesions are {short}"
        why = why if short == "GGO" else why.replace(short, short.lower())
        if without == len(cases):
            yield f"{short} could not be measured: the references {why}."
        else:
            yield (
                f"{short} could be measured in {len(cases) - without} of {len(cases)} cases: the "
                f"other references {why}."
            )


def to_json(content: CrossvalContent) -> dict[str, Any]:
    """Plain values but NaN; the tables come from `tables.summary`."""
    folds = []
    for fold in content.folds:
        plain = {
            key: getattr(fold, key)
            for key in (
                *("number", "train_patients", "train_cases", "patients", "cases"),
                *("device", "epochs", "seconds", "stopped"),
            )
        }
        plain["error"] = fold.error or None
        plain["curve"] = None if fold.curve is None else asdict(fold.curve)
        plain["warnings"] = list(fold.warnings)
        folds.append(plain)
    return {
        "version": content.version,
        "datasets": list(content.datasets),
        "patients": content.patients,
        "cases": content.cases,
        "seed": content.seed,
        "turned_round": content.turned_round,
        "postprocessed": content.postprocessed,
        "split": how_split(content),
        "limits": limits(content),
        "settings": dict(content.settings),
        "warnings": list(content.warnings),
        "folds": folds,
    }


def _range(values: Iterable[int]) -> str:
    low, *rest = sorted(set(values)) or [0]
    return f"{low} to {rest[-1]}" if rest else str(low)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
