"""Train a lesion detector on nnU-Net datasets: data, split and settings in, a model folder out.

The folder holds the detector (``NAME.json`` and ``NAME.safetensors``), ``best/`` (that of the epoch
with the highest average precision on the validation cases), ``logs/`` and ``state/``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_covseg.domain.errors import InputError, ModelError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.atomic import write_json
from napari_covseg.io.nnunet import RawDataset, read_datasets
from napari_covseg.models.checkpoint import Model
from napari_covseg.models.detector_files import write_detector
from napari_covseg.models.detector_start import check_segmentation
from napari_covseg.models.device import Device, choose_device
from napari_covseg.models.mask_rcnn import CLASSES, LesionRCNN
from napari_covseg.models.zoo import DEFAULT
from napari_covseg.models.zoo import load as load_model
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.cache import content_key
from napari_covseg.training.cases import TrainingCase, load_cases
from napari_covseg.training.detect_learner import (
    DetectorLearning,
    arguments_on,
    measure_detector,
    new_detector,
)
from napari_covseg.training.detect_loop import LoopResult, Plan, check_folder, run_loop
from napari_covseg.training.detect_settings import CHANGEABLE, PRESETS, DetectPreset
from napari_covseg.training.splits import Fold
from napari_covseg.workflows.detect_figures import figures_of
from napari_covseg.workflows.split import checked_split, only_cases
from napari_covseg.workflows.train_request import plain_labels

LICENCE = "that of the data it was trained on"
CACHE, BEST, RESULT = "cache", "best", "result.json"


@dataclass(frozen=True)
class DetectTrainRequest:
    """What to train; as `TrainRequest`, where a name is the same.

    ``weights`` is a local file to start from, where the preset says so; ``start`` the segmentation
    model (name or folder) that a detector of the backbone ``lite0`` stands on: empty, the one that
    ships. ``splits`` of cases: ``train`` empty takes all that do not measure.
    """

    data: Path
    output: Path
    preset: DetectPreset = PRESETS["lite0"]
    weights: Path | None = None
    start: str = ""
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    name: str = ""
    device: str = "auto"
    patients: Path | None = None
    cache: Path | None = None
    resume: bool = False
    tensorboard: bool = True
    label_map: Mapping[int, Label] | None = None
    window: tuple[float, float] | None = None

    @property
    def model_name(self) -> str:
        """The model's name."""
        return self.name or self.output.resolve().name or "detector"


@dataclass(frozen=True)
class DetectTrainResult:
    """What came of a training.

    ``model`` is the card of the detector at the end; ``best`` that of the best epoch, chosen by
    what it was measured on. ``figures`` are those of the last epoch: by class and over both, of
    masks and of boxes, with intervals over patients.
    """

    model: Path
    best: Path | None
    loop: LoopResult
    figures: dict[str, Any]
    training_cases: int
    validation_cases: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "model": str(self.model),
            "best": str(self.best) if self.best else None,
            "training": self.loop.to_dict(),
            "figures": self.figures,
            "training_cases": self.training_cases,
            "validation_cases": self.validation_cases,
            "warnings": list(self.warnings),
        }


def train_detector(request: DetectTrainRequest) -> Steps[DetectTrainResult]:
    """Train; yields progress. Closing the generator leaves a state that ``resume`` goes on from.

    Raises
    ------
    UsageError
        If settings contradict, the folder holds another training, or ``resume`` is not set.
    InputError
        If the data, the split or the state is not usable, or no lesion teaches.
    ModelError
        If the weights to start from are not those of the backbone.
    ResourceError, CovsegError
        If memory or the disk is full; if the loss is no longer a number.
    """
    preset = request.preset
    device = choose_device(request.device)
    start = _start(request)
    network, note = new_detector(preset, request.weights, start)
    datasets = read_datasets(request.data, patients=request.patients, label_map=request.label_map)
    fold = checked_split(datasets, Fold(request.train, request.validation))
    chosen = only_cases(datasets, {*fold.train, *fold.validation})
    made_for = {
        **preset.to_dict(),
        "data": (yield from _data_hash(chosen, request.window)),
        "train": list(fold.train),
        "validation": list(fold.validation),
        "weights_sha256": start.sha256 if start else _hash(request.weights),
    }
    state = check_folder(request.output, made_for, CHANGEABLE, request.resume)
    recipe = AxialRecipe(pixel_mm=preset.pixel_mm)
    arguments = preset.arguments
    if start is not None and isinstance(start.recipe, AxialRecipe):
        recipe, arguments = start.recipe, arguments_on(preset, start)
    cache = request.cache or request.output / CACHE
    cases = yield from load_cases(chosen, recipe, cache, window_hu=request.window)
    training = [case for case in cases if case.name in fold.train]
    measured = [case for case in cases if case.name in fold.validation]
    warnings = [note for dataset in datasets for note in dataset.warnings]
    warnings += [note for case in cases for note in case.warnings]
    warnings += _check_lesions(training)
    left_out = sorted({case.patient for case in measured})
    card = _Card(request, recipe, arguments, made_for, note, left_out)
    learning = DetectorLearning(preset, network, device, training, measured, card.publish)
    loop = yield from run_loop(_plan(request, device, made_for), learning, state)
    figures = (yield from _figures(learning, measured, device, preset)) if measured else {}
    done = DetectTrainResult(
        request.output / f"{request.model_name}.json",
        request.output / BEST / f"{request.model_name}.json" if loop.best else None,
        loop,
        figures,
        len(training),
        len(measured),
        (*dict.fromkeys(warnings), *loop.notes),
    )
    write_json(request.output / "logs" / RESULT, done.to_dict())
    return done


def _start(request: DetectTrainRequest) -> Model | None:
    """The segmentation model to stand on, if any."""
    if not request.start and not request.preset.from_segmentation:
        return None
    if request.weights is not None:
        raise UsageError("give --from MODEL (backbone lite0) or --weights FILE, not both")
    model = load_model(request.start or DEFAULT)
    check_segmentation(model)
    return model


def _plan(request: DetectTrainRequest, device: Device, made_for: Mapping[str, Any]) -> Plan:
    preset = request.preset
    return Plan(
        folder=request.output,
        device=device,
        made_for=made_for,
        epochs=preset.epochs,
        batches=preset.batches,
        learning_rate=preset.learning_rate,
        rate_rule=preset.rate_rule,
        validate_every=preset.validate_every,
        minutes=preset.minutes,
        tensorboard=request.tensorboard,
    )


def _figures(
    learning: DetectorLearning,
    measured: Sequence[TrainingCase],
    device: Device,
    preset: DetectPreset,
) -> Steps[dict[str, Any]]:
    """Of the last epoch; measured now where this process did not train it."""
    masks, boxes, patients = learning.measured or (
        yield from measure_detector(learning.network, measured, device, preset.least_pixels)
    )
    return {
        "masks": figures_of(masks, patients, preset.seed),
        "boxes": figures_of(boxes, patients, preset.seed),
    }


def _check_lesions(cases: Sequence[TrainingCase]) -> list[str]:
    """Warnings about classes that no voxel teaches, and about lesions of unknown class."""
    counts = {
        label: sum(int(np.count_nonzero(plane == label)) for case in cases for plane in case.codes)
        for label in (*CLASSES.values(), Label.INFECTION)
    }
    missing = [label.title for label in CLASSES.values() if not counts[label]]
    if len(missing) == len(CLASSES):
        raise InputError(
            "the training data has no voxel of GGO or consolidation for certain, so a detector has "
            "nothing to learn; add cases that have"
        )
    notes = [f"no voxel of the training data is {one}: it will not be found" for one in missing]
    if counts[Label.INFECTION]:
        notes.append(
            "some lesions are of unknown class: they teach neither a lesion nor background"
        )
    return notes


def _data_hash(datasets: Sequence[RawDataset], window: tuple[float, float] | None) -> Steps[str]:
    """A hash of every file's bytes and of what labels and grey levels mean."""
    digest = hashlib.sha256()
    total = sum(len(dataset.cases) for dataset in datasets)
    done = 0
    for dataset in datasets:
        said = {"labels": plain_labels(dataset.label_map), "window": window}
        for case in dataset.cases:
            yield Progress(done, total, "checking the data")
            digest.update(f"{case.name} {content_key(case, said)}\n".encode())
            done += 1
    return digest.hexdigest()


def _hash(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{file.name}: cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class _Card:
    """Writes the detector and its card."""

    request: DetectTrainRequest
    recipe: AxialRecipe
    arguments: Mapping[str, Any]
    made_for: Mapping[str, Any]
    start: str
    left_out: Sequence[str]

    def publish(self, network: LesionRCNN, row: Mapping[str, Any], best: bool) -> None:
        """Write the network as the detector, or as the best one."""
        preset = self.request.preset
        about = {
            "version": "1",
            "licence": LICENCE,
            "training": {
                "settings": preset.to_dict(),
                "start": self.start,
                "weights_sha256": self.made_for["weights_sha256"],
                "data_sha256": self.made_for["data"],
                "training_cases": self.made_for["train"],
                "validation_cases": self.made_for["validation"],
                "left_out_patients": list(self.left_out),
                "chosen_by_validation": best,
                **row,
            },
        }
        folder = self.request.output / BEST if best else self.request.output
        name = self.request.model_name
        write_detector(folder, name, network, self.arguments, self.recipe, about)
