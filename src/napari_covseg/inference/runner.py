"""What every network's run has in common: device, precision, mirrored views, memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models.device import Device, choose_device, stopped_working
from napari_covseg.models.fold import fold_batch_norm
from napari_covseg.models.fuse import fuse_activations

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model

FLIP_AXES: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "left-right": ((), (-1,)),
    "all": ((), (-1,), (-2,), (-2, -1)),
}
"""Mirrored views whose probabilities are averaged; axes are of ``(n, c, ..., h, w)``."""
FAILURES = (RuntimeError, MemoryError, ValueError)
"""What a network raises when it fails on its input, or memory runs out."""

AnyRunner = TypeVar("AnyRunner", bound="Runner")


@dataclass(frozen=True, eq=False)
class Prediction:
    """``classes``: uint8 ``(z, y, x)`` of `NetworkClass`, in the volume's grid.

    ``unsure`` is the map of `napari_covseg.inference.uncertainty` in that grid, ``likely`` its
    `likelihood`, ``(2, z, y, x)``, if asked for.
    """

    classes: NDArray[np.uint8]
    device: Device
    warnings: tuple[str, ...] = ()
    unsure: NDArray[np.uint8] | None = None
    likely: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is to give beside classes: how ``unsure`` it is, how ``likely`` lesions are."""

    unsure: bool = False
    likely: bool = False


class Runner:
    """A copy of the model's network on a device: the model may be in use on another.

    ``batch`` is how many inputs go through the network at once; it shrinks where memory is short.
    """

    def __init__(
        self,
        model: Model,
        device: Device,
        flips: tuple[tuple[int, ...], ...],
        batch: int,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.model, self.device, self.flips, self.batch = model, device, flips, batch
        self.memory_format = memory_format
        network = fold_batch_norm(copy.deepcopy(model.network).eval())
        self.network = network.to(device.name).to(memory_format=memory_format)  # type: ignore[call-overload]
        if device.kind == "cpu":
            fuse_activations(self.network, getattr(torch, device.precision))

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """``(n, 1, *spatial)`` to float32 ``(n, classes, *spatial)``, the sum over the flips.

        Raises
        ------
        ModelError
            If the network has not one output for each class.
        """
        inputs = inputs.to(self.device.name).contiguous(memory_format=self.memory_format)
        total: torch.Tensor | None = None
        for axes in self.flips:
            with self._autocast():
                logits = self.network(inputs.flip(axes) if axes else inputs)
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

    def after(
        self: AnyRunner, error: RuntimeError | MemoryError | ValueError, warnings: list[str]
    ) -> AnyRunner:
        """What to go on with when a batch failed: a smaller batch, then the CPU.

        Raises
        ------
        ModelError
            If it was not for lack of memory, nor of an operation on a graphics card, nor because
            the card stopped working.
        ResourceError
            If memory ran out on the CPU for a single input.
        """
        if self.device.kind == "cuda" and stopped_working(error):
            warnings.append(f"{self.device.title} stopped working: the rest was done on the CPU.")
            return self.on(replace(choose_device("cpu"), hint=self.device.hint))
        # Some operations on volumes are missing in PyTorch for Apple graphics.
        missing = isinstance(error, NotImplementedError) and self.device.kind != "cpu"
        if not missing and not is_out_of_memory(error):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"the model {self.model.name} failed on {self.device.title}: {reason}"
            ) from error
        if self.device.kind == "cuda":
            torch.cuda.empty_cache()
        if self.batch > 1 and not missing:
            note = f"{self.device.title} ran out of memory: went on with smaller batches."
            if note not in warnings:
                warnings.append(note)
            self.batch //= 2
            return self
        if self.device.kind == "cpu":
            raise ResourceError(
                "not enough memory to segment this volume: close other programs, "
                "or use a machine with more memory"
            ) from error
        reason = "cannot run this network" if missing else "ran out of memory"
        warnings.append(f"{self.device.title} {reason}: the rest was done on the CPU.")
        return self.on(replace(choose_device("cpu"), hint=self.device.hint))

    def on(self: AnyRunner, device: Device) -> AnyRunner:
        """The same on another device, with the batch that suits it."""
        raise NotImplementedError


def start(make: Callable[[Device], AnyRunner], device: Device, warnings: list[str]) -> AnyRunner:
    """The runner on ``device``, or on the CPU where the network itself does not fit there."""
    try:
        return make(device)
    except (RuntimeError, MemoryError) as error:
        if device.kind == "cpu" or not is_out_of_memory(error):
            raise
    warnings.append(f"{device.title} has no memory left: all was done on the CPU.")
    return make(replace(choose_device("cpu"), hint=device.hint))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


@contextmanager
def repeatable() -> Iterator[None]:
    """Equal input gives equal output, on one device; no gradients are kept."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    with torch.inference_mode(), flags:
        yield
