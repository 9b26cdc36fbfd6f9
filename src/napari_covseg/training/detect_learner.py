"""A detector in training: batches, one step, what is measured, and its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.inference.detect_slice import autocast, detect_in_slice, precision_of
from napari_covseg.metrics.detection import (
    DetectionScores,
    Found,
    Precision,
    Truth,
    mean_precision,
)
from napari_covseg.models.checkpoint import Model
from napari_covseg.models.detector_start import load_pretrained, start_from
from napari_covseg.models.device import Device
from napari_covseg.models.mask_rcnn import (
    CLASSES,
    LesionRCNN,
    set_heads_only,
    set_to_train,
)
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.detect_instances import Instances, instances_of
from napari_covseg.training.detect_settings import DetectPreset
from napari_covseg.training.prefetch import Prefetcher
from napari_covseg.training.randomness import source_seed
from napari_covseg.training.sampling import SliceBatches

_MOSTLY = 0.95
"""A picture with more of its area unknown teaches nothing and is left out of its batch."""

Measured = tuple[DetectionScores, DetectionScores, list[str]]
"""By masks, by boxes, and the patient of each slice."""
Publish = Callable[[LesionRCNN, Mapping[str, Any], bool], None]


def new_detector(
    preset: DetectPreset, weights: Path | None, start: Model | None = None
) -> tuple[LesionRCNN, str]:
    """A detector as the settings say, and a line on the weights it starts from.

    ``weights`` is for a ResNet, ``start`` for the backbone ``lite0``.

    Raises
    ------
    UsageError, ModelError
        If an argument or the weights cannot be used.
    """
    torch.manual_seed(preset.seed)
    arguments = preset.arguments
    if start is not None:
        arguments = arguments_on(preset, start)
    try:
        network = LesionRCNN(**arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if start is not None:
        note = start_from(network, start)
    elif preset.pretrained != (weights is not None):
        raise UsageError(
            f"preset {preset.name} has pretrained={str(preset.pretrained).lower()}, and "
            f"{'no file' if weights is None else 'a file'} of weights is given: give --weights "
            "FILE with pretrained=true, and none with false"
        )
    elif weights is not None:
        note = load_pretrained(network, weights, preset.backbone)
    else:
        note = "fresh weights"
    if preset.heads_only:
        set_heads_only(network)
    return network, note


def arguments_on(preset: DetectPreset, start: Model) -> dict[str, Any]:
    """Of `LesionRCNN` on that segmentation model.

    Raises
    ------
    UsageError
        If the settings are not those of a detector on it.
    """
    if not preset.from_segmentation:
        raise UsageError(
            f"--from {start.name}: only backbone=lite0 with pretrained=true starts from a "
            f"segmentation model; preset {preset.name} has backbone={preset.backbone}"
        )
    recipe = start.recipe
    if isinstance(recipe, AxialRecipe) and recipe.pixel_mm != preset.pixel_mm:
        raise UsageError(
            f"pixel_mm={preset.pixel_mm}: {start.name} was trained at {recipe.pixel_mm} mm; set "
            f"pixel_mm={recipe.pixel_mm}"
        )
    return {**preset.arguments, "segmentation": dict(start.card["arguments"])}


class DetectorLearning:
    """Trains a `LesionRCNN` on slices of cases, and measures it on those of others.

    ``publish`` gets the network, the row of the epoch, and whether it is the best so far.
    """

    def __init__(
        self,
        preset: DetectPreset,
        network: LesionRCNN,
        device: Device,
        training: Sequence[TrainingCase],
        measured: Sequence[TrainingCase],
        publish: Publish,
    ) -> None:
        self._preset, self._device, self._measured = preset, device, measured
        self._publish = publish
        self.measured: Measured | None = None
        """The last measurement of this process."""
        self.network = network.to(device.name)
        learn = [p for p in network.parameters() if p.requires_grad]
        kind = torch.optim.AdamW if preset.optimiser == "adamw" else torch.optim.Adam
        self._optimiser = kind(learn, preset.learning_rate, weight_decay=preset.weight_decay)
        self._scaler = torch.amp.GradScaler(device.kind, enabled=precision_of(device) == "float16")
        source = SliceBatches(
            *(training, preset.patch, preset.batch, source_seed(preset.seed, 0, 0)),
            weights=preset.dataset_weights,
            lesion_share=preset.lesion_share,
        )
        off_cpu = device.kind != "cpu"
        self._batches = Prefetcher([source], threads=off_cpu, pin_memory=device.kind == "cuda")

    def step(self, rate: float) -> tuple[float, float]:
        """See `Learning`."""
        set_to_train(self.network)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        images, targets = self._draw()
        with autocast(self._device):
            losses = self.network(images, targets)
            loss: Tensor = torch.stack([one.float() for one in losses.values()]).sum()
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimiser)
        learn = [p for group in self._optimiser.param_groups for p in group["params"]]
        gradient = nn.utils.clip_grad_norm_(learn, self._preset.clip or torch.inf)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return float(loss.detach()), float(gradient)

    def _draw(self) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """Pictures and targets; those of which nearly nothing is known are left out."""
        while True:
            grey, codes = self._batches.next_batch()
            found = [instances_of(one.numpy(), self._preset.least_pixels) for one in codes]
            used = [n for n, one in enumerate(found) if one.ignored.mean() < _MOSTLY]
            if used:
                name = self._device.name
                images = [grey[n].to(name, non_blocking=True) for n in used]
                return images, [
                    {key: value.to(name) for key, value in found[n].target().items()} for n in used
                ]

    def measure(self) -> Steps[dict[str, float | None]]:
        """See `Learning`."""
        if not self._measured:
            return {}
        self.measured = yield from measure_detector(
            self.network, self._measured, self._device, self._preset.least_pixels
        )
        masks, boxes, _ = self.measured
        of_masks, of_boxes = masks.result(), mean_precision(boxes.result())
        all_masks = mean_precision(of_masks)
        row = {"score": all_masks.ap, **_columns("mask", all_masks), **_columns("box", of_boxes)}
        for number, label in CLASSES.items():
            row |= _columns(f"mask_{label.name.lower()}", of_masks[number])
        return row

    def publish(self, row: Mapping[str, Any], best: bool) -> None:
        """See `Learning`."""
        self._publish(self.network, row, best)

    def state_dict(self) -> dict[str, Any]:
        """See `Learning`."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "batches": self._batches.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Learning`."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self._batches.load_state_dict(state["batches"])

    def close(self) -> None:
        """See `Learning`."""
        self._batches.close()


def measure_detector(
    network: LesionRCNN, cases: Sequence[TrainingCase], device: Device, least_pixels: int
) -> Steps[Measured]:
    """Detect in every slice of which enough is known (`measure_findings`)."""
    training = network.training
    network.eval()
    try:
        find = partial(detect_in_slice, network, device=device)
        return (yield from measure_findings(find, cases, least_pixels))
    finally:
        network.train(training)


def measure_findings(
    find: Callable[[NDArray[np.uint8]], Found], cases: Sequence[TrainingCase], least_pixels: int
) -> Steps[Measured]:
    """What ``find`` sees in each slice: by masks, by boxes, and each slice's patient.

    Clean slices count too: what is found there is wrong. On the recipe's grid.
    """
    masks, boxes = (DetectionScores(tuple(CLASSES), kind) for kind in ("mask", "box"))  # type: ignore[arg-type]
    patients: list[str] = []
    for done, case in enumerate(cases):
        for grey, codes in zip(case.image, case.codes, strict=True):
            there = instances_of(np.asarray(codes), least_pixels)
            if there.ignored.mean() >= _MOSTLY:
                continue
            yield Progress(done, len(cases), f"measuring case {done + 1} of {len(cases)}")
            found, truth = find(np.asarray(grey)), _truth(there)
            masks.add(found, truth)
            boxes.add(found, truth)
            patients.append(case.patient)
    return masks, boxes, patients


def _truth(there: Instances) -> Truth:
    return Truth(there.boxes, there.labels, there.masks, there.ignored)


def _columns(name: str, of: Precision) -> dict[str, float | None]:
    return {f"{name}_ap": of.ap, f"{name}_ap50": of.ap50, f"{name}_ap75": of.ap75}
