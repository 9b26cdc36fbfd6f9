"""Run a slice-wise network over a CT volume: batches, precision, memory, progress, cancel."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.frame import Frame, plan_frame
from napari_covseg.models.device import Device, choose_device
from napari_covseg.models.fold import fold_batch_norm

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model
    from napari_covseg.preprocess.recipe import AxialRecipe

FLIP_AXES: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "left-right": ((), (-1,)),
    "all": ((), (-1,), (-2,), (-2, -1)),
}
"""Mirrored views whose probabilities are averaged; axes are of ``(n, c, h, w)``."""

# Network pixels in one step. On a CPU a step must end within the second a cancel may take.
PIXELS_PER_STEP = {"cpu": 2 * 256 * 256, "mps": 8 * 256 * 256, "cuda": 32 * 256 * 256}


@dataclass(frozen=True, eq=False)
class Prediction:
    """``classes``: uint8 ``(z, y, x)`` of `NetworkClass`, in the volume's grid."""

    classes: NDArray[np.uint8]
    device: Device
    warnings: tuple[str, ...] = ()


def predict(
    volume: CTVolume, model: Model, device: Device, flips: str = "none"
) -> Steps[Prediction]:
    """Classify every voxel of ``volume``.

    One step is a batch of slices, so closing the generator cancels within a batch. Equal input
    gives equal output on one device and number of threads.

    Raises
    ------
    InputError
        If the volume has no axial plane to speak of.
    ResourceError
        If memory ran out on the CPU too.
    ModelError
        If the network failed on its input.
    """
    frame = plan_frame(volume, model.recipe)
    classes = np.zeros(volume.geometry.shape, np.uint8)
    rows, columns = frame.slices
    runner = _Runner(model, device, FLIP_AXES[flips], frame)
    total, done = len(classes), 0
    warnings: list[str] = []
    yield Progress(0, total, f"segmenting on {device.title}")
    while done < total:
        stop = min(total, done + runner.batch)
        try:
            classes[done:stop, rows, columns] = runner(volume.hu[done:stop, rows, columns])
        except (RuntimeError, MemoryError) as error:
            runner = runner.after(error, warnings)
            continue
        done = stop
        yield Progress(done, total, f"segmenting on {runner.device.title}")
    return Prediction(classes, runner.device, tuple(warnings))


class _Runner:
    """The network on its device, with all that one batch needs."""

    def __init__(
        self,
        model: Model,
        device: Device,
        flips: tuple[tuple[int, ...], ...],
        frame: Frame,
        batch: int | None = None,
    ) -> None:
        self.model, self.device, self.flips, self.frame = model, device, flips, frame
        pixels = frame.padded[0] * frame.padded[1] * len(flips)
        self.batch = batch or max(1, PIXELS_PER_STEP[device.kind] // pixels)
        # A copy: the model may be in use elsewhere, on another device.
        network = fold_batch_norm(copy.deepcopy(model.network).eval())
        self.network = network.to(device.name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, hu: NDArray) -> NDArray[np.uint8]:
        """``(n, y, x)`` HU to ``(n, y, x)`` classes."""
        with torch.inference_mode(), _repeatable():
            # MPS has no antialiased resampling in many versions of torch: it gets small pixels.
            first = "cpu" if self.device.kind == "mps" else self.device.name
            slices = torch.from_numpy(np.ascontiguousarray(hu)).to(first)
            pixels = to_network(slices, self.frame, self.model.recipe).to(self.device.name)
            share = self._probabilities(pixels.contiguous(memory_format=torch.channels_last))
            height, width = self.frame.size
            return to_classes(share[..., :height, :width], self.frame.native).cpu().numpy()

    def _probabilities(self, pixels: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor | None = None
        for axes in self.flips:
            with self._autocast():
                logits = self.network(pixels.flip(axes) if axes else pixels)
            if logits.shape[1] != len(NetworkClass):
                raise ModelError(
                    f"the model {self.model.name} has {logits.shape[1]} outputs, expected "
                    f"{len(NetworkClass)}: background, lung, GGO, consolidation"
                )
            share = logits.float().softmax(dim=1)
            share = share.flip(axes) if axes else share
            total = share if total is None else total.add_(share)
        assert total is not None
        return total

    def _autocast(self) -> torch.autocast | nullcontext[None]:
        if self.device.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.kind, getattr(torch, self.device.precision))

    def after(self, error: RuntimeError | MemoryError, warnings: list[str]) -> _Runner:
        """What to go on with when a batch failed: a smaller batch, then the CPU."""
        if not is_out_of_memory(error):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"the model {self.model.name} failed on {self.device.title}: {reason}"
            ) from error
        if self.device.kind == "cuda":
            torch.cuda.empty_cache()
        if self.batch > 1:
            smaller = self.batch // 2
            note = f"{self.device.title} ran out of memory: went on with smaller batches."
            if note not in warnings:
                warnings.append(note)
            self.batch = smaller
            return self
        if self.device.kind == "cpu":
            raise ResourceError(
                "not enough memory to segment this volume: close other programs, "
                "or use a machine with more memory"
            ) from error
        cpu = replace(choose_device("cpu"), hint=self.device.hint)
        warnings.append(f"{self.device.title} ran out of memory: the rest was done on the CPU.")
        return _Runner(self.model, cpu, self.flips, self.frame)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def to_network(slices: torch.Tensor, frame: Frame, recipe: AxialRecipe) -> torch.Tensor:
    """``(n, y, x)`` HU to ``(n, 1, h, w)`` in [-1, 1], resampled and padded with air.

    The window comes first: resampling must not smear what the window cuts off.
    """
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


def to_classes(share: torch.Tensor, native: tuple[int, int]) -> torch.Tensor:
    """``(n, 4, h, w)`` probabilities to uint8 ``(n, y, x)``; only these leave the device."""
    if tuple(share.shape[-2:]) != native:
        share = F.interpolate(share, native, mode="bilinear", align_corners=False)
    best, classes = share[:, 0], torch.zeros_like(share[:, 0], dtype=torch.uint8)
    # Comparing planes is several times faster on a CPU than argmax over a strided axis.
    for index in range(1, share.shape[1]):
        higher = share[:, index] > best
        classes.masked_fill_(higher, index)
        best = torch.maximum(best, share[:, index])
    return classes


@contextmanager
def _repeatable() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield
