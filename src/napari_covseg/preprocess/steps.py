"""The steps a `VolumeRecipe` is made of: frozen, and written with the weights.

Each takes and gives float32 ``(z, y, x)`` with its spacing ``(z, y, x)`` in mm; the input may be
changed in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_covseg.preprocess.clahe import equalise
from napari_covseg.preprocess.resample import Spacing, resample_linear, resampled_shape

Volume = NDArray[np.float32]
GREATEST_GREY = 255.0


@dataclass(frozen=True, slots=True)
class ClipHU:
    """Hounsfield units below ``low`` or above ``high`` become these.

    The default is that of Müller et al. (2021): lung is -1000 to -700, infection +50 to +100.
    """

    step: ClassVar[str] = "clip_hu"
    low: float = -1250.0
    high: float = 250.0

    def __post_init__(self) -> None:
        _check_window(self.low, self.high)

    def apply(self, array: Volume, spacing_mm: Spacing) -> tuple[Volume, Spacing]:
        """Clipped values."""
        return np.clip(array, self.low, self.high, out=array), spacing_mm


@dataclass(frozen=True, slots=True)
class GreyLevels:
    """The window ``low`` to ``high`` as whole grey levels 0 to 255.

    The window is fixed, where MIScnn takes each volume's own least and greatest value: one voxel
    of metal or padding must not change the grey of a lung.
    """

    step: ClassVar[str] = "grey_levels"
    low: float = -1250.0
    high: float = 250.0

    def __post_init__(self) -> None:
        _check_window(self.low, self.high)

    def apply(self, array: Volume, spacing_mm: Spacing) -> tuple[Volume, Spacing]:
        """Grey levels; values outside of the window become 0 or 255."""
        array -= self.low
        array *= GREATEST_GREY / (self.high - self.low)
        np.rint(array, out=array)
        return np.clip(array, 0, GREATEST_GREY, out=array), spacing_mm


@dataclass(frozen=True, slots=True)
class Clahe:
    """Contrast limited adaptive histogram equalisation of each axial slice (Singh & Krishna).

    Parameters
    ----------
    tiles
        The slice is divided into this many tiles along y and x, each with its own histogram.
    clip_limit
        Fraction of a tile's voxels that one grey level may hold: higher is more contrast.
    bins
        Grey levels that a histogram tells apart.
    """

    step: ClassVar[str] = "clahe"
    tiles: int = 8
    clip_limit: float = 0.01
    bins: int = 256

    def __post_init__(self) -> None:
        if self.tiles < 1 or self.bins < 2 or not 0 < self.clip_limit <= 1:
            raise ValueError(f"not a usable step: {self}")

    def apply(self, array: Volume, spacing_mm: Spacing) -> tuple[Volume, Spacing]:
        """Grey levels 0 to 255 (not whole)."""
        for plane in array:
            plane[...] = equalise(plane, self.tiles, self.clip_limit, self.bins)
        return array, spacing_mm


@dataclass(frozen=True, slots=True)
class Resample:
    """Linear interpolation to voxels of ``spacing_mm`` ``(z, y, x)``, as near as whole voxels come.

    A single slice stays one: there is nothing to interpolate along z.
    """

    step: ClassVar[str] = "resample"
    spacing_mm: Spacing = (2.70, 1.58, 1.58)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spacing_mm", tuple(float(mm) for mm in self.spacing_mm))
        if len(self.spacing_mm) != 3 or not all(0 < mm < np.inf for mm in self.spacing_mm):
            raise ValueError(f"not a usable step: {self}")

    def apply(self, array: Volume, spacing_mm: Spacing) -> tuple[Volume, Spacing]:
        """The resampled volume and the spacing it really has."""
        z, y, x = array.shape
        shape = resampled_shape((z, y, x), spacing_mm, self.spacing_mm)
        dz, dy, dx = (mm * n / m for mm, n, m in zip(spacing_mm, array.shape, shape, strict=True))
        return resample_linear(array, shape), (dz, dy, dx)


@dataclass(frozen=True, slots=True)
class ZScore:
    """``(value - mean) / std``, by the volume's own mean and deviation where none are given.

    A volume's own depend on how much air is in the picture; fixed ones do not.
    """

    step: ClassVar[str] = "z_score"
    mean: float | None = None
    std: float | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None) or (self.std is not None and self.std <= 0):
            raise ValueError(f"not a usable step: {self}")

    def apply(self, array: Volume, spacing_mm: Spacing) -> tuple[Volume, Spacing]:
        """Values of mean 0 and deviation 1; a constant volume becomes 0."""
        if self.mean is None or self.std is None:
            mean = float(array.mean(dtype=np.float64))
            std = _deviation(array, mean)
        else:
            mean, std = self.mean, self.std
        array -= mean
        array /= std if std > 0 else 1.0
        return array, spacing_mm


Step = ClipHU | GreyLevels | Clahe | Resample | ZScore
STEPS: Mapping[str, type[Step]] = {
    kind.step: kind for kind in (ClipHU, GreyLevels, Clahe, Resample, ZScore)
}
"""Steps by the name a model's card gives them."""


def step_to_dict(step: Step) -> dict[str, Any]:
    """Plain values, for JSON: the step's name and its settings."""
    return {"step": step.step, **asdict(step)}


def step_from_dict(fields: Mapping[str, Any]) -> Step:
    """The step that `step_to_dict` wrote.

    Raises
    ------
    ValueError
        If the step or one of its settings is not known, or a setting is not usable.
    """
    settings = dict(fields)
    name = settings.pop("step", None)
    if name not in STEPS:
        raise ValueError(f"step {name!r} is not known (known: {', '.join(STEPS)})")
    try:
        return STEPS[name](**settings)
    except TypeError as error:
        raise ValueError(f"step {name!r}: {error}") from None


def _deviation(array: Volume, mean: float) -> float:
    """Plane by plane: numpy's own makes a volume of float64."""
    squares = (np.square(np.subtract(plane, mean, dtype=np.float64)).sum() for plane in array)
    return math.sqrt(math.fsum(squares) / array.size)


def _check_window(low: float, high: float) -> None:
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"not a usable window: {low} to {high}")
