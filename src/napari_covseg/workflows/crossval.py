"""Cross-validate a training by patient: every fold trained and measured, and one report.

The output folder holds ``splits.json`` (which case measures in which fold), ``configuration.json``,
a folder ``fold_<number>`` for each fold, and the report. The same call again goes on where the last
one stopped: finished folds are kept, an interrupted training resumes from its state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import CovsegError, UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.atomic import write_json
from napari_covseg.io.nnunet import RawDataset, read_datasets
from napari_covseg.reports.crossval_content import CrossvalContent
from napari_covseg.training.schedules import Preset
from napari_covseg.training.splits import Fold, draw_folds, read_or_draw
from napari_covseg.training.state import check_same
from napari_covseg.workflows.crossval_fold import read_scores
from napari_covseg.workflows.crossval_report import ReportFiles, make_content, write_report
from napari_covseg.workflows.crossval_request import CrossvalRequest, FoldRequest
from napari_covseg.workflows.crossval_spread import UNITS
from napari_covseg.workflows.fold_runs import (
    CONFIGURATION,
    case_keys,
    named_devices,
    read_configuration,
    run_folds,
)
from napari_covseg.workflows.segment import make_folder
from napari_covseg.workflows.split import SPLIT_SEED
from napari_covseg.workflows.train import CACHE
from napari_covseg.workflows.train_request import TrainRequest, plain_labels

SPLITS = "splits.json"


@dataclass(frozen=True, eq=False)
class CrossvalResult:
    """The report as data, its files, and why folds failed, by their number."""

    content: CrossvalContent
    files: ReportFiles
    errors: Mapping[int, CovsegError] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The worst of the folds' errors; 0 if there was none."""
        return max((error.exit_code for error in self.errors.values()), default=0)


@dataclass(frozen=True)
class FoldResult:
    """The folder of a fold that is finished, and which of how many folds are by now."""

    folder: Path
    finished: tuple[int, ...]
    folds: int


def crossval(request: CrossvalRequest) -> Steps[CrossvalResult]:
    """Train and measure every fold and write the report; closing the generator stops in a step.

    A fold that fails does not stop the others; the report says which and why.

    Raises
    ------
    UsageError
        If the output folder holds a cross-validation of another configuration, or a device is not
        there.
    InputError
        If the data is not usable, or has too few patients.
    ResourceError
        If the output folder cannot be written to.
    CovsegError
        If no fold could be finished: the worst of their errors.
    """
    plan = yield from _plan(request)
    scores, errors = yield from run_folds(plan.requests, plan.devices)
    if not scores:
        raise _worst(errors)
    yield Progress(request.folds * UNITS, request.folds * UNITS, "writing the report")
    drawn_with = json.loads(plan.splits.read_text(encoding="utf-8"))["seed"]
    content = make_content(request, plan.datasets, plan.folds, drawn_with, scores, errors)
    return CrossvalResult(content, write_report(content, request.output), errors)


def crossval_fold(request: CrossvalRequest, number: int) -> Steps[FoldResult]:
    """Train and measure fold ``number`` (from 1) only, as one of several jobs on one folder.

    Each machine takes a fold; the folds are drawn alike on all, and when each is finished
    `crossval` finds them so and writes the report.

    Raises
    ------
    CovsegError
        As `crossval`; also if the fold fails, or there is none of that number.
    """
    if not 1 <= number <= request.folds:
        raise UsageError(
            f"fold {number}/{request.folds}: expected 1/{request.folds} to "
            f"{request.folds}/{request.folds}"
        )
    plan = yield from _plan(request)
    chosen = [one for one in plan.requests if one.number == number]
    _, errors = yield from run_folds(chosen, plan.devices[:1])
    if errors:
        raise errors[number]
    finished = [
        one.number
        for one in plan.requests
        if read_scores(one.training.output, one.postprocess) is not None
    ]
    return FoldResult(chosen[0].training.output, tuple(finished), request.folds)


@dataclass(frozen=True, eq=False)
class _Plan:
    datasets: Sequence[RawDataset]
    splits: Path
    folds: Sequence[Fold]
    requests: Sequence[FoldRequest]
    devices: Sequence[str]


def _plan(request: CrossvalRequest) -> Steps[_Plan]:
    """Look at the data, draw the folds or read them, and see that the folder is of this request."""
    yield Progress(0, 1, "looking at the data")
    datasets = read_datasets(request.data, patients=request.patients, label_map=request.label_map)
    patients = {case.name: case.patient for dataset in datasets for case in dataset.cases}
    draw_folds(patients, request.folds, SPLIT_SEED)  # Complains before anything is written.
    devices = named_devices(request.devices)
    make_folder(request.output)
    configuration = yield from _configuration(request, datasets)
    saved = read_configuration(request.output)
    if saved is not None:
        # A setting that an earlier version did not have yet was what is now its default.
        saved["settings"] = {**Preset().to_dict(), **saved.get("settings", {})}
        # Another label map changes the key of every case: told alone, it is told clearly.
        for later in (("cases", "split"), ("split",)):
            nothing = dict.fromkeys(later)
            check_same({**saved, **nothing}, {**configuration, **nothing})
    splits = request.splits or request.output / SPLITS
    folds = read_or_draw(splits, patients, request.folds, SPLIT_SEED)
    if request.turned_round:
        folds = tuple(fold.turned_round() for fold in folds)
    configuration["split"] = {
        f"fold {number}": list(fold.validation) for number, fold in enumerate(folds, start=1)
    }
    if saved is None:
        write_json(request.output / CONFIGURATION, configuration)
    else:
        check_same(saved, configuration)
    return _Plan(datasets, splits, folds, _fold_requests(request, folds), devices)


def _configuration(
    request: CrossvalRequest, datasets: Sequence[RawDataset]
) -> Steps[dict[str, Any]]:
    """What must be the same when a cross-validation goes on; hashes the data's files."""
    cases = yield from case_keys(datasets)
    return {
        "folds": request.folds,
        "turned_round": request.turned_round,
        "settings": request.preset.to_dict(),
        "label_map": request.label_map and plain_labels(request.label_map),
        "window": request.window and list(request.window),
        "cases": cases,
    }


def _fold_requests(request: CrossvalRequest, folds: Sequence[Fold]) -> list[FoldRequest]:
    return [
        FoldRequest(
            number,
            TrainRequest(
                data=request.data,
                output=request.output / f"fold_{number}",
                preset=request.preset,
                train=fold.train,
                validation=fold.validation,
                patients=request.patients,
                label_map=request.label_map,
                window=request.window,
                cache=request.cache or request.output / CACHE,
                resume=True,
                tensorboard=request.tensorboard,
            ),
            request.postprocess,
        )
        for number, fold in enumerate(folds, start=1)
    ]


def _worst(errors: Mapping[int, CovsegError]) -> CovsegError:
    number = max(errors, key=lambda one: errors[one].exit_code)
    error = errors[number]
    return type(error)(f"no fold could be finished; fold {number}: {error}")
