"""The tables of a cross-validation: figures of each fold, over folds and over patients."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from napari_covseg.io.csv_cells import csv_cell
from napari_covseg.metrics.overlap import Counts
from napari_covseg.metrics.summary import mean_over_patients, patient_means
from napari_covseg.reports.crossval_content import MEASURED, CrossvalContent, MeasuredCase

COLUMNS: Mapping[str, str] = {
    "dice": "Dice",
    "median_dice": "median",
    "pooled_dice": "pooled",
    "sensitivity": "Sens.",
    "specificity": "Spec.",
}
"""What a row holds. All but the pooled Dice are over patients: cases of one are averaged first."""
_AVERAGED = ("dice", "sensitivity", "specificity")
_CASE_FIGURES = ("dice", "iou", "sensitivity", "specificity", "precision")


@dataclass(frozen=True)
class Row:
    """A row of the table of a class.

    ``group`` is ``fold``, ``folds`` or ``patients``. ``patients`` and ``cases`` had a Dice; NaN in
    ``values`` stands for what cannot be given.
    """

    group: str
    name: str
    patients: int
    cases: int
    values: Mapping[str, float]


def class_table(content: CrossvalContent, name: str) -> tuple[Row, ...]:
    """Each fold; mean, median and standard deviation over folds; the same over patients.

    A fold that failed, or in which the class could not be measured, has NaN and does not count
    over folds. The spread is the sample standard deviation (n - 1).
    """
    folds = [_row("fold", f"Fold {fold.number}", fold.measured, name) for fold in content.folds]
    everything = _row("patients", "Mean of patients", content.measured, name)
    patients, cases = everything.patients, everything.cases
    over_folds = [
        Row(
            "folds",
            f"{title} of folds",
            patients,
            cases,
            {column: how([row.values[column] for row in folds]) for column in COLUMNS},
        )
        for title, how in _OVER.items()
    ]
    low, high = _interval(content.measured, name)
    over_patients = [
        everything,
        Row("patients", "95 % interval, from", patients, cases, low),
        Row("patients", "95 % interval, to", patients, cases, high),
        *(
            Row("patients", f"{title} of patients", patients, cases, _over(content, name, how))
            for title, how in _OVER.items()
            if title != "Mean"
        ),
    ]
    return (*folds, *over_folds, *over_patients)


def summary(content: CrossvalContent) -> dict[str, Any]:
    """For each class the figures over patients and over folds, for JSON (NaN left in)."""
    return {name: _summary(content, name) for name in MEASURED}


def table_csv(content: CrossvalContent) -> str:
    """Every class and row, full precision; an empty cell where there is no value."""
    head = ("class", "group", "row", "patients", "cases", *COLUMNS)
    rows = [
        (
            *(name, row.group, row.name, row.patients, row.cases),
            *(_cell(row.values[column]) for column in COLUMNS),
        )
        for name in MEASURED
        for row in class_table(content, name)
    ]
    return _csv(head, rows)


def cases_csv(content: CrossvalContent) -> str:
    """Every measurement: a row for each fold, case and class that could be measured."""
    head = ("fold", "case", "dataset", "patient", "class", *_CASE_FIGURES)
    voxels = ("both", "predicted_only", "reference_only", "neither")
    rows = []
    for one in content.measured:
        for name in MEASURED:
            counts = one.counts[name]
            if counts is not None:
                figures = tuple(_cell(getattr(counts, figure)) for figure in _CASE_FIGURES)
                where = (one.fold, one.case, one.dataset, one.patient, name)
                rows.append(where + figures + tuple(getattr(counts, key) for key in voxels))
    return _csv((*head, *voxels), rows)


def values_of(
    measured: Iterable[MeasuredCase], name: str, figure: str
) -> tuple[dict[str, float], dict[str, str]]:
    """Measurement to value (finite ones only) and measurement to patient."""
    values: dict[str, float] = {}
    patients: dict[str, str] = {}
    for one in measured:
        value = one.value(name, figure)
        if math.isfinite(value):
            key = f"{one.fold}/{one.case}"
            values[key], patients[key] = value, str(one.patient)
    return values, patients


def case_dice(content: CrossvalContent, name: str) -> dict[str, tuple[float, int]]:
    """Each case's Dice (the mean where it was measured several times), and its first fold."""
    found: dict[str, list[float]] = {}
    folds: dict[str, int] = {}
    for one in content.measured:
        value = one.value(name, "dice")
        if math.isfinite(value):
            found.setdefault(one.case, []).append(value)
            folds.setdefault(one.case, one.fold)
    return {case: (float(np.mean(values)), folds[case]) for case, values in found.items()}


def _row(group: str, title: str, measured: Sequence[MeasuredCase], name: str) -> Row:
    dice, patients = values_of(measured, name, "dice")
    values = {
        figure: mean_over_patients(*values_of(measured, name, figure)).mean for figure in _AVERAGED
    }
    values["median_dice"] = _median(patient_means(dice, patients))
    counted = [counts for one in measured if (counts := one.counts[name]) is not None]
    values["pooled_dice"] = sum(counted, Counts(0, 0, 0)).dice
    cases = {key.partition("/")[2] for key in dice}
    return Row(group, title, len(set(patients.values())), len(cases), values)


def _interval(
    measured: Sequence[MeasuredCase], name: str
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    ends: tuple[dict[str, float], dict[str, float]] = (_nothing(), _nothing())
    for figure in _AVERAGED:
        found = mean_over_patients(*values_of(measured, name, figure)).interval_95
        for end, value in zip(ends, found, strict=True):
            end[figure] = value
    return ends


def _over(
    content: CrossvalContent, name: str, how: Callable[[Sequence[float]], float]
) -> dict[str, float]:
    """A statistic over patients; none of what is no mean of a patient."""
    values = _nothing()
    for figure in _AVERAGED:
        values[figure] = how(patient_means(*values_of(content.measured, name, figure)))
    return values


def _summary(content: CrossvalContent, name: str) -> dict[str, Any]:
    rows = {row.name: row for row in class_table(content, name)}
    over = {
        figure: asdict(mean_over_patients(*values_of(content.measured, name, figure)))
        | {"median": rows["Median of patients"].values[figure]}
        for figure in _AVERAGED
    }
    everything = rows["Mean of patients"]
    for figure in over.values():
        # Cases that were measured in several folds count once.
        figure["measurements"] = figure.pop("cases")
    counted = [counts for one in content.measured if (counts := one.counts[name]) is not None]
    return {
        "patients": everything.patients,
        "cases": everything.cases,
        **over,
        "pooled_dice": everything.values["pooled_dice"],
        "measurements_both_empty": sum(counts.both_empty for counts in counted),
        "over_folds": {title.lower(): dict(rows[f"{title} of folds"].values) for title in _OVER},
        "folds": [
            {
                "fold": fold.number,
                "patients": row.patients,
                "cases": row.cases,
                **row.values,
            }
            for fold, row in zip(content.folds, class_table(content, name), strict=False)
        ],
    }


def _nothing() -> dict[str, float]:
    return dict.fromkeys(COLUMNS, float("nan"))


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _mean(values: Sequence[float]) -> float:
    finite = _finite(values)
    return float(np.mean(finite)) if finite else float("nan")


def _median(values: Sequence[float]) -> float:
    finite = _finite(values)
    return float(np.median(finite)) if finite else float("nan")


def _spread(values: Sequence[float]) -> float:
    finite = _finite(values)
    return float(np.std(finite, ddof=1)) if len(finite) > 1 else float("nan")


_OVER: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Mean": _mean,
    "Median": _median,
    "SD": _spread,
}


def _cell(value: float) -> str:
    return f"{value:.6f}" if math.isfinite(value) else ""


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(map(csv_cell, row) for row in rows)
    return text.getvalue()
