"""Run a slice-wise network over a CT volume, a batch of slices at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.decide import decide
from napari_covseg.inference.frame import Frame, plan_frame
from napari_covseg.inference.runner import (
    FAILURES,
    FLIP_AXES,
    Prediction,
    Runner,
    Wanted,
    repeatable,
    start,
)
from napari_covseg.inference.scout import near_lung, scouts
from napari_covseg.inference.uncertainty import entropy, likelihood
from napari_covseg.models.device import Device
from napari_covseg.preprocess.recipe import AxialRecipe

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model

# Network pixels in one step. On a CPU a step must end within the second a cancel may take.
PIXELS_PER_STEP = {"cpu": 4 * 256 * 256, "mps": 8 * 256 * 256, "cuda": 32 * 256 * 256}
_CLASSES = Wanted()


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Of a batch of slices ``(n, y, x)``; ``likely`` is ``(2, n, y, x)``."""

    classes: NDArray[np.uint8]
    unsure: NDArray[np.uint8] | None
    likely: NDArray[np.uint8] | None


def predict_slices(
    volume: CTVolume,
    model: Model,
    recipe: AxialRecipe,
    device: Device,
    flips: str = "none",
    wanted: Wanted = _CLASSES,
) -> Steps[Prediction]:
    """Classify every voxel of ``volume``; one step is a batch of slices.

    ``wanted`` is what to say of each beside its class. Slices well above and below the lungs are
    background (`napari_covseg.inference.scout`).

    Raises
    ------
    InputError
        If the volume has no axial plane to speak of.
    ResourceError
        If memory ran out on the CPU too.
    ModelError
        If the network failed on its input.
    """
    frame = plan_frame(volume, recipe)
    classes = np.zeros(volume.geometry.shape, np.uint8)
    unsure = np.zeros_like(classes) if wanted.unsure else None
    likely = np.zeros((2, *classes.shape), np.uint8) if wanted.likely else None
    rows, columns = frame.slices
    warnings: list[str] = []
    axes = FLIP_AXES[flips]
    runner = start(lambda on: SliceRunner(model, recipe, on, axes, frame), device, warnings)
    total, done = len(classes), 0
    first = scouts(total, volume.geometry.spacing_mm[0])
    left, scouting = first, True
    yield Progress(0, total, f"segmenting on {runner.device.title}")
    while len(left):
        now = left[: runner.batch]
        try:
            found = runner(volume.hu[now, rows, columns], wanted)
        except FAILURES as error:
            runner.batch = len(now)
            runner = runner.after(error, warnings)
            continue
        classes[now, rows, columns] = found.classes
        if unsure is not None and found.unsure is not None:
            unsure[now, rows, columns] = found.unsure
        if likely is not None and found.likely is not None:
            likely[:, now, rows, columns] = found.likely
        left, done = left[len(now) :], done + len(now)
        if scouting and not len(left):
            seen = np.array([classes[z].any() for z in first])
            scouting, left = False, near_lung(total, first, seen)
            total = done + len(left)
        yield Progress(done, total, f"segmenting on {runner.device.title}")
    return Prediction(classes, runner.device, tuple(warnings), unsure, likely)


class SliceRunner(Runner):
    """The network on its device, with all that one batch of slices needs."""

    def __init__(
        self,
        model: Model,
        recipe: AxialRecipe,
        device: Device,
        flips: tuple[tuple[int, ...], ...],
        frame: Frame,
    ) -> None:
        pixels = frame.padded[0] * frame.padded[1] * len(flips)
        batch = max(1, PIXELS_PER_STEP[device.kind] // pixels)
        super().__init__(model, device, flips, batch, torch.channels_last)
        self.recipe, self.frame = recipe, frame

    def __call__(self, hu: NDArray, wanted: Wanted) -> Found:
        """What is wanted of ``(n, y, x)`` HU."""
        with repeatable():
            # MPS has no antialiased resampling in many versions of torch: it gets small pixels.
            first = "cpu" if self.device.kind == "mps" else self.device.name
            slices = torch.from_numpy(np.ascontiguousarray(hu)).to(first)
            share = self.probabilities(to_network(slices, self.frame, self.recipe))
            height, width = self.frame.size
            share = to_native(share[..., :height, :width], self.frame.native)
            likely = likelihood(share).transpose(0, 1).cpu().numpy() if wanted.likely else None
            unsure = entropy(share).cpu().numpy() if wanted.unsure else None
            return Found(decide(share).cpu().numpy(), unsure, likely)

    def on(self, device: Device) -> SliceRunner:
        """The same on another device."""
        return SliceRunner(self.model, self.recipe, device, self.flips, self.frame)


def to_network(slices: torch.Tensor, frame: Frame, recipe: AxialRecipe) -> torch.Tensor:
    """``(n, y, x)`` HU to ``(n, 1, h, w)`` in [-1, 1], resampled and padded with air.

    The window comes first: resampling must not smear what the window cuts off.
    """
    if recipe.clahe:
        grey = torch.from_numpy(recipe.to_grey(slices.cpu().numpy().astype(np.float32)))
        pixels = grey.to(slices.device)[:, None].float().div_(127.5).sub_(1.0)
    else:
        low, high = recipe.window_hu
        # Not in place: on a CPU these may be the caller's own voxels.
        pixels = slices[:, None].float().clamp(low, high)
        pixels = pixels.sub_(low).mul_(2.0 / (high - low)).sub_(1.0)
    if frame.size != frame.native:
        pixels = F.interpolate(
            pixels, frame.size, mode="bilinear", align_corners=False, antialias=True
        ).clamp_(-1.0, 1.0)
    down, right = (full - n for full, n in zip(frame.padded, frame.size, strict=True))
    return F.pad(pixels, (0, right, 0, down), value=-1.0)


def to_native(share: torch.Tensor, native: tuple[int, int]) -> torch.Tensor:
    """``(n, 4, h, w)`` probabilities to ``(n, 4, y, x)``."""
    if tuple(share.shape[-2:]) == native:
        return share
    return F.interpolate(share, native, mode="bilinear", align_corners=False)
