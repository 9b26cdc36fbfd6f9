"""Train a COVID-CT-Mask-Net on labelled pictures, from a detector or from another such network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from napari_covseg.domain.errors import InputError, ModelError, UsageError
from napari_covseg.domain.progress import Steps
from napari_covseg.io.atomic import write_json
from napari_covseg.io.image_sets import ImageSet, check_classes, read_image_set
from napari_covseg.models.detector_files import read_detector
from napari_covseg.models.device import choose_device
from napari_covseg.models.mask_net_classifier import (
    MaskNetClassifier,
    read_mask_net,
    write_mask_net,
)
from napari_covseg.training.detect_loop import LoopResult, Plan, check_folder, run_loop
from napari_covseg.training.detect_settings import CHANGEABLE
from napari_covseg.training.image_features import hash_pictures
from napari_covseg.training.mask_net import (
    MaskNetLearning,
    few_of_each,
    figures_of_classes,
    recipe_of,
)
from napari_covseg.training.mask_net_settings import PRESETS, MaskNetPreset
from napari_covseg.training.splits import draw_folds
from napari_covseg.workflows.classify_images import with_copies

LICENCE = "that of the data it was trained on"
BEST, RESULT = "best", "result.json"
TRAIN, MEASURE = "train", ("val", "valid", "validation", "test")
FOLDS = 5


@dataclass(frozen=True)
class MaskNetRequest:
    """What to train.

    ``images`` is a CSV or a folder (`read_image_set`), ``within`` the start of its files' names
    that count. Exactly one of ``detector`` and ``start`` (a COVID-CT-Mask-Net to go on from) is
    given: folders.
    """

    images: Path
    output: Path
    preset: MaskNetPreset = PRESETS["fast"]
    detector: str = ""
    start: str = ""
    within: str = ""
    name: str = ""
    device: str = "auto"
    resume: bool = False
    tensorboard: bool = True

    @property
    def model_name(self) -> str:
        """The model's name."""
        return self.name or self.output.resolve().name or "mask_net"


@dataclass(frozen=True)
class MaskNetResult:
    """What came of a training: as `DetectTrainResult`; ``figures`` are of the last epoch."""

    model: Path
    best: Path | None
    loop: LoopResult
    figures: dict[str, Any]
    split: str
    training_pictures: int
    measured_pictures: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "model": str(self.model),
            "best": str(self.best) if self.best else None,
            "training": self.loop.to_dict(),
            "figures": self.figures,
            "split": self.split,
            "training_pictures": self.training_pictures,
            "measured_pictures": self.measured_pictures,
            "warnings": list(self.warnings),
        }


def train_mask_net(request: MaskNetRequest) -> Steps[MaskNetResult]:
    """Train; yields progress. Closing the generator leaves a state that ``resume`` goes on from.

    Raises
    ------
    UsageError
        If settings contradict, the folder holds another training, or ``resume`` is not set.
    InputError
        If a picture or the labels are not usable.
    ModelError
        If the model to start from is not usable.
    ResourceError, CovsegError
        If memory or the disk is full; if the loss is no longer a number.
    """
    preset = request.preset
    device = choose_device(request.device)
    images = read_image_set(request.images, request.within)
    check_classes(images)
    network, arguments, start = _network(request, images.classes)
    hashes = yield from hash_pictures(images)
    images = with_copies(images, hashes)
    training, measured, split = parts(images)
    training = few_of_each(training, preset.pictures, preset.seed)
    made_for = {
        **preset.to_dict(),
        "pictures_sha256": _digest(images, hashes),
        "classes": list(images.classes),
        "start": start,
    }
    state = check_folder(request.output, made_for, CHANGEABLE, request.resume)
    card = _Card(request, arguments, images.classes, made_for, split, len(training))
    learning = MaskNetLearning(preset, network, device, training, measured, card.publish)
    plan = Plan(
        folder=request.output,
        device=device,
        made_for=made_for,
        epochs=preset.epochs,
        batches=learning.batches,
        learning_rate=preset.learning_rate,
        validate_every=preset.validate_every,
        minutes=preset.minutes,
        tensorboard=request.tensorboard,
    )
    loop = yield from run_loop(plan, learning, state)
    probabilities = yield from learning.probabilities(measured)
    done = MaskNetResult(
        request.output / f"{request.model_name}.json",
        request.output / BEST / f"{request.model_name}.json" if loop.best else None,
        loop,
        figures_of_classes(probabilities, measured.codes, measured.classes),
        split,
        len(training),
        len(measured),
        (*images.warnings, *loop.notes),
    )
    write_json(request.output / "logs" / RESULT, done.to_dict())
    return done


def parts(images: ImageSet) -> tuple[ImageSet, ImageSet, str]:
    """The pictures that train and those that measure, and how they were parted.

    As the labels say where they name ``train`` and another part; else by group, a fifth measuring.

    Raises
    ------
    InputError
        If a group stands on both sides, or there are too few groups to part them.
    """
    measuring = [name for name in MEASURE if name in images.splits]
    if TRAIN in images.splits and measuring:
        training, measured = images.of_split(TRAIN), images.of_split(measuring[0])
        shared = (set(training.groups) & set(measured.groups)) - {""}
        if shared:
            raise InputError(
                f"{len(shared)} groups (patients, or copies of one picture) have pictures in "
                f"'{TRAIN}' and in '{measuring[0]}'; part them by group"
            )
        return training, measured, f"{TRAIN} and {measuring[0]}, as the labels say"
    groups = {name: group or name for name, group in zip(images.names, images.groups, strict=True)}
    fold = draw_folds(groups, FOLDS, 0)[0]
    held = set(fold.validation)
    places = [n for n, name in enumerate(images.names) if name in held]
    others = [n for n, name in enumerate(images.names) if name not in held]
    return images.subset(others), images.subset(places), f"a fifth measures, by group, of {FOLDS}"


def _network(
    request: MaskNetRequest, classes: tuple[str, ...]
) -> tuple[MaskNetClassifier, Mapping[str, Any], str]:
    """The network, its detector's arguments, and the hash of the weights it starts from."""
    preset = request.preset
    if bool(request.detector) == bool(request.start):
        raise UsageError(
            "give either a detector (--detector DIR) or a COVID-CT-Mask-Net to go on from "
            "(--from DIR)"
        )
    torch.manual_seed(preset.seed)
    if request.detector:
        found = read_detector(request.detector)
        network = MaskNetClassifier(
            found.network, len(classes), preset.candidates, preset.hidden, preset.least_side
        )
        return network, found.card["arguments"], found.sha256
    start = read_mask_net(request.start)
    told = {
        "candidates": start.network.candidates,
        "hidden": start.network.s[0].out_features,
        "least_side": start.network.least_side,
        "size": start.recipe.size,
        "keep": start.recipe.keep,
    }
    for name, value in told.items():
        if getattr(preset, name) != value:
            raise ModelError(
                f"{start.name}: its {name} is {value}, the settings say {getattr(preset, name)}; "
                f"train with --set {name}={value}"
            )
    if start.classes != classes:
        # What it learned of other classes stays, but for the last layer.
        start.network.s[2] = torch.nn.Linear(preset.hidden, len(classes))
    return start.network, start.card["detector"], start.sha256


def _digest(images: ImageSet, hashes: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    rows = zip(hashes, images.codes, images.splits, images.groups, strict=True)
    for content, code, split, group in rows:
        digest.update(f"{content} {code} {split} {group}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Card:
    """Writes the model and its card."""

    request: MaskNetRequest
    detector_arguments: Mapping[str, Any]
    classes: tuple[str, ...]
    made_for: Mapping[str, Any]
    split: str
    pictures: int

    def publish(self, network: MaskNetClassifier, row: Mapping[str, Any], best: bool) -> None:
        """Write the network as the model, or as the best one."""
        about = {
            "version": "1",
            "licence": LICENCE,
            "training": {
                "settings": self.request.preset.to_dict(),
                "start_sha256": self.made_for["start"],
                "pictures_sha256": self.made_for["pictures_sha256"],
                "pictures": self.pictures,
                "split": self.split,
                "chosen_by_validation": best,
                **row,
            },
        }
        folder = self.request.output / BEST if best else self.request.output
        recipe = recipe_of(self.request.preset)
        arguments, name = self.detector_arguments, self.request.model_name
        write_mask_net(folder, name, network, arguments, self.classes, recipe, about)
