"""How sure a model was of each voxel, and in which range a figure likely lies because of it.

The range is what the figure would be if the model had decided more strictly, and more laxly, by the
same shift everywhere: errors of a model lean one way in a whole scan (it draws too little here, too
much there), so voxels that erred independently would give ranges far too narrow. How far to shift
was chosen on patients whom the models never saw (`SHIFT`).

What a person changed, and slices that a person reviewed, are no longer in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import LESION_LABELS, Label

SHIFT = 3.0
"""How far the decision is moved in log-odds: from a probability of 0.5 to 0.95 and to 0.05. It was
chosen so that ranges of the lungs, their parts and lobes hold what an annotator drew 4 times in 5,
by conformal risk control (Angelopoulos et al., ICLR 2024); see docs/concepts/uncertainty.md."""
CLAIM = (
    "Of patients whom the model had not seen, it held what an annotator drew about 4 times in 5."
)
"""What a range of a percentage claims, of models trained like the shipped one."""
NARROW = {
    "ct_severity_score": "The likely range of the 20 regions' score is too narrow: it held the "
    "annotator's in half of 5 patients."
}
"""Of scores whose ranges hold less than `CLAIM` says; those of the others held it in 9 of 10."""
YES = 128
"""From here on a byte says yes: 0.5, rounded."""
_IS_LESION = np.zeros(len(Label), np.bool_)
_IS_LESION[list(LESION_LABELS)] = True


@dataclass(frozen=True, eq=False)
class Doubt:
    """What a model found likely, on the label map's grid.

    Parameters
    ----------
    geometry
        The grid.
    likely
        uint8 ``(1 or 2, z, y, x)``, 255 for 1: how likely a lesion is, and how likely a lesion is
        consolidation. The model's own decisions are `YES` or more. Without the second GGO and
        consolidation by themselves get no range.
    reviewed
        Which slices a person has reviewed, ``(z,)``.
    shift
        How far the decision is moved, in log-odds.

    Raises
    ------
    ValueError
        If shapes or types do not fit.
    """

    geometry: Geometry
    likely: NDArray[np.uint8]
    reviewed: NDArray[np.bool_] | None = None
    shift: float = SHIFT

    def __post_init__(self) -> None:
        kinds, *shape = self.likely.shape
        if tuple(shape) != self.geometry.shape or kinds not in (1, 2):
            raise ValueError(
                f"maps {self.likely.shape} do not fit the grid {self.geometry.shape}: expected one "
                "or two"
            )
        if self.likely.dtype != np.uint8:
            raise ValueError(f"expected maps of bytes, got {self.likely.dtype}")
        if self.reviewed is not None and self.reviewed.shape != self.geometry.shape[:1]:
            raise ValueError("expected one mark for each slice")

    @property
    def knows_classes(self) -> bool:
        """Whether it says something about GGO and consolidation each by itself."""
        return len(self.likely) == 2

    def shifted(
        self, z: int, index: NDArray[np.intp], labels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which voxels would be GGO, consolidation, any lesion by a stricter and a laxer decision.

        Parameters
        ----------
        z, index
            A slice, and flat indices of n voxels in it.
        labels
            Their labels by now.

        Returns
        -------
        tuple[NDArray[np.bool_], NDArray[np.bool_]]
            ``(3, n)`` each. The labels lie between the two; they are both where nothing is in
            doubt, and for GGO and consolidation where the model knows nothing of these.
        """
        lesion = _IS_LESION[labels]
        now = np.stack((labels == Label.GGO.value, labels == Label.CONSOLIDATION.value, lesion))
        if self.reviewed is not None and self.reviewed[z]:
            return now, now
        sick = self.likely[0, z].ravel()[index]
        doubted = lesion == (sick >= YES)
        strict, lax = _bytes_at(self.shift), _bytes_at(-self.shift)
        fewest, most = now.copy(), now.copy()
        if self.knows_classes:
            solid = self.likely[1, z].ravel()[index]
            # What a person changed from GGO to consolidation is settled altogether.
            doubted &= ~lesion | (now[1] == (solid >= YES)) & (labels != Label.INFECTION.value)
            for kind, share in ((0, 255 - solid), (1, solid)):
                fewest[kind] &= ~doubted | (sick >= strict) & (share >= strict)
                most[kind] |= doubted & (sick >= lax) & (share >= lax)
        fewest[2] &= ~doubted | (sick >= strict)
        most[2] |= doubted & (sick >= lax)
        return fewest, most


def probability(log_odds: float) -> float:
    """0 to 1."""
    return 1 / (1 + exp(-log_odds))


def _bytes_at(log_odds: float) -> int:
    """The least byte that is no less than these log-odds; never none at all."""
    return max(1, ceil(255 * probability(log_odds)))
