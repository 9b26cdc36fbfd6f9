"""Many trainings that are measured, as the folds of a cross-validation or the rows of a sweep.

Each has a folder; what is finished there is kept, and what was interrupted goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import CovsegError, InputError, UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.nnunet import RawDataset
from napari_covseg.training.cache import content_key
from napari_covseg.workflows.crossval_fold import FoldScores, read_scores, run_fold
from napari_covseg.workflows.crossval_request import FoldRequest
from napari_covseg.workflows.crossval_spread import UNITS, run_spread
from napari_covseg.workflows.train_request import plain_labels

CONFIGURATION = "configuration.json"


def case_keys(datasets: Sequence[RawDataset]) -> Steps[dict[str, str]]:
    """Of each case a hash of its files and of what its labels mean."""
    jobs = [(case, dataset.label_map) for dataset in datasets for case in dataset.cases]
    cases = {}
    for done, (case, label_map) in enumerate(jobs):
        yield Progress(done, len(jobs), "checking the data")
        cases[case.name] = content_key(case, {"labels": plain_labels(label_map)})
    return cases


def read_configuration(folder: Path) -> dict[str, Any] | None:
    """What the folder was begun with, or None for a new one.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = folder / CONFIGURATION
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise InputError(
            f"{path.name}: damaged; restore it, or choose another output folder"
        ) from None
    # Earlier versions drew folds by a seed that could be set; the split tells what was drawn.
    content.pop("seed", None)
    return content


def run_folds(
    requests: Sequence[FoldRequest],
    devices: Sequence[str],
    title: str = "fold",
    finished: Callable[[int, FoldScores], None] | None = None,
) -> Steps[tuple[dict[int, FoldScores], dict[int, CovsegError]]]:
    """Scores or the error of each fold, by its number; only what is not finished runs.

    One that fails does not stop the others. ``title`` is what progress calls them; ``finished`` is
    called with each that was measured, also before.
    """
    tell = finished or (lambda number, found: None)
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
            tell(one.number, found)
    if len(devices) > 1 and len(left) > 1:
        more_scores, more_errors = yield from run_spread(left, devices, len(requests), title, tell)
        return scores | more_scores, errors | more_errors
    for one in left:
        try:
            scores[one.number] = yield from _run_one(
                one, devices[0], len(scores) + len(errors), len(requests), title
            )
            tell(one.number, scores[one.number])
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


def _run_one(
    request: FoldRequest, device: str, done: int, folds: int, title: str
) -> Steps[FoldScores]:
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
            message = f"{title} {request.number} of {folds}: {step.message}"
            yield Progress(round(UNITS * (done + share)), UNITS * folds, message)
    finally:
        steps.close()


def named_devices(asked: Sequence[str]) -> tuple[str, ...]:
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
