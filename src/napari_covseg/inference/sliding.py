"""Run a network on volumes over a CT: overlapping patches whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_covseg.domain.errors import ModelError
from napari_covseg.domain.geometry import Shape
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.frame import check_axial
from napari_covseg.inference.runner import (
    FAILURES,
    FLIP_AXES,
    Prediction,
    Runner,
    Wanted,
    repeatable,
    start,
)
from napari_covseg.inference.uncertainty import entropy_of_volume, likelihood_of_volume
from napari_covseg.models.device import Device, stopped_working
from napari_covseg.preprocess.volume_recipe import Prepared, VolumeRecipe

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model

# Network voxels in one step; one patch of 80x160x160 at least.
VOXELS_PER_STEP = {"cpu": 80 * 160 * 160, "mps": 80 * 160 * 160, "cuda": 4 * 80 * 160 * 160}
FLOAT32_LIMIT = 2 * 1024**3
"""Bytes of probabilities above which they are added up in float16."""
SLICES_PER_STEP = 32
_CLASSES = Wanted()
WEIGHTINGS = ("constant", "gaussian")


@dataclass(frozen=True, slots=True)
class Window:
    """How patches cover a volume.

    Parameters
    ----------
    patch
        ``(z, y, x)`` in voxels of the recipe; smaller volumes are padded with air.
    overlap
        Fraction of a patch that it shares with the next along each axis; the last patch of a row
        ends with the volume and may share more.
    weighting
        How the probabilities of patches are averaged: ``"constant"``, or ``"gaussian"``, where
        a patch counts less towards its border (standard deviation: 1/8 of its size, as in MONAI).

    The defaults are those of Mueller et al. (2021).

    Raises
    ------
    ValueError
        If a size is not a positive whole number, the overlap is not in [0, 1) or the weighting is
        not known.
    """

    patch: Shape = (80, 160, 160)
    overlap: float = 0.5
    weighting: str = "constant"

    def __post_init__(self) -> None:
        z, y, x = self.patch
        if not all(isinstance(n, int) and n > 0 for n in (z, y, x)):
            raise ValueError(f"expected a patch of positive sizes (z, y, x), got {self.patch}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"expected an overlap of at least 0 and below 1, got {self.overlap}")
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"unknown weighting {self.weighting!r}: use {', '.join(WEIGHTINGS)}")

    @classmethod
    def of(cls, model: Model) -> Window:
        """What the model's card says: ``patch``, ``overlap``, ``weighting``, else the defaults.

        Raises
        ------
        ModelError
            If the card's values cannot be used.
        """
        try:
            return cls(**_given(model.card))
        except (TypeError, ValueError) as error:
            raise ModelError(f"the model {model.name}: its card's patches: {error}") from error

    def starts(self, shape: Shape) -> list[Shape]:
        """First voxels of the patches that cover a volume at least as large as one patch."""
        rows = []
        for size, patch in zip(shape, self.patch, strict=True):
            step = max(1, int(patch * (1 - self.overlap)))
            rows.append([*range(0, size - patch, step), size - patch])
        return list(product(*rows))

    def weights(self) -> torch.Tensor:
        """How much each voxel of a patch counts, float32 ``(z, y, x)``, all above 0."""
        weight = torch.ones(self.patch)
        if self.weighting == "gaussian":
            for axis, size in enumerate(self.patch):
                from_middle = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
                along = torch.exp(from_middle.square() / (-2 * (size / 8) ** 2))
                weight *= along.view([-1 if axis == i else 1 for i in range(3)])
            # No voxel may count nothing: in a corner of the volume there is only one patch.
            weight.clamp_(min=1e-3)
        return weight


def predict_volume(
    volume: CTVolume,
    model: Model,
    recipe: VolumeRecipe,
    device: Device,
    flips: str = "none",
    window: Window | None = None,
    wanted: Wanted = _CLASSES,
) -> Steps[Prediction]:
    """Classify every voxel of ``volume``; one step is a batch of patches.

    ``window`` is what the model's card says where it is not given. Probabilities, not classes, are
    brought back to the volume's grid. What else is ``wanted`` is found on the recipe's
    grid, of the probabilities averaged over patches.

    Raises
    ------
    InputError
        If the volume has no axial plane to speak of.
    ResourceError
        If memory ran out on the CPU too.
    ModelError
        If the network failed on its input, or the card's patches cannot be used.
    """
    check_axial(volume)
    used, axes = window or Window.of(model), FLIP_AXES[flips]
    warnings: list[str] = []
    runner = start(lambda on: PatchRunner(model, on, axes, used), device, warnings)
    yield Progress(0, 1, "preparing the volume")
    prepared = recipe.prepare(volume.hu, volume.geometry.spacing_mm)
    probabilities, runner = yield from slide(prepared.array, runner, warnings)
    yield Progress(0, len(probabilities), "bringing the result to the grid of the volume")
    unsure = likely = None
    # First: what comes next uses the probabilities up.
    if wanted.likely:
        likely = likelihood_of_volume(probabilities, lambda one: recipe.restore(one, prepared))
    if wanted.unsure:
        found = entropy_of_volume(probabilities).astype(np.float32)
        unsure = recipe.restore(found, prepared).round().astype(np.uint8)
    classes = yield from _to_classes(probabilities, recipe, prepared)
    return Prediction(classes, runner.device, tuple(warnings), unsure, likely)


class PatchRunner(Runner):
    """The network on its device, and the patches it takes."""

    def __init__(
        self, model: Model, device: Device, flips: tuple[tuple[int, ...], ...], window: Window
    ) -> None:
        voxels = int(np.prod(window.patch)) * len(flips)
        batch = max(1, VOXELS_PER_STEP[device.kind] // voxels)
        order = torch.channels_last_3d if device.kind == "cuda" else torch.contiguous_format
        super().__init__(model, device, flips, batch, order)
        self.window = window

    def __call__(self, patches: torch.Tensor) -> torch.Tensor:
        """``(n, z, y, x)`` to mean probabilities ``(n, classes, z, y, x)``, on the device."""
        with repeatable():
            return self.probabilities(patches[:, None]).div_(len(self.flips))

    def on(self, device: Device) -> PatchRunner:
        """The same on another device."""
        return PatchRunner(self.model, device, self.flips, self.window)


def slide(
    array: NDArray[np.float32], runner: PatchRunner, warnings: list[str]
) -> Steps[tuple[NDArray[np.floating], PatchRunner]]:
    """Probabilities ``(classes, z, y, x)`` of a prepared volume ``(z, y, x)``.

    Returns the runner as well: another one, on the CPU, where memory ran out on the way, which
    adds to ``warnings``. The result is float32, float16 above `FLOAT32_LIMIT`.

    Raises
    ------
    ModelError, ResourceError
        As `predict_volume`.
    """
    window = runner.window
    padded, inside = _pad(array, window.patch)
    starts = window.starts(padded.shape)
    sums = _Sums(padded.shape, window, runner.device)
    total, done = len(starts), 0
    runner.batch = min(runner.batch, total)
    yield Progress(0, total, f"segmenting on {runner.device.title}")
    while done < total:
        boxes = [_box(start, window.patch) for start in starts[done : done + runner.batch]]
        try:
            probabilities = runner(torch.from_numpy(np.stack([padded[box] for box in boxes])))
            sums.add(probabilities, boxes)
        except FAILURES as error:
            runner = runner.after(error, warnings)
            if stopped_working(error):
                # What was on the card went with it.
                return (yield from slide(array, runner, warnings))
            continue
        done += len(boxes)
        yield Progress(done, total, f"segmenting on {runner.device.title}")
    try:
        mean = sums.mean()
    except FAILURES as error:
        # A card that fails says so when it is next asked.
        return (yield from slide(array, runner.after(error, warnings), warnings))
    return mean[(slice(None), *inside)], runner


class _Sums:
    """Weighted sums of probabilities, on the graphics card where they fit well, else in memory."""

    def __init__(self, shape: Shape, window: Window, device: Device) -> None:
        classes, voxels = len(NetworkClass), int(np.prod(shape))
        dtype = np.float32 if 4 * classes * voxels <= FLOAT32_LIMIT else np.float16
        need = (np.dtype(dtype).itemsize * classes + 4) * voxels
        # NumPy: it says that memory ran out by a MemoryError.
        self.total = torch.from_numpy(np.zeros((classes, *shape), dtype))
        self.weight = torch.from_numpy(np.zeros(shape, np.float32))
        self.weights = window.weights()
        if device.kind == "cuda" and need < torch.cuda.mem_get_info(device.name)[0] / 4:
            self._move(device.name)

    def add(self, probabilities: torch.Tensor, boxes: list[tuple[slice, ...]]) -> None:
        """Add patches ``(n, classes, z, y, x)`` where they lie."""
        if self.total.device.type != "cpu" and probabilities.device != self.total.device:
            self._move(str(probabilities.device))
        # All that can run out of memory comes first: a batch is added whole or not at all.
        weighted = (probabilities * self.weights.to(probabilities.device)).to(self.total)
        for patch, box in zip(weighted, boxes, strict=True):
            self.total[(slice(None), *box)] += patch
            self.weight[box] += self.weights

    def mean(self) -> NDArray[np.floating]:
        """Probabilities ``(classes, z, y, x)``; the sums are used up."""
        mean: NDArray[np.floating] = self.total.div_(self.weight).cpu().numpy()
        return mean

    def _move(self, where: str) -> None:
        self.total, self.weight = self.total.to(where), self.weight.to(where)
        self.weights = self.weights.to(where)


def _to_classes(
    probabilities: NDArray[np.floating], recipe: VolumeRecipe, prepared: Prepared
) -> Steps[NDArray[np.uint8]]:
    """`decide` in the original grid, some slices at a time: a whole volume of floats is large."""
    background, lung, ggo, consolidation = probabilities
    maps = (
        background,
        lung,
        ggo.astype(np.float32) + consolidation,
        consolidation.astype(np.float32) - ggo,
    )
    slabs = [recipe.restore_slabs(one, prepared) for one in maps]
    classes = np.empty(prepared.original_shape, np.uint8)
    total = len(classes)
    for first in range(0, total, SLICES_PER_STEP):
        slices = slice(first, first + SLICES_PER_STEP)
        best, share, lesions, solid = (one[slices] for one in slabs)
        here = classes[slices]
        here[...] = share > best
        np.maximum(best, share, out=best)
        lesion = lesions > best
        here[lesion] = NetworkClass.GGO
        here[lesion & (solid > 0)] = NetworkClass.CONSOLIDATION
        yield Progress(
            min(total, first + SLICES_PER_STEP),
            total,
            "bringing the result to the grid of the volume",
        )
    return classes


def _given(card: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: card[key] for key in ("patch", "overlap", "weighting") if key in card}
    if "patch" in given:
        given["patch"] = tuple(given["patch"])
    return given


def _pad(array: NDArray[np.float32], patch: Shape) -> tuple[NDArray[np.float32], list[slice]]:
    """At least as large as a patch, air around it, and where the array lies in it."""
    missing = [max(0, p - n) for p, n in zip(patch, array.shape, strict=True)]
    inside = [slice(m // 2, m // 2 + n) for m, n in zip(missing, array.shape, strict=True)]
    if any(missing):
        # Recipes map HU to anything, but never turn them round: the least value is air.
        around = [(m // 2, m - m // 2) for m in missing]
        array = np.pad(array, around, constant_values=array.min())
    return array, inside


def _box(start: Shape, patch: Shape) -> tuple[slice, ...]:
    return tuple(slice(first, first + n) for first, n in zip(start, patch, strict=True))
