"""Training speed: our pipelines against MONAI's stock one, in the same run.

    python -m benchmarks.train_speed [--seconds S] [--device auto|cpu|cuda] [--large]

Images per second from cases in memory to updated weights, after a warm-up. MONAI's pipeline is
`Dataset`, dictionary transforms like ours in kind, `DataLoader` with or without worker processes
(the faster counts), Dice and cross-entropy. Two pairs, slices and patches, with one network on both
sides, so that the pipelines alone differ; and our default network beside them. Without
``--large`` the 3D network and its patches are small, for machines without a graphics card.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import machine
from napari_covseg.io import make_phantom
from napari_covseg.models.device import Device, choose_device
from napari_covseg.models.networks import build
from napari_covseg.training.augment_volume import VolumeAugmentation
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.learner import Learner
from napari_covseg.training.losses_named import build_loss
from napari_covseg.training.parallel import Alone
from napari_covseg.training.prefetch import BatchSource, Prefetcher
from napari_covseg.training.sampling import PatchBatches, SliceBatches
from napari_covseg.training.schedules import PRESETS, Preset

CHANNELS_2D = (16, 32, 64, 128, 256, 256)
TO_CLASSES = np.array([0, 1, 1, 2, 3, 2, 1, 0], np.uint8)
WARM_UP = 3


def make_cases(dimensions: int) -> list[TrainingCase]:
    """Phantoms as training cases: grey levels for slices, z-scores for volumes."""
    phantom = make_phantom((64, 224, 256), (5.0, 1.58, 1.35))
    hu, codes = phantom.volume.hu.astype(np.float32), phantom.labels.labels
    if dimensions == 2:
        image = np.clip((hu + 1350) / 1500 * 255, 0, 255).astype(np.uint8)
    else:
        image = ((hu - hu.mean()) / hu.std()).astype(np.float16)
    return [
        TrainingCase(f"p{n}", "phantom", f"p{n}", image, codes, (5.0, 1.58, 1.35)) for n in range(4)
    ]


def ours(
    cases: list[TrainingCase], network: nn.Module, preset: Preset, device: Device, seconds: float
) -> float:
    """Patches a second of our pipeline as the engine runs it: threads beside a graphics card."""
    where = device.name if device.kind == "cuda" else "cpu"

    def source(seed: int) -> BatchSource:
        if preset.dimensions == 2:
            y, x = preset.patch
            return SliceBatches(cases, (y, x), preset.batch, seed)
        z, y, x = preset.patch
        change = VolumeAugmentation()
        return PatchBatches(cases, (z, y, x), preset.batch, seed, None, 0.0, change, where)

    lanes = [source(lane) for lane in range(preset.workers)]
    on_card = device.kind != "cpu"
    batches = Prefetcher(lanes, threads=on_card, pin_memory=device.kind == "cuda")
    learner = Learner(network, build_loss(preset.loss), preset, device, Alone())
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        learner.step(*batches.next_batch(), rate=1e-4, number=count)

    try:
        return preset.batch * _steps_per_second(step, device, seconds)
    finally:
        batches.close()


def monai_stock(
    cases: list[TrainingCase], network: nn.Module, preset: Preset, device: Device, s: float
) -> float:
    """Patches a second of MONAI: dictionary transforms in worker processes, its loss."""
    from monai.losses import DiceCELoss

    batches = _monai_batches(cases, preset)
    network = network.to(device.name)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)
    scaler = torch.amp.GradScaler(device.kind, enabled=device.precision == "float16")

    def step() -> None:
        images, labels = next(batches)
        images, labels = images.to(device.name), labels.to(device.name)
        optimiser.zero_grad()
        dtype = getattr(torch, device.precision)
        with torch.autocast(device.kind, dtype, enabled=dtype is not torch.float32):
            value = loss(network(images).float(), labels)
        scaler.scale(value).backward()
        scaler.step(optimiser)
        scaler.update()

    return preset.batch * _steps_per_second(step, device, s)


def _monai_batches(cases: list[TrainingCase], preset: Preset) -> Iterator[tuple[Tensor, Tensor]]:
    from monai import transforms as mt
    from monai.data import DataLoader, Dataset

    both = ["image", "label"]
    patch = preset.patch
    turn = (0.26,) * (1 if preset.dimensions == 2 else 3)
    chain = mt.Compose(
        [
            mt.EnsureChannelFirstd(both, channel_dim="no_channel"),
            mt.SpatialPadd(both, patch),
            mt.RandSpatialCropd(both, patch, random_size=False),
            mt.RandFlipd(both, prob=0.5, spatial_axis=-1),
            mt.RandAffined(
                both,
                prob=0.9,
                rotate_range=turn,
                scale_range=0.3,
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            mt.RandAdjustContrastd("image", prob=0.3),
            mt.RandScaleIntensityd("image", 0.1, prob=0.5),
            mt.RandGaussianNoised("image", prob=0.5, std=0.05),
            mt.EnsureTyped(both),
        ]
    )
    items = []
    for case in cases:
        image = case.image.astype(np.float32)
        label = TO_CLASSES[case.codes].astype(np.float32)
        pairs = zip(image, label, strict=True) if preset.dimensions == 2 else [(image, label)] * 8
        items += [{"image": a, "label": b} for a, b in pairs]
    loader = DataLoader(
        Dataset(items, chain),
        batch_size=preset.batch,
        shuffle=True,
        num_workers=preset.workers,
        drop_last=True,
    )
    while True:
        for batch in loader:
            yield batch["image"].as_tensor(), batch["label"].as_tensor()


def _steps_per_second(step: Callable[[], None], device: Device, seconds: float) -> float:
    for _ in range(WARM_UP):
        step()
    _wait(device)
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        done += 1
    _wait(device)
    return done / (time.perf_counter() - begun)


def _wait(device: Device) -> None:
    if device.kind == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_speed")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--large", action="store_true", help="the paper's patches and network")
    args = parser.parse_args()
    device, workers = choose_device(args.device), min(8, os.cpu_count() or 1)
    flat = replace(PRESETS["fast"], pretrained=False, workers=workers)
    solid = replace(PRESETS["mueller2021"], workers=workers)
    wide: tuple[int, ...] = (32, 64, 128, 256, 512)
    if not args.large:
        solid, wide = replace(solid, patch=(32, 64, 64)), (8, 16, 32)
    rows: list[tuple[str, float]] = []
    two, three = make_cases(2), make_cases(3)
    for title, name, arguments, cases, preset in (
        ("slices, unet2d", "unet2d", {"channels": CHANNELS_2D}, two, flat),
        ("slices, unet_lite (default)", "unet_lite", {}, two, flat),
        ("patches, unet3d", "unet3d", {"channels": wide}, three, solid),
    ):
        network = build(name, **arguments)
        size = "x".join(map(str, preset.patch))
        print(f"measuring {title}", flush=True)
        speed = ours(cases, network, preset, device, args.seconds)
        rows.append((f"{title}, {size}", speed))
    for title, cases, preset, name, arguments in (
        ("slices, unet2d in MONAI's pipeline", two, flat, "unet2d", {"channels": CHANNELS_2D}),
        ("patches, unet3d in MONAI's pipeline", three, solid, "unet3d", {"channels": wide}),
    ):
        print(f"measuring {title}", flush=True)
        speed = max(
            monai_stock(
                cases,
                build(name, **arguments),
                replace(preset, workers=count),
                device,
                args.seconds,
            )
            for count in (0, workers)
        )
        rows.append((f"{title}, {'x'.join(map(str, preset.patch))}", speed))
    print(f"\n{machine()}; {device.title}, {device.precision}, {workers} workers\n")
    print("| training | patches a second |\n|---|---|")
    for title, speed in rows:
        print(f"| {title} | {speed:.1f} |")


if __name__ == "__main__":
    main()
