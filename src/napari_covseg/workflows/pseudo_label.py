"""Train on labels, let the model label a few slices that have none, train on, and so on.

After Fan et al. (2020). The folder holds the last model, as a training's does; the rounds before it
are in ``rounds/``, and every pseudo-labelled slice with where it is from in ``pseudo/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.progress import Steps
from napari_covseg.io.inputs import find_inputs
from napari_covseg.io.nnunet import read_datasets, read_patients
from napari_covseg.models.device import choose_device
from napari_covseg.models.zoo import load
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.cases import TrainingCase, load_cases
from napari_covseg.training.job import STATE, check_folder
from napari_covseg.training.parallel import several_processes
from napari_covseg.training.pretrain_data import load_scans, without_held_out
from napari_covseg.training.pseudo import (
    PSEUDO,
    Teacher,
    label_group,
    read_group,
    slices_in_turn,
    write_group,
)
from napari_covseg.training.splits import Fold
from napari_covseg.workflows.split import checked_split, only_cases
from napari_covseg.workflows.train import CACHE, train
from napari_covseg.workflows.train_request import TrainRequest, TrainResult

ROUNDS = "rounds"


@dataclass(frozen=True)
class PseudoLabels:
    """What is labelled by the model, and how.

    Parameters
    ----------
    scans
        CTs that nobody has annotated, or folders of them.
    rounds
        Trainings after the first one; 1 labels one group and trains once more.
    group
        Slices that each round adds (Fan et al.: 5).
    confidence
        Probability below which a pixel is left open; 0 takes all that the model says.

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    scans: tuple[Path, ...]
    rounds: int = 5
    group: int = 5
    confidence: float = 0.0

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.group < 1 or not 0 <= self.confidence < 1:
            raise UsageError(
                f"{self.rounds} rounds of {self.group} slices, confidence {self.confidence}: "
                "expected one or more, and a confidence from 0 to below 1"
            )


def pseudo_label(request: TrainRequest, labels: PseudoLabels) -> Steps[TrainResult]:
    """Train in rounds; yields progress. Resumes as `train` does, round by round.

    The first round has the settings' epochs, all others together as many again, one at least each.
    Nobody who measures is labelled: neither their cases nor CTs that `without_held_out` knows.

    Raises
    ------
    UsageError, InputError, ModelError, ResourceError, CovsegError
        As `train`.
    """
    preset = request.preset
    recipe = preset.make_recipe()
    if not isinstance(recipe, AxialRecipe):
        raise UsageError(f"recipe {preset.recipe}: pseudo-labels are for networks on slices")
    if preset.dataset_weights and PSEUDO not in preset.dataset_weights:
        raise UsageError(f"dataset_weights leave out the dataset {PSEUDO}; give it a weight")
    if several_processes():
        raise UsageError("pseudo-labels are made in one process: start it without torchrun")
    _check_folder(request)
    scans, failed = yield from _scans(request, labels, recipe)
    order = slices_in_turn(scans, preset.seed)
    if not order:
        raise InputError("no slice without labels is left; all are held out or cannot be read")
    rounds = min(labels.rounds, -(-len(order) // labels.group))
    request = replace(request, cache=request.cache or request.output / CACHE)
    result = yield from train(_round(request, 0, rounds, None))
    added: list[TrainingCase] = []
    for number in range(1, rounds + 1):
        group = order[(number - 1) * labels.group : number * labels.group]
        added += _labelled(request, labels, scans, group, number, result.model)
        result = yield from train(_round(request, number, rounds, result.model), added)
    origin = f"{result.origin}; {len(added)} slices have pseudo-labels"
    return replace(result, warnings=(*result.warnings, *failed), origin=origin)


def _check_folder(request: TrainRequest) -> None:
    """Refuse a folder that only the last round would refuse, after hours."""
    folder = request.output
    if not (folder / ROUNDS / "0" / STATE).is_file():
        if request.resume and (folder / STATE).is_file():
            raise UsageError(
                f"{folder.name}: holds a training without pseudo-labels; choose another folder"
            )
        check_folder(folder, request.preset, {}, resume=False)


def _round(request: TrainRequest, number: int, rounds: int, start: Path | None) -> TrainRequest:
    """The training of one round; the last one's folder is the one asked for."""
    preset = request.preset
    share = replace(preset, minutes=preset.minutes / 2)
    if start is None:
        return replace(request, preset=share, output=request.output / ROUNDS / "0", name="round")
    preset = replace(share, epochs=max(1, preset.epochs // rounds), minutes=share.minutes / rounds)
    if number == rounds:
        name = request.model_name
        return replace(request, preset=preset, start=str(start.parent), name=name)
    output = request.output / ROUNDS / str(number)
    return replace(request, preset=preset, start=str(start.parent), output=output, name="round")


def _scans(
    request: TrainRequest, labels: PseudoLabels, recipe: AxialRecipe
) -> Steps[tuple[Sequence[TrainingCase], tuple[str, ...]]]:
    """The CTs that may be labelled, and a line for each that cannot be read."""
    datasets = read_datasets(request.data, patients=request.patients, label_map=request.label_map)
    fold = checked_split(datasets, Fold(request.train, request.validation))
    cache = request.cache or request.output / CACHE
    measured = only_cases(datasets, set(fold.validation))
    held_out = yield from load_cases(measured, recipe, cache, window_hu=request.window)
    table = read_patients(request.patients) if request.patients else {}
    paths = find_inputs(labels.scans)
    scans = yield from load_scans(paths, recipe, cache, request.window, table)
    return without_held_out(scans.cases, held_out), scans.failed


def _labelled(
    request: TrainRequest,
    labels: PseudoLabels,
    scans: Sequence[TrainingCase],
    group: Sequence[tuple[int, int]],
    number: int,
    model: Path,
) -> list[TrainingCase]:
    """A round's slices, labelled by the model before, or as they were labelled already."""
    teacher = load(model)
    about: Mapping[str, Any] = {
        "round": number,
        "model_sha256": teacher.sha256,
        "confidence": labels.confidence,
    }
    path = request.output / PSEUDO / f"round_{number:02d}"
    found = read_group(path, about)
    if found is not None:
        return found
    device = choose_device(request.device)
    assert isinstance(teacher.recipe, AxialRecipe)
    network = teacher.network.to(device.name)
    apart = teacher.tells_lesions_apart
    cases = label_group(
        Teacher(network, teacher.recipe, apart, device.name), scans, group, labels.confidence
    )
    write_group(path, cases, about)
    return cases
