"""What about the lungs and the scan makes figures wrong or missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import CTVolume, LabelMap
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
PADDING_HU, PADDED_SHARE = -1024, 0.2
"""They are too if, in their largest slice, so much of their width borders on padding: a round field
of view that left out the chest wall."""


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


def completeness(
    tally: Tally, profile: LungProfile, labels: LabelMap, volume: CTVolume | None
) -> Completeness:
    """Look for missing lungs, and for lungs cut off by the image or its field of view."""
    left, right = (int(side.sum()) for side in tally.cells)
    cut = _cut(profile, labels.geometry)
    if "sides" not in cut and volume is not None and _beside_padding(profile, labels, volume):
        cut = (*cut, "sides")
    return Completeness(
        left=left > MISSING_SHARE * right, right=right > MISSING_SHARE * left, cut=cut
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


def _beside_padding(profile: LungProfile, labels: LabelMap, volume: CTVolume) -> bool:
    if profile.lung == 0:
        return False
    _, y_mm, x_mm = labels.geometry.spacing_mm
    widest = int(profile.along_z.argmax())
    plane = labels.labels[widest]
    lung = (plane > Label.BACKGROUND.value) & (plane < Label.IGNORE.value)
    # Noise reaches that value too, but in single pixels.
    padding = ndimage.binary_opening(volume.hu[widest] <= PADDING_HU, iterations=3)
    rim = ndimage.binary_dilation(padding, iterations=2) & lung & ~padding
    rim_mm = float(rim.sum()) * (y_mm * x_mm) / (2 * max(y_mm, x_mm))
    return rim_mm > PADDED_SHARE * float(np.sqrt(profile.along_z[widest] * y_mm * x_mm))


def label_warnings(profile: LungProfile, voxel_ml: float | None) -> list[str]:
    """What the label map itself leaves open."""
    found = []
    ignored = int(profile.labels[Label.IGNORE])
    if ignored:
        much = f"{ignored} voxels" if voxel_ml is None else f"{ignored * voxel_ml:.1f} ml"
        found.append(f"{much} are marked as not reviewed: they count nowhere.")
    if profile.labels[Label.INFECTION]:
        found.append(
            "Some infection is of unknown class: it counts as lesion only, so GGO and "
            "consolidation are at least what is given."
        )
    return found
