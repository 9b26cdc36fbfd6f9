"""How sure a model was, voxel by voxel, and what would change if its decisions were shifted.

The interval that comes of it answers "how much would the figure be if the model had decided more
strictly, or more laxly?". It is no confidence interval: it knows nothing of errors the model is
sure about, and nothing of the lungs' outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry

SHIFT = 0.25
"""The decision, at a probability of 0.5, is moved to 0.5 plus and minus this."""
_LIMITS = (0.5 + SHIFT, 0.5 - SHIFT)
UNSURE_BITS = float(-sum(p * np.log2(p) for p in _LIMITS))
"""The entropy of a yes-or-no decision at a probability of 0.25 or 0.75: 0.811 bits."""


@dataclass(frozen=True, eq=False)
class Doubt:
    """Maps of a model's probabilities, or of its entropy, on the label map's grid.

    Parameters
    ----------
    geometry
        The grid.
    lesion
        The probability of any lesion, ``(z, y, x)``: 0 to 1 in floats, 0 to 255 in uint8.
    consolidation
        The probability of consolidation, likewise; GGO has what is left of ``lesion``. Without it
        GGO and consolidation by themselves get no interval.
    entropy_bits
        In place of probabilities: the entropy of the decision lesion or not, 0 to 1 bits, likewise.

    Raises
    ------
    ValueError
        If shapes differ, or neither or both of probability and entropy are given.
    """

    geometry: Geometry
    lesion: NDArray | None = None
    consolidation: NDArray | None = None
    entropy_bits: NDArray | None = None

    def __post_init__(self) -> None:
        if (self.lesion is None) == (self.entropy_bits is None):
            raise ValueError("expected either the probability of a lesion or the entropy")
        if self.lesion is None and self.consolidation is not None:
            raise ValueError("the probability of consolidation needs that of any lesion")
        for given in (self.lesion, self.consolidation, self.entropy_bits):
            if given is not None and given.shape != self.geometry.shape:
                raise ValueError(f"a map {given.shape} does not fit the grid {self.geometry.shape}")

    @property
    def knows_classes(self) -> bool:
        """Whether it says something about GGO and consolidation each by itself."""
        return self.consolidation is not None or self.entropy_bits is not None

    def shifted(
        self, z: int, index: NDArray[np.intp], kind: int, inside: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which voxels would belong to a class by a stricter and by a laxer decision.

        The labels stay the middle: stricter keeps those labelled whose probability is 0.75 or
        more, laxer adds those not labelled whose probability is 0.25 or more. With an entropy map
        every voxel above `UNSURE_BITS` is left out, or added.

        Parameters
        ----------
        z, index
            A slice, and flat indices of voxels in it.
        kind
            0 GGO, 1 consolidation, 2 any lesion.
        inside
            Which of the voxels are labelled so.
        """
        if self.entropy_bits is not None:
            unsure = _unit(self.entropy_bits, z, index) > UNSURE_BITS
            return inside & ~unsure, inside | unsure
        assert self.lesion is not None
        likely = _unit(self.lesion, z, index)
        if kind < 2:
            if self.consolidation is None:
                return inside, inside
            solid = _unit(self.consolidation, z, index)
            likely = solid if kind == 1 else likely - solid
        strict, lax = _LIMITS
        return inside & (likely >= strict), inside | (likely >= lax)


def _unit(values: NDArray, z: int, index: NDArray[np.intp]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values[z].ravel()[index].astype(np.float32)
    if values.dtype == np.uint8:
        found /= np.float32(255)
    return found
