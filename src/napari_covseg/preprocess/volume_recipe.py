"""What is done to a CT before a network on volumes sees it, and the way back to its grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Shape
from napari_covseg.preprocess.resample import (
    Slabs,
    Spacing,
    resample_labels,
    resample_linear,
    resampled_shape,
)
from napari_covseg.preprocess.steps import (
    Clahe,
    ClipHU,
    GreyLevels,
    Resample,
    Step,
    ZScore,
    step_from_dict,
    step_to_dict,
)

KIND = "volume"


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What the network sees, float32 ``(z, y, x)``, its spacing, and the shape it came from."""

    array: NDArray[np.float32]
    spacing_mm: Spacing
    original_shape: Shape


@dataclass(frozen=True, slots=True)
class VolumeRecipe:
    """Preparation for a network on volumes: steps in the order they are done.

    Raises
    ------
    ValueError
        If there is more than one `Resample`, or `Clahe` without `GreyLevels` before it.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        kinds = [type(step) for step in self.steps]
        if kinds.count(Resample) > 1:
            raise ValueError("a recipe resamples once at most")
        if Clahe in kinds and GreyLevels not in kinds[: kinds.index(Clahe)]:
            raise ValueError("CLAHE needs grey levels: put GreyLevels before it")

    @classmethod
    def mueller2021(cls, *, clahe: bool = False) -> VolumeRecipe:
        """The preparation of Müller et al. (2021): clip, 8-bit grey, 1.58x1.58x2.70 mm, z-score.

        ``clahe`` equalises the grey levels before they are resampled (Singh & Krishna).
        """
        equalise: tuple[Step, ...] = (Clahe(),) if clahe else ()
        return cls((ClipHU(), GreyLevels(), *equalise, Resample(), ZScore()))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> VolumeRecipe:
        """The recipe that `to_dict` wrote.

        Raises
        ------
        ValueError
            If it is of another kind, or a step is not known or not usable.
        """
        if fields.get("kind") != KIND or not isinstance(fields.get("steps"), list):
            raise ValueError(f"not the recipe of a network on volumes: {dict(fields)}")
        return cls(tuple(step_from_dict(step) for step in fields["steps"]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"kind": KIND, "steps": [step_to_dict(step) for step in self.steps]}

    def prepare(self, hu: NDArray, spacing_mm: Spacing) -> Prepared:
        """All steps on Hounsfield units ``(z, y, x)``, which stay as they are.

        Memory: a float32 copy, and what is resampled; ``hu`` is let go of once it is copied.
        """
        z, y, x = hu.shape
        array = np.array(hu, np.float32)
        del hu
        for step in self.steps:
            array, spacing_mm = step.apply(array, spacing_mm)
        return Prepared(array, spacing_mm, (z, y, x))

    def prepare_labels(self, labels: NDArray, spacing_mm: Spacing) -> NDArray:
        """Labels ``(z, y, x)`` on the grid that `prepare` gives, by the greatest share."""
        z, y, x = labels.shape
        shape = (z, y, x)
        for step in self.steps:
            if isinstance(step, Resample):
                shape = resampled_shape(shape, spacing_mm, step.spacing_mm)
        return resample_labels(labels, shape)

    def restore(self, result: NDArray, prepared: Prepared) -> NDArray[np.float32]:
        """A network's probabilities ``(..., z, y, x)`` on the grid of the original, interpolated.

        Raises
        ------
        ValueError
            If the result does not lie on the prepared grid.
        """
        _check_grid(result, prepared)
        return resample_linear(result, prepared.original_shape)

    def restore_slabs(self, result: NDArray, prepared: Prepared) -> Slabs:
        """`restore` of one map ``(z, y, x)``, some slices at a time.

        Raises
        ------
        ValueError
            As `restore`.
        """
        _check_grid(result, prepared)
        return Slabs(result, prepared.original_shape)


def _check_grid(result: NDArray, prepared: Prepared) -> None:
    if result.shape[-3:] != prepared.array.shape:
        raise ValueError(f"result {result.shape} is not on the grid {prepared.array.shape}")
