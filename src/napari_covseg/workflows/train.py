"""Train a network on nnU-Net datasets: data, split and settings in, a model folder out.

One call is one training: a cross-validation makes one for each fold, with the fold's case names and
a folder of its own. The folder holds the model (``NAME.json`` and ``NAME.safetensors``), ``best/``
(the model of the epoch with the highest Dice on the validation cases), ``logs/`` and ``state/``.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.atomic import write_json
from napari_covseg.io.nnunet import RawCase, RawDataset, read_datasets
from napari_covseg.models.checkpoint import Model, write_checkpoint
from napari_covseg.models.device import Device, choose_device
from napari_covseg.models.networks import build, entry
from napari_covseg.training.augment_volume import VolumeAugmentation
from napari_covseg.training.cache import content_key
from napari_covseg.training.case_prediction import case_predictor
from napari_covseg.training.cases import (
    TrainingCase,
    check_classes,
    load_cases,
    tells_lesions_apart,
    without_labels,
)
from napari_covseg.training.engine import fit
from napari_covseg.training.job import Job, check_folder
from napari_covseg.training.losses_named import build_loss
from napari_covseg.training.outcome import EpochReport
from napari_covseg.training.parallel import Alone, Together, several_processes
from napari_covseg.training.prefetch import BatchSource
from napari_covseg.training.pretrain_files import Pretraining
from napari_covseg.training.process import Handle, serve
from napari_covseg.training.pseudo import pseudo_hash
from napari_covseg.training.sampling import PatchBatches, SliceBatches
from napari_covseg.training.schedules import Preset
from napari_covseg.training.splits import Fold, hidden
from napari_covseg.workflows.first_weights import (
    check_patch,
    check_unseen,
    load_first,
    named,
    read_start,
    seen_before,
)
from napari_covseg.workflows.split import checked_split, only_cases
from napari_covseg.workflows.train_request import TrainRequest, TrainResult, plain_labels

LICENCE = "that of the data it was trained on"
CACHE, BEST, RESULT = "cache", "best", "result.json"


def train(request: TrainRequest, pseudo: Sequence[TrainingCase] = ()) -> Steps[TrainResult]:
    """Train; yields progress, `TrainingProgress` once batches run.

    ``pseudo`` are cases that a model has labelled; they train like others and never measure.

    Closing the generator stops within a step and leaves a state that ``resume`` goes on from.

    Raises
    ------
    UsageError
        If settings contradict, the folder holds another training, or ``resume`` is not set.
    InputError
        If the data, the split or the state is not usable.
    ModelError
        If the network is not known or does not take its arguments.
    ResourceError
        If memory or the disk is full.
    CovsegError
        If the loss is no longer a number.
    """
    preset = request.preset
    parallel, device = _where(request)
    start = None if request.start is None else read_start(request.start)
    if request.unlabelled and not isinstance(start, Model):
        raise UsageError("distillation needs a model to start from, which teaches")
    network, loss, origin = _network_and_loss(preset, start)
    datasets = read_datasets(request.data, patients=request.patients, label_map=request.label_map)
    split = Fold(request.train, request.validation)
    fold = checked_split(datasets, split, unlabelled=request.unlabelled)
    seen = check_unseen(start, datasets, fold)
    chosen = only_cases(datasets, {*fold.train, *fold.validation, *request.unlabelled})
    digest = yield from _data_hash(chosen, request.window)
    identity = _identity(request, digest, fold, start, pseudo)
    check_folder(request.output, preset, identity, request.resume)
    recipe = preset.make_recipe()
    cache = request.cache or request.output / CACHE
    cases = yield from load_cases(chosen, recipe, cache, window_hu=request.window)
    training = [case for case in cases if case.name in fold.train]
    taught = [without_labels(case) for case in cases if case.name in request.unlabelled]
    measured = [case for case in cases if case.name in fold.validation]
    warnings = [note for dataset in datasets for note in dataset.warnings]
    warnings += [note for case in cases for note in case.warnings]
    warnings += [*check_classes(training), *seen]
    told = start.tells_lesions_apart if isinstance(start, Model) else None
    tells = tells_lesions_apart(training) or bool(told)
    trained = {hidden(case.patient) for case in training} | {p.patient for p in pseudo}
    # Who trains a model further must know of everybody whom its weights have seen.
    trained |= seen_before(start)
    left_out = sorted({case.patient for case in measured})
    card = _Card(request, identity, left_out, sorted(trained), tells)
    job = Job(
        preset=preset,
        device=device,
        network=network,
        loss=loss,
        make_source=lambda seed: _source(preset, [*training, *taught, *pseudo], device, seed),
        folder=request.output,
        identity=identity,
        cases=measured,
        predict=case_predictor(preset, recipe, device, warnings),
        distillation=request.distillation,
        lesions_apart=told is not False,
        publish=card.publish,
        parallel=parallel,
        tensorboard=request.tensorboard,
        resume=request.resume,
    )
    result = yield from fit(job)
    done = TrainResult(
        request.output / f"{request.model_name}.json",
        request.output / BEST / f"{request.model_name}.json" if result.best else None,
        result,
        len(training),
        len(measured),
        (*dict.fromkeys(warnings), *result.notes),
        origin,
    )
    if parallel.rank == 0:
        write_json(request.output / "logs" / RESULT, done.to_dict())
    return done


def start_training(request: TrainRequest) -> Handle[TrainResult]:
    """Train in a process of its own: `Handle.progress`, `Handle.cancel`, `Handle.result`.

    Raises
    ------
    ResourceError
        If the output folder cannot be made.
    """
    log = request.output / "logs" / "process.log"
    return Handle(__name__, request.to_dict(), TrainResult.from_dict, log)


def _identity(
    request: TrainRequest,
    data: str,
    fold: Fold,
    start: Model | Pretraining | None,
    pseudo: Sequence[TrainingCase],
) -> dict[str, Any]:
    """What must be the same when the training is resumed, but for its settings."""
    identity: dict[str, Any] = {
        "data": data,
        "train": list(fold.train),
        "validation": list(fold.validation),
    }
    if start is not None:
        identity["start"] = start.sha256
    if pseudo:
        identity["pseudo"] = pseudo_hash(pseudo)
        identity["pseudo_slices"] = [case.name for case in pseudo]
    if request.unlabelled:
        identity["unlabelled"] = sorted(request.unlabelled)
        identity["distillation"] = request.distillation
    return identity


def _where(request: TrainRequest) -> tuple[Alone | Together, Device]:
    """The processes that train together, and the device of this one."""
    if not several_processes():
        return Alone(), choose_device(request.device)
    kind = choose_device(request.device).kind
    if kind == "mps":
        raise UsageError("Apple graphics train in one process only: start it without torchrun")
    parallel = Together(kind)
    return parallel, choose_device(parallel.device)


def _network_and_loss(
    preset: Preset, start: Model | Pretraining | None
) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor], str]:
    """With the weights to start from, and whose they are.

    What a wrong setting breaks fails before data is read.
    """
    found = entry(preset.network)
    if found.dimensions != preset.dimensions:
        raise UsageError(
            f"network {preset.network} takes {found.dimensions}D input, but recipe {preset.recipe} "
            f"gives {preset.dimensions}D: change one of them"
        )
    if not all(0 < mm < math.inf for mm in preset.spacing_mm):
        raise UsageError(f"spacing_mm={_shown(preset.spacing_mm)}: expected sizes above 0, in mm")
    loss = build_loss(preset.loss, preset.dimensions, **preset.loss_settings)
    torch.manual_seed(preset.seed)
    network = build(preset.network, **preset.network_arguments)
    check_patch(network, preset)
    return network, loss, load_first(network, preset, start)


def _shown(values: Iterable[float]) -> str:
    return ",".join(str(value) for value in values)


def _data_hash(datasets: Sequence[RawDataset], window: tuple[float, float] | None) -> Steps[str]:
    """A hash of every file's bytes and of what labels and grey levels mean."""
    said = {} if window is None else {"window": window}
    jobs: list[tuple[RawCase, Mapping[str, int]]] = []
    for dataset in datasets:
        meaning = plain_labels(dataset.label_map)
        jobs += [(case, meaning) for case in dataset.cases]
    digest = hashlib.sha256()
    for done, (case, of_values) in enumerate(jobs):
        yield Progress(done, len(jobs), "checking the data")
        digest.update(f"{case.name} {content_key(case, {'labels': of_values, **said})}\n".encode())
    return digest.hexdigest()


def _source(
    preset: Preset, cases: Sequence[TrainingCase], device: Device, seed: int
) -> BatchSource:
    """Where batches come from: slices, or patches of volumes, which are changed on the device."""
    weights = preset.dataset_weights
    if preset.dimensions == 2:
        y, x = preset.patch
        return SliceBatches(
            cases, (y, x), preset.batch, seed, weights, preset.lesion_share, preset.cutout
        )
    z, y, x = preset.patch
    change = VolumeAugmentation(preset.augmentation) if preset.augmentation else None
    where = device.name if device.kind == "cuda" else "cpu"
    return PatchBatches(
        cases, (z, y, x), preset.batch, seed, weights, preset.lesion_share, change, where
    )


@dataclass(frozen=True)
class _Card:
    """Writes the model and its card."""

    request: TrainRequest
    identity: Mapping[str, Any]
    left_out: Sequence[str]
    trained_patients: Sequence[str]
    tells_lesions_apart: bool

    def publish(self, network: nn.Module, report: EpochReport, is_best: bool) -> None:
        """Write ``network`` as the model, or as the best one."""
        preset = self.request.preset
        about: dict[str, Any] = {
            "version": "1",
            "licence": LICENCE,
            "tells_lesions_apart": self.tells_lesions_apart,
            "training": {
                "settings": {**preset.to_dict(), "pretrained": named(preset.pretrained)},
                "data_sha256": self.identity["data"],
                "training_cases": self.identity["train"],
                "validation_cases": self.identity["validation"],
                "left_out_patients": list(self.left_out),
                "trained_patients": list(self.trained_patients),
                "start_sha256": self.identity.get("start"),
                "unlabelled_cases": self.identity.get("unlabelled", []),
                "distillation": self.identity.get("distillation", 0.0),
                "pseudo_slices": self.identity.get("pseudo_slices", []),
                "chosen_by_validation": is_best,
                **report.to_dict(),
            },
        }
        if preset.dimensions == 3:
            about["patch"] = list(preset.patch)
        write_checkpoint(
            self.request.output / BEST if is_best else self.request.output,
            self.request.model_name,
            network,
            preset.network,
            preset.network_arguments,
            preset.make_recipe(),
            about,
        )


def _main() -> int:
    return serve(lambda said: train(TrainRequest.from_dict(said)), TrainResult.to_dict)


if __name__ == "__main__":
    sys.exit(_main())
