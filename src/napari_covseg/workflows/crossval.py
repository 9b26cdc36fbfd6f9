"""Cross-validate a training by patient: every fold trained and measured, and one report.

The output folder holds ``splits.json`` (which case measures in which fold), ``configuration.json``,
a folder ``fold_<number>`` for each fold, and the report. The same call again goes on where the last
one stopped: finished folds are kept, an interrupted training resumes from its state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import CovsegError, InputError, UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.atomic import write_json
from napari_covseg.io.nnunet import RawDataset, read_datasets
from napari_covseg.reports.crossval_content import CrossvalContent
from napari_covseg.training.cache import content_key
from napari_covseg.training.splits import Fold, draw_folds, read_or_draw
from napari_covseg.training.state import check_same
from napari_covseg.workflows.crossval_fold import FoldScores, read_scores, run_fold
from napari_covseg.workflows.crossval_report import ReportFiles, make_content, write_report
from napari_covseg.workflows.crossval_request import CrossvalRequest, FoldRequest
from napari_covseg.workflows.crossval_spread import UNITS, run_spread
from napari_covseg.workflows.segment import make_folder
from napari_covseg.workflows.split import SPLIT_SEED
from napari_covseg.workflows.train import CACHE
from napari_covseg.workflows.train_request import TrainRequest, plain_labels

SPLITS, CONFIGURATION = "splits.json", "configuration.json"


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
    yield Progress(0, 1, "looking at the data")
    datasets = read_datasets(request.data, patients=request.patients, label_map=request.label_map)
    patients = {case.name: case.patient for dataset in datasets for case in dataset.cases}
    draw_folds(patients, request.folds, SPLIT_SEED)  # Complains before anything is written.
    devices = _devices(request.devices)
    make_folder(request.output)
    configuration = yield from _configuration(request, datasets)
    saved = _read_configuration(request.output)
    if saved is not None:
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
    scores, errors = yield from _run_folds(_fold_requests(request, folds), devices)
    if not scores:
        raise _worst(errors)
    yield Progress(request.folds * UNITS, request.folds * UNITS, "writing the report")
    drawn_with = json.loads(splits.read_text(encoding="utf-8"))["seed"]
    content = make_content(request, datasets, folds, drawn_with, scores, errors)
    return CrossvalResult(content, write_report(content, request.output), errors)


def _configuration(
    request: CrossvalRequest, datasets: Sequence[RawDataset]
) -> Steps[dict[str, Any]]:
    """What must be the same when a cross-validation goes on; hashes the data's files."""
    jobs = [(case, dataset.label_map) for dataset in datasets for case in dataset.cases]
    cases = {}
    for done, (case, label_map) in enumerate(jobs):
        yield Progress(done, len(jobs), "checking the data")
        cases[case.name] = content_key(case, {"labels": plain_labels(label_map)})
    return {
        "folds": request.folds,
        "turned_round": request.turned_round,
        "settings": request.preset.to_dict(),
        "label_map": request.label_map and plain_labels(request.label_map),
        "window": request.window and list(request.window),
        "cases": cases,
    }


def _read_configuration(folder: Path) -> dict[str, Any] | None:
    path = folder / CONFIGURATION
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError
    except (OSError, ValueError):
        raise InputError(
            f"{path.name}: damaged; restore it, or choose another output folder"
        ) from None
    # Earlier versions drew folds by a seed that could be set; the split tells what was drawn.
    content.pop("seed", None)
    return content


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


def _run_folds(
    requests: Sequence[FoldRequest], devices: Sequence[str]
) -> Steps[tuple[dict[int, FoldScores], dict[int, CovsegError]]]:
    """Scores or the error of each fold, by its number; only what is not finished runs."""
    scores: dict[int, FoldScores] = {}
    errors: dict[int, CovsegError] = {}
    left: list[FoldRequest] = []
    for one in requests:
        try:
            found = read_scores(one.training.output, one.postprocess)
        except CovsegError as error:
            errors[one.number] = error
            continue
        if found is None:
            left.append(one)
        else:
            scores[one.number] = found
    if len(devices) > 1 and len(left) > 1:
        more_scores, more_errors = yield from run_spread(left, devices, len(requests))
        return scores | more_scores, errors | more_errors
    for one in left:
        try:
            scores[one.number] = yield from _run_one(
                one, devices[0], len(scores) + len(errors), len(requests)
            )
        except CovsegError as error:
            errors[one.number] = error
        except Exception as error:
            if os.environ.get("COVSEG_DEBUG"):
                raise
            # Its text may quote what was read, patient data included.
            errors[one.number] = CovsegError(
                f"unexpected {type(error).__name__}; this is a fault of covseg, please report it "
                "(COVSEG_DEBUG=1 shows where)"
            )
    return scores, errors


def _run_one(request: FoldRequest, device: str, done: int, folds: int) -> Steps[FoldScores]:
    """A fold in this process; its progress as a share of all folds."""
    request = replace(request, training=replace(request.training, device=device))
    steps = run_fold(request)
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            share = min(1.0, step.done / max(1, step.total))
            message = f"fold {request.number} of {folds}: {step.message}"
            yield Progress(round(UNITS * (done + share)), UNITS * folds, message)
    finally:
        steps.close()


def _devices(asked: Sequence[str]) -> tuple[str, ...]:
    """Names of the devices to use; each is tried.

    Raises
    ------
    UsageError
        If one is unknown or not there.
    """
    from napari_covseg.models.device import choose_device

    if not asked:
        raise UsageError("no device given: use auto, cpu, cuda, cuda:N or mps")
    if tuple(asked) == ("auto",):
        import torch

        cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if cards > 1:
            return tuple(f"cuda:{number}" for number in range(cards))
    return tuple(choose_device(name).name for name in asked)


def _worst(errors: Mapping[int, CovsegError]) -> CovsegError:
    number = max(errors, key=lambda one: errors[one].exit_code)
    error = errors[number]
    return type(error)(f"no fold could be finished; fold {number}: {error}")
