"""From the folds' scores to the report: gathered, put into words and pictures, written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_covseg import __version__
from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import LESION_LABELS, LUNG_LABELS, Label
from napari_covseg.io.atomic import atomic_file, write_json
from napari_covseg.io.labels import read_labels
from napari_covseg.io.nnunet import RawCase, RawDataset
from napari_covseg.io.read import read_volume
from napari_covseg.reports.crossval_content import (
    MEASURED,
    CrossvalContent,
    Curve,
    FoldReport,
    MeasuredCase,
    SliceView,
    to_json,
)
from napari_covseg.reports.tables import cases_csv, summary, table_csv
from napari_covseg.training.logs import read_rows
from napari_covseg.training.splits import Fold
from napari_covseg.workflows.crossval_fold import PREDICTIONS, FoldScores
from napari_covseg.workflows.crossval_request import CrossvalRequest
from napari_covseg.workflows.scores import finite
from napari_covseg.workflows.segment import make_folder

_OURS = {int(label): label for label in Label}
_INSIDE = {"lung": LUNG_LABELS, "infection": LESION_LABELS}
_RANKS = ("best", "median", "worst")


@dataclass(frozen=True)
class ReportFiles:
    """What `write_report` wrote; ``figures`` by name."""

    html: Path
    json: Path
    table: Path
    cases: Path
    figures: Mapping[str, Path]


def make_content(
    request: CrossvalRequest,
    datasets: Sequence[RawDataset],
    folds: Sequence[Fold],
    seed: int,
    scores: Mapping[int, FoldScores],
    errors: Mapping[int, CovsegError],
) -> CrossvalContent:
    """The report as data; ``scores`` or ``errors`` hold each fold by its number, from 1.

    ``seed`` is the one that the folds were drawn with.
    """
    raw = {case.name: case for dataset in datasets for case in dataset.cases}
    numbers = _patient_numbers(raw.values())
    reports = tuple(
        _fold_report(
            number,
            fold,
            raw,
            numbers,
            scores.get(number),
            errors.get(number),
            _read_curve(request.output / f"fold_{number}"),
        )
        for number, fold in enumerate(folds, start=1)
    )
    return CrossvalContent(
        datasets=tuple(dataset.name for dataset in datasets),
        folds=reports,
        seed=seed,
        turned_round=request.turned_round,
        postprocessed=request.postprocess,
        settings=request.preset.to_dict(),
        views=_views(request, datasets, reports),
        warnings=_warnings(datasets, reports),
        version=__version__,
    )


def write_report(content: CrossvalContent, folder: Path) -> ReportFiles:
    """Write ``report.html``, ``crossval.json``, ``table.csv``, ``cases.csv`` and ``figures/``.

    Raises
    ------
    InputError, ResourceError
        If a file cannot be written; each file is whole or not there.
    """
    # matplotlib takes a second to load, which only a report should pay.
    from napari_covseg.reports.figures import box_plots, fitting_curves, write_figure
    from napari_covseg.reports.html import report_html
    from napari_covseg.reports.slices import slice_pictures

    drawn = {
        "fitting_curves": fitting_curves(content),
        "box_plots": box_plots(content),
        "slices": slice_pictures(content.views),
    }
    pictures = {name: png for name, png in drawn.items() if png is not None}
    make_folder(folder / "figures")
    figures = {
        name: write_figure(folder / "figures" / f"{name}.png", png)
        for name, png in pictures.items()
    }
    return ReportFiles(
        html=_write_text(folder / "report.html", report_html(content, pictures)),
        json=write_json(folder / "crossval.json", json_content(content)),
        table=_write_text(folder / "table.csv", table_csv(content)),
        cases=_write_text(folder / "cases.csv", cases_csv(content)),
        figures=figures,
    )


def json_content(content: CrossvalContent) -> dict[str, Any]:
    """All of the report as plain values; None for what has no value."""
    cases = [
        {
            **{key: getattr(one, key) for key in ("fold", "case", "dataset", "patient")},
            "classes": {
                name: None
                if counts is None
                else asdict(counts)
                | {key: getattr(counts, key) for key in ("dice", "sensitivity", "specificity")}
                for name, counts in one.counts.items()
            },
        }
        for one in content.measured
    ]
    plain = {**to_json(content), "summary": summary(content), "measurements": cases}
    return finite(plain)  # type: ignore[no-any-return]


def _fold_report(
    number: int,
    fold: Fold,
    raw: Mapping[str, RawCase],
    numbers: Mapping[str, int],
    scores: FoldScores | None,
    error: CovsegError | None,
    curve: Curve | None,
) -> FoldReport:
    report = FoldReport(
        number,
        train_patients=len({raw[name].patient for name in fold.train}),
        train_cases=len(fold.train),
        patients=len({raw[name].patient for name in fold.validation}),
        cases=len(fold.validation),
        curve=curve,
    )
    if scores is None:
        return replace(report, error=" ".join(str(error).split()))
    measured = tuple(
        MeasuredCase(
            number,
            one.case,
            raw[one.case].dataset,
            numbers[raw[one.case].patient],
            one.counts,
            one.slices,
            one.lesion_slices,
        )
        for one in scores.cases
    )
    return replace(
        report,
        device=scores.device,
        epochs=scores.epochs,
        seconds=scores.seconds,
        stopped=scores.stopped,
        measured=measured,
        warnings=scores.warnings,
    )


def _patient_numbers(cases: Iterable[RawCase]) -> dict[str, int]:
    """A number for each patient, by the order of their cases' names: identifiers stay out."""
    numbers: dict[str, int] = {}
    for case in sorted(cases, key=lambda one: one.name):
        numbers.setdefault(case.patient, len(numbers) + 1)
    return numbers


def _read_curve(folder: Path) -> Curve | None:
    rows = read_rows(folder / "logs" / "epochs.csv")
    try:
        return (
            Curve(
                tuple(int(row["epoch"]) for row in rows),
                tuple(_number(row["loss"]) for row in rows),
                {name: tuple(_number(row[f"dice_{name}"]) for row in rows) for name in MEASURED},
            )
            if rows
            else None
        )
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{folder.name}/logs/epochs.csv: damaged; restore or delete it") from None


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _warnings(datasets: Sequence[RawDataset], reports: Sequence[FoldReport]) -> tuple[str, ...]:
    """Each once, with the folds it is about unless it is about all."""
    notes: dict[str, list[int]] = {}
    for report in reports:
        for note in report.warnings:
            notes.setdefault(note, []).append(report.number)
    finished = sum(not report.error for report in reports)
    about_data = dict.fromkeys(note for dataset in datasets for note in dataset.warnings)
    told = [
        note if len(folds) == finished else f"fold {', '.join(map(str, folds))}: {note}"
        for note, folds in notes.items()
        if note not in about_data
    ]
    return (*about_data, *told)


def _views(
    request: CrossvalRequest, datasets: Sequence[RawDataset], reports: Sequence[FoldReport]
) -> tuple[SliceView, ...]:
    """Best, median and worst case by infection Dice, or by lung Dice where there is no other."""
    measured = [one for report in reports for one in report.measured]
    for name in ("infection", "lung"):
        ranked = sorted(
            (one for one in measured if math.isfinite(one.value(name, "dice"))),
            key=lambda one: (one.value(name, "dice"), one.case, one.fold),
        )
        if ranked:
            break
    else:
        return ()
    places = {"best": len(ranked) - 1, "median": (len(ranked) - 1) // 2, "worst": 0}
    shown: list[int] = []
    views = []
    for rank in _RANKS:
        if places[rank] not in shown:
            shown.append(places[rank])
            views.append(_view(request, datasets, ranked[places[rank]], rank, name))
    return tuple(views)


def _view(
    request: CrossvalRequest,
    datasets: Sequence[RawDataset],
    one: MeasuredCase,
    rank: str,
    name: str,
) -> SliceView:
    raw, label_map = next(
        (case, dataset.label_map)
        for dataset in datasets
        for case in dataset.cases
        if case.name == one.case
    )
    volume = read_volume(raw.image, window=request.window)
    reference = read_labels(raw.labels, label_map=label_map).labels
    file = request.output / f"fold_{one.fold}" / PREDICTIONS / f"{one.case}_labels.nii.gz"
    prediction = read_labels(file, label_map=_OURS).labels
    z = _slice_to_show(reference, prediction, _INSIDE[name])
    _, y_mm, x_mm = volume.geometry.spacing_mm
    return SliceView(
        rank=rank,
        chosen_by=name,
        case=one.case,
        fold=one.fold,
        slice_number=z + 1,
        slices=len(reference),
        dice=one.value(name, "dice"),
        hu=volume.hu[z],
        reference=reference[z],
        prediction=prediction[z],
        spacing_mm=(y_mm, x_mm),
    )


def _slice_to_show(reference: np.ndarray, prediction: np.ndarray, inside: Sequence[Label]) -> int:
    """Where the reference has most of the class; the prediction, where the reference has none."""
    for labels in (reference, prediction):
        areas = np.isin(labels, inside).sum(axis=(1, 2))
        if areas.any():
            return int(areas.argmax())
    return len(reference) // 2


def _write_text(path: Path, text: str) -> Path:
    with atomic_file(path) as file:
        file.write(text.encode())
    return path
