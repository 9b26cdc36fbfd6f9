"""What about the lungs and the scan makes figures wrong or missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.quantify.profile import LungProfile
from napari_covseg.quantify.tally import Tally

MISSING_SHARE = 0.03
"""A lung with less than this share of the other's volume is missing."""
CUT_MM2, CUT_SHARE = 2000.0, 0.15
"""Lungs are cut off at the top or bottom with so much of them in the first or last slice, or this
share of the largest slice, whichever is more."""
CUT_SIDE_SHARE = 0.05
"""Lungs are cut off at the sides if, over their slices, so much of their width (the square root of
the largest slice's area) lies on the edge of the picture."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """Which lungs are there, and which faces of the image cut them off."""

    left: bool
    right: bool
    cut: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether both lungs are there and not cut off: what thirds, lobes and scores need."""
        return self.left and self.right and not self.cut

    @property
    def why_not_whole(self) -> str:
        """Why thirds, approximate lobes and scores are not given; empty where they are."""
        if not self.left and not self.right:
            return "no lung was found"
        if not self.left or not self.right:
            return f"no {'right' if self.left else 'left'} lung was found"
        if self.cut:
            return f"the image cuts the lungs off at the {' and the '.join(self.cut)}"
        return ""


def completeness(tally: Tally, profile: LungProfile, geometry: Geometry) -> Completeness:
    """Look for missing lungs, and for lungs cut off by the image."""
    left, right = (int(side.sum()) for side in tally.cells)
    return Completeness(
        left=left > MISSING_SHARE * right,
        right=right > MISSING_SHARE * left,
        cut=_cut(profile, geometry),
    )


def _cut(profile: LungProfile, geometry: Geometry) -> tuple[str, ...]:
    if profile.lung == 0:
        return ()
    _, y_mm, x_mm = geometry.spacing_mm
    areas = profile.along_z * (y_mm * x_mm)
    largest = float(areas.max())
    limit = max(CUT_MM2, CUT_SHARE * largest)
    found = [name for name, area in (("top", areas[-1]), ("bottom", areas[0])) if area > limit]
    rows, columns = profile.on_sides
    edge_mm = (rows * x_mm + columns * y_mm) / int((areas > 0).sum())
    if edge_mm > CUT_SIDE_SHARE * float(np.sqrt(largest)):
        found.append("sides")
    return tuple(found)


def label_warnings(profile: LungProfile, geometry: Geometry) -> list[str]:
    """What the label map itself leaves open."""
    found = []
    ignored = int(profile.labels[Label.IGNORE])
    if ignored:
        ml = ignored * geometry.voxel_ml
        found.append(f"{ml:.0f} ml are marked as not reviewed: they count nowhere.")
    if profile.labels[Label.INFECTION]:
        found.append(
            "Some infection is of unknown class: it counts as lesion, not as GGO or consolidation."
        )
    return found
