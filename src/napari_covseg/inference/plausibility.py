"""Say when an input does not look like the chest CT the model was made for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.volume import CTVolume, LabelMap

SMALL_LUNGS_ML = 500.0
DENSE_LUNG_HU = -300.0
COARSE_PIXEL_MM = 2.5
THICK_SLICE_MM = 10.0
# Lung on this many mm2 of a face of the volume, or this share of its largest slice, is cut off.
CUT_MM2, CUT_SHARE = 2000.0, 0.15
PADDING_HU = -1024
UNEQUAL = 5.0
"""Air-filled lungs more unequal than this are worth a look."""
SAMPLE = 2_000_000


def check(volume: CTVolume, labels: LabelMap) -> tuple[str, ...]:
    """Warnings about input and result, plain sentences, the gravest first."""
    z_mm, y_mm, x_mm = volume.geometry.spacing_mm
    lung = labels.labels > Label.BACKGROUND.value
    areas = lung.sum(axis=(1, 2)) * (y_mm * x_mm)
    total_ml = float(areas.sum()) * z_mm / 1000
    if total_ml == 0:
        return ("No lung was found: this may not be a chest CT, or not in Hounsfield units.",)
    found: list[str] = []
    single = len(lung) == 1
    extent_mm = len(lung) * z_mm
    if single:
        found.append(
            "The input is a single slice: volumes are those of this slice, not of the lungs."
        )
    elif extent_mm < 100:
        found.append(
            f"The input covers {extent_mm:.0f} mm from head to foot, less than the lungs: "
            "volumes are those of the part covered."
        )
    elif total_ml < SMALL_LUNGS_ML:
        found.append(
            f"The lungs found hold {total_ml:.0f} ml, little for an adult: this may not be a "
            "chest CT of an adult, or lung was missed."
        )
    found += _missing_side(labels)
    found += _density(volume, lung)
    if not single and extent_mm >= 100:
        found += _cut_at_ends(areas)
    found += _cut_at_sides(volume, lung, areas)
    if max(y_mm, x_mm) > COARSE_PIXEL_MM:
        found.append(
            f"Pixels are {max(y_mm, x_mm):.1f} mm large: small lesions are missed, and edges rough."
        )
    if not single and z_mm > THICK_SLICE_MM:
        found.append(f"Slices are {z_mm:.1f} mm apart: volumes are rough.")
    return tuple(found)


def _missing_side(labels: LabelMap) -> list[str]:
    counts = np.zeros(len(Label), np.int64)
    for plane in labels.labels:
        if plane.any():
            counts += [np.count_nonzero(plane == label.value) for label in Label]
    left, right = int(counts[Label.LEFT_LUNG]), int(counts[Label.RIGHT_LUNG])
    for voxels, name in ((left, "left"), (right, "right")):
        if voxels == 0:
            return [f"No air-filled {name} lung was found: it may be opaque, absent, or missed."]
    # A label map does not say on which side its lesions are: all may be on the smaller.
    lesions = int(counts[list(LESION_LABELS)].sum())
    if max(left, right) < UNEQUAL * (min(left, right) + lesions):
        return []
    small, large = ("left", "right") if left < right else ("right", "left")
    return [
        f"The {large} lung found is {max(left, right) / min(left, right):.0f} times the {small}: "
        f"the {small} one is small or opaque, or lung was missed or put on the wrong side."
    ]


def _density(volume: CTVolume, lung: NDArray[np.bool_]) -> list[str]:
    step = max(1, round((lung.size / SAMPLE) ** (1 / 3)))
    thin = (slice(None, None, step),) * 3
    values = volume.hu[thin][lung[thin]]
    if values.size == 0:
        values = volume.hu[lung]
    median = float(np.median(values))
    if median <= DENSE_LUNG_HU:
        return []
    return [
        f"Half of what was taken for lung is denser than {median:.0f} HU: this may not be a chest "
        "CT, or not in Hounsfield units; do not rely on the result."
    ]


def _cut_at_ends(areas: NDArray[np.float64]) -> list[str]:
    limit = max(CUT_MM2, CUT_SHARE * float(areas.max()))
    ends = [name for name, area in (("top", areas[-1]), ("bottom", areas[0])) if area > limit]
    if not ends:
        return []
    where = " and the ".join(ends)
    return [f"The scan cuts the lungs off at the {where}: volumes are too small."]


def _cut_at_sides(
    volume: CTVolume, lung: NDArray[np.bool_], areas: NDArray[np.float64]
) -> list[str]:
    """Lung that reaches the edge of the picture, or of the round field of view inside it."""
    z_mm, y_mm, x_mm = volume.geometry.spacing_mm
    edge_mm2 = z_mm * (
        x_mm * int(lung[:, (0, -1), :].sum()) + y_mm * int(lung[:, :, (0, -1)].sum())
    )
    # Outside a round field of view readers put -1024: lung beside that has lost its chest wall.
    widest = int(areas.argmax())
    # Noise clips to that value too, but in single pixels.
    padding = ndimage.binary_opening(volume.hu[widest] <= PADDING_HU, iterations=3)
    rim = ndimage.binary_dilation(padding, iterations=2) & lung[widest] & ~padding
    rim_mm = float(rim.sum()) * (y_mm * x_mm) / (2 * max(y_mm, x_mm))
    wide_mm = float(np.sqrt(areas.max()))
    if edge_mm2 / z_mm / max(1, int((areas > 0).sum())) > 0.05 * wide_mm or rim_mm > 0.2 * wide_mm:
        return ["The field of view cuts the lungs off at the sides: volumes are too small."]
    return []
