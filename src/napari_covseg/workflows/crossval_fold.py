"""One fold: train, predict its validation cases in their original grid, compare them.

The fold's folder gets what a training writes, ``predictions/<case>_labels.nii.gz`` and, last,
``scores.json``: where that is, the fold is finished.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import LESION_LABELS, Label, NetworkClass
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.inference.postprocess import postprocess
from napari_covseg.inference.predictor import predict
from napari_covseg.inference.unnamed import unname_lesions
from napari_covseg.io.atomic import write_json
from napari_covseg.io.labels import read_labels
from napari_covseg.io.nnunet import RawCase, read_datasets
from napari_covseg.io.read import read_volume
from napari_covseg.io.write import write_labels
from napari_covseg.metrics.overlap import Counts, count_classes, joint_histogram
from napari_covseg.models.checkpoint import Model, read_checkpoint
from napari_covseg.models.device import Device, choose_device
from napari_covseg.reports.crossval_content import MEASURED
from napari_covseg.training.outcome import TrainingProgress
from napari_covseg.training.process import Handle, serve
from napari_covseg.workflows.crossval_request import FoldRequest
from napari_covseg.workflows.segment import make_folder
from napari_covseg.workflows.train import RESULT, train
from napari_covseg.workflows.train_request import TrainRequest

SCORES, PREDICTIONS = "scores.json", "predictions"
_FORMAT = 1
_TRAINED, _WHOLE = 900, 1000
"""Steps of progress after training, and in all: what training takes of a fold, roughly."""
_LABEL_OF_CLASS = np.array([Label[one.name] for one in NetworkClass], np.uint8)
"""Of the network's own output: sides are made by post-processing."""


@dataclass(frozen=True)
class ScoredCase:
    """A validation case: counts of `MEASURED`, and its annotated slices and those with lesions."""

    case: str
    counts: Mapping[str, Counts | None]
    slices: int
    lesion_slices: int


@dataclass(frozen=True)
class FoldScores:
    """What a finished fold left."""

    postprocessed: bool
    device: str
    epochs: int
    seconds: float
    stopped: str
    warnings: tuple[str, ...]
    cases: tuple[ScoredCase, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"format": _FORMAT}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FoldScores:
        """What `to_dict` wrote."""
        values = {key: value for key, value in content.items() if key != "format"}
        values["warnings"] = tuple(values["warnings"])
        values["cases"] = tuple(
            ScoredCase(
                one["case"],
                {name: counts and Counts(**counts) for name, counts in one["counts"].items()},
                one["slices"],
                one["lesion_slices"],
            )
            for one in values["cases"]
        )
        return cls(**values)


def run_fold(request: FoldRequest) -> Steps[FoldScores]:
    """Train unless that is done already, then predict and compare the cases to measure.

    Raises
    ------
    CovsegError
        As `train` and `predict`.
    """
    training = request.training
    if not _is_trained(training.output):
        yield from _train(training)
    yield Progress(_TRAINED, _WHOLE, "loading the trained network")
    about = _trained(training.output)
    device = choose_device(training.device)
    model = read_checkpoint(training.output / f"{training.model_name}.json")
    make_folder(training.output / PREDICTIONS)
    cases = []
    found = _cases(request)
    for done, (raw, label_map) in enumerate(found):
        message = f"predicting case {done + 1} of {len(found)}"
        told = Progress(_TRAINED + (_WHOLE - _TRAINED) * done // len(found), _WHOLE, message)
        yield told
        steps = _measure(raw, label_map, model, device, request)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                cases.append(end.value)
                break
            yield told
    scores = FoldScores(
        postprocessed=request.postprocess,
        device=device.title,
        epochs=about["fit"]["last"]["epoch"],
        seconds=about["fit"]["seconds"],
        stopped=about["fit"]["stopped"],
        warnings=tuple(about["warnings"]),
        cases=tuple(cases),
    )
    write_json(training.output / SCORES, scores.to_dict())
    return scores


def read_scores(folder: Path, postprocessed: bool) -> FoldScores | None:
    """What a finished fold left in ``folder``; None if it is not finished or measured otherwise.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = folder / SCORES
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            return None
        scores = FoldScores.from_dict(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{folder.name}/{path.name}: damaged; delete it, and the fold is measured again "
            "without training"
        ) from None
    return scores if scores.postprocessed == postprocessed else None


def start_fold(request: FoldRequest) -> Handle[FoldScores]:
    """`run_fold` in a process of its own."""
    log = request.training.output / "logs" / "process.log"
    return Handle(__name__, request.to_dict(), FoldScores.from_dict, log)


def _train(training: TrainRequest) -> Steps[None]:
    """`train`, with progress that only grows."""
    steps = train(training)
    done = 0
    try:
        for step in steps:
            if isinstance(step, TrainingProgress):
                done = max(done, _TRAINED * step.done // max(1, step.total))
            yield Progress(min(done, _TRAINED), _WHOLE, step.message)
    finally:
        steps.close()


def _is_trained(folder: Path) -> bool:
    return (folder / "logs" / RESULT).is_file()


def _trained(folder: Path) -> dict[str, Any]:
    path = folder / "logs" / RESULT
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(
            f"{folder.name}/logs/{path.name}: damaged; delete it, and the training is looked at "
            "again"
        ) from None
    return content


def _cases(request: FoldRequest) -> list[tuple[RawCase, Mapping[int, Label]]]:
    asked = request.training
    datasets = read_datasets(asked.data, patients=asked.patients, label_map=asked.label_map)
    wanted = set(request.tested or asked.validation)
    return [
        (case, dataset.label_map)
        for dataset in datasets
        for case in dataset.cases
        if case.name in wanted
    ]


def _measure(
    raw: RawCase,
    label_map: Mapping[int, Label],
    model: Model,
    device: Device,
    request: FoldRequest,
) -> Steps[ScoredCase]:
    try:
        volume = read_volume(raw.image, window=request.training.window)
        reference = read_labels(raw.labels, label_map=label_map).labels
        labels = yield from _predicted(volume, model, device, request.postprocess)
    except CovsegError as error:
        raise type(error)(f"{raw.name}: {error}") from error
    folder = request.training.output / PREDICTIONS
    write_labels(LabelMap.like(volume, labels), folder / f"{raw.name}_labels.nii.gz")
    found = count_classes(joint_histogram(labels, reference))
    lesion = np.isin(reference, LESION_LABELS).any(axis=(1, 2))
    return ScoredCase(
        raw.name,
        {name: found[name] for name in MEASURED},
        int((reference != Label.IGNORE.value).any(axis=(1, 2)).sum()),
        int(lesion.sum()),
    )


def _predicted(
    volume: CTVolume, model: Model, device: Device, whole_pipeline: bool
) -> Steps[NDArray[np.uint8]]:
    prediction = yield from predict(volume, model, device)
    if whole_pipeline:
        labels = yield from postprocess(prediction.classes, volume)
    else:
        labels = _LABEL_OF_CLASS[prediction.classes]
    unname_lesions(labels, model)
    return labels


def _main() -> int:
    return serve(lambda said: run_fold(FoldRequest.from_dict(said)), FoldScores.to_dict)


if __name__ == "__main__":
    sys.exit(_main())
