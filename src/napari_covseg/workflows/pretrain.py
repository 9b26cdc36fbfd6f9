"""Pretrain a network on images alone: data, settings and who is held out in, weights out.

The folder holds ``pretraining.json`` and ``weights.safetensors``, which a training starts from,
``logs/`` (pictures of the coach's masks among them) and ``state/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.progress import Steps
from napari_covseg.io.nnunet import read_patients
from napari_covseg.models.checkpoint import AXIAL
from napari_covseg.models.device import Device, choose_device
from napari_covseg.models.networks import build, entry
from napari_covseg.models.zoo import holds_pretraining
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.cases import TrainingCase, load_cases, without_labels
from napari_covseg.training.coach import CoachedLearner, no_loss
from napari_covseg.training.engine import fit
from napari_covseg.training.job import STATE, Job
from napari_covseg.training.learner import Learner
from napari_covseg.training.outcome import EpochReport
from napari_covseg.training.parallel import several_processes
from napari_covseg.training.pretrain_data import (
    Found,
    find_data,
    images_hash,
    load_scans,
    without_held_out,
)
from napari_covseg.training.pretrain_files import write_pretraining
from napari_covseg.training.pretrain_heads import body_of, check_network, put_linear_heads
from napari_covseg.training.pretrain_rotation import RotationLearner
from napari_covseg.training.sampling import SliceBatches
from napari_covseg.training.schedules import Preset
from napari_covseg.training.splits import Fold, hidden
from napari_covseg.workflows.first_weights import check_patch, load_published
from napari_covseg.workflows.pretrain_pictures import MaskPictures, examples
from napari_covseg.workflows.pretrain_request import PretrainRequest, PretrainResult
from napari_covseg.workflows.split import checked_split, only_cases

CACHE, INPAINTING = "cache", "inpainting"
_COACHES = {"infnet2d_multi": "infnet2d"}
"""Whose coach is of another kind: a map that its second network makes cannot teach its first."""
_OF_BOTH = ("encoder", "width", "encoder_width", "inputs")
"""Arguments that `infnet2d_multi` shares with its coach."""


def pretrain(request: PretrainRequest) -> Steps[PretrainResult]:
    """Pretrain; yields progress. Closing the generator leaves a state that ``resume`` goes on from.

    Raises
    ------
    UsageError
        If the network cannot be pretrained, settings contradict, the folder holds another training,
        or ``resume`` is not set.
    InputError
        If the data, the split or the state is not usable, or nothing is left to look at.
    ModelError, ResourceError, CovsegError
        As a training.
    """
    preset = request.preset
    _check(request)
    recipe = preset.make_recipe()
    assert isinstance(recipe, AxialRecipe)
    torch.manual_seed(preset.seed)
    network = _network(preset.network, preset)
    check_patch(network, preset)
    device = choose_device(request.device)
    found = find_data(request.data, request.patients, request.label_map)
    seen = yield from _load(request, found, recipe)
    cases = [*seen.annotated, *seen.scans]
    if not cases:
        raise InputError("no CT is left to pretrain on; all are held out or cannot be read")
    data = images_hash(cases)
    identity = {
        "data": data,
        "pretext": request.pretext.to_dict(),
        "held_out": sorted(request.validation),
    }
    learner, pictures = _learning(request, network, device, seen.annotated or seen.scans)
    card = _card(request, cases, data)

    def publish(network: nn.Module, report: EpochReport, is_best: bool) -> None:
        body = body_of(network, preset.network)
        write_pretraining(request.output, body, {**card, **report.to_dict()})
        if pictures is not None:
            pictures.write(report.epoch)

    result = yield from fit(
        Job(
            preset=preset,
            device=device,
            network=network,
            loss=no_loss,
            make_source=lambda seed: _source(request, cases, seed),
            folder=request.output,
            identity=identity,
            publish=publish,
            make_learner=lambda: learner,
            tensorboard=request.tensorboard,
            resume=request.resume,
        )
    )
    warnings = [note for dataset in found.datasets for note in dataset.warnings]
    warnings += [note for case in cases for note in case.warnings]
    return PretrainResult(
        request.output,
        result,
        len(seen.annotated),
        len(seen.scans),
        seen.left_out,
        len(body_of(network, preset.network)),
        (*dict.fromkeys((*warnings, *seen.failed)), *result.notes),
    )


def _check(request: PretrainRequest) -> None:
    preset, folder = request.preset, request.output
    found = entry(preset.network)
    if found.dimensions == 3 or preset.dimensions == 3:
        raise UsageError(
            f"network {preset.network} with recipe {preset.recipe}: only networks on slices can be "
            "pretrained"
        )
    check_network(preset.network)
    if several_processes():
        raise UsageError("a pretraining runs in one process: start it without torchrun")
    begun = (folder / STATE).is_file()
    if holds_pretraining(folder) and not (request.resume and begun):
        raise UsageError(
            f"{folder.name}: holds a pretraining already; "
            + ("go on with it (--resume) or " if begun else "")
            + "choose another folder"
        )


def _network(name: str, preset: Preset) -> nn.Module:
    """With the layers of a model, and the weights that a training would begin with.

    What a training leaves as it is (``frozen``) learns here like the rest.
    """
    network = build(name, **_arguments(name, preset))
    load_published(network, preset)
    return network


def _arguments(name: str, preset: Preset) -> dict[str, Any]:
    arguments = {key: value for key, value in preset.network_arguments.items() if key != "frozen"}
    if name != preset.network:
        arguments = {key: value for key, value in arguments.items() if key in _OF_BOTH}
    return arguments


@dataclass(frozen=True)
class _Seen:
    """The cases to look at: annotated ones and CTs, the latter less those that are held out."""

    annotated: Sequence[TrainingCase]
    scans: Sequence[TrainingCase]
    left_out: int
    failed: tuple[str, ...]


def _load(request: PretrainRequest, found: Found, recipe: AxialRecipe) -> Steps[_Seen]:
    cache = request.cache or request.output / CACHE
    fold = Fold((), ())
    if found.datasets:
        fold = checked_split(found.datasets, Fold((), request.validation))
    elif request.validation:
        raise UsageError("cases are held out, but no annotated dataset is given that has them")
    # Held-out images are read only to find them again among the CTs.
    wanted = {*fold.train, *(fold.validation if found.scans else ())}
    chosen = only_cases(found.datasets, wanted)
    cases = yield from load_cases(chosen, recipe, cache, window_hu=request.window)
    held_out = [case for case in cases if case.name in fold.validation]
    table = read_patients(request.patients) if request.patients else {}
    scans = yield from load_scans(found.scans, recipe, cache, request.window, table)
    left = without_held_out(scans.cases, held_out)
    annotated = [without_labels(case) for case in cases if case.name in fold.train]
    return _Seen(annotated, left, len(scans.cases) - len(left), scans.failed)


def _learning(
    request: PretrainRequest, network: nn.Module, device: Device, images: Sequence[TrainingCase]
) -> tuple[Learner, MaskPictures | None]:
    """What a step changes, and what draws pictures of it."""
    preset, pretext = request.preset, request.pretext
    if pretext.task != INPAINTING:
        return RotationLearner(network, preset, device), None
    put_linear_heads(network, preset.network)
    kind = _COACHES.get(preset.network, preset.network)
    torch.manual_seed(preset.seed + 1)
    coach = _network(kind, preset)
    put_linear_heads(coach, kind)
    learner = CoachedLearner(network, coach, preset, pretext, device)
    return learner, MaskPictures(learner, request.output, examples(images, preset))


def _source(request: PretrainRequest, cases: Sequence[TrainingCase], seed: int) -> SliceBatches:
    preset = request.preset
    y, x = preset.patch
    return SliceBatches(
        *(cases, (y, x), preset.batch, seed, preset.dataset_weights),
        lesion_share=0.0,
        # Mirrored both ways is turned by 180 degrees: the answer would be wrong.
        upside_down=request.pretext.task == INPAINTING,
    )


def _card(request: PretrainRequest, cases: Sequence[TrainingCase], data: str) -> dict[str, Any]:
    preset = request.preset
    return {
        "network": preset.network,
        "network_arguments": dict(preset.network_arguments),
        "recipe": {"kind": AXIAL, **preset.make_recipe().to_dict()},
        "task": request.pretext.task,
        "pretext": request.pretext.to_dict(),
        "settings": preset.to_dict(),
        "data_sha256": data,
        "cases": sorted(case.name for case in cases),
        "patients": sorted({hidden(case.patient) for case in cases}),
    }
