"""The default model's training loop."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_covseg.domain.errors import CovsegError, UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.models.checkpoint import write_checkpoint
from napari_covseg.models.networks import build
from napari_covseg.models.unet_lite import UNetLite
from napari_covseg.training.augment import make_batch
from napari_covseg.training.config import TrainConfig
from napari_covseg.training.dataset import (
    SliceSampler,
    TrainingSlice,
    allowed_table,
    load_slices,
    read_patients,
)
from napari_covseg.training.losses import partial_label_loss
from napari_covseg.training.pretrained import imagenet_weights, load_encoder


def train(
    data: Path, output: Path, name: str, config: TrainConfig, leave_out: tuple[str, ...]
) -> Steps[Path]:
    """Train the default network on ``data`` without the patients ``leave_out``.

    Yields progress; the average of the weights is written every 500 steps and at the end, as model
    ``name`` in ``output``. Returns the card's path.

    Raises
    ------
    InputError
        If the data set is not as expected.
    CovsegError
        If the loss is no longer a number.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield Progress(0, config.steps, "reading the data")
    sampler = SliceSampler(
        _read(data, config, leave_out), dict(config.set_weights), config.lesion_slices, rng
    )
    network = _start(config).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(_groups(network, config), weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config))
    table = allowed_table().to(device)
    started, recent = time.monotonic(), math.nan
    card = output / f"{name}.json"
    for step in range(1, config.steps + 1):
        slices = [sampler.draw() for _ in range(config.batch)]
        images, codes = make_batch(slices, config.patch, rng)
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(images)
        allowed = table[codes.to(device).long()].permute(0, 3, 1, 2)
        loss = partial_label_loss(logits, allowed)
        if not torch.isfinite(loss):
            raise CovsegError(f"the loss is {float(loss)} at step {step}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        _update_average(average, network, min(config.ema, step / (step + 10)))
        value = float(loss.detach())
        recent = value if math.isnan(recent) else 0.98 * recent + 0.02 * value
        if step % 500 == 0 or step == config.steps:
            about = _about(config, leave_out, step)
            card = write_checkpoint(
                *(output, name, average, config.network, dict(config.arguments)),
                *(config.recipe, about),
            )
        rate = (time.monotonic() - started) / step
        yield Progress(step, config.steps, f"loss {recent:.3f}, {rate:.2f} s a step")
    return card


def _read(
    data: Path, config: TrainConfig, leave_out: tuple[str, ...]
) -> dict[str, list[TrainingSlice]]:
    patients = read_patients(data)
    return {
        name: list(load_slices(data, name, config.recipe, patients, set(leave_out)))
        for name, _ in config.set_weights
    }


def _start(config: TrainConfig) -> nn.Module:
    network = build(config.network, **dict(config.arguments))
    if config.pretrained:
        if not isinstance(network, UNetLite):
            raise UsageError(f"there are no ImageNet weights for network '{config.network}'")
        load_encoder(network, imagenet_weights())
    return network


def _groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameters by learning rate: a pretrained encoder learns more slowly."""
    encoder: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        slow = config.pretrained and name.startswith("encoder.")
        (encoder if slow else rest).append(parameter)
    groups: list[dict[str, Any]] = [{"params": rest, "lr": config.learning_rate}]
    if encoder:
        groups.append({"params": encoder, "lr": config.learning_rate * config.encoder_rate})
    return groups


def _rate(step: int, config: TrainConfig) -> float:
    """Fraction of the learning rate: linear rise, then a cosine to zero."""
    if step < config.warm_up:
        return (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the network, batch statistics included."""
    mine, theirs = average.state_dict(), network.state_dict()
    for key, value in mine.items():
        if value.is_floating_point():
            value.lerp_(theirs[key], 1 - decay)


def _about(config: TrainConfig, leave_out: tuple[str, ...], step: int) -> dict[str, object]:
    settings = asdict(config)
    del settings["recipe"], settings["network"], settings["arguments"]
    return {
        "version": "2",
        "licence": "research only, non-commercial: see LICENSE beside the weights",
        "training": {"settings": settings, "steps_done": step, "left_out_patients": leave_out},
    }
