"""How far the surfaces of two masks lie apart, in millimetres: numpy and scipy.

A voxel is on a mask's surface if one of its neighbours across a face is known not to belong to
the mask. What lies beyond the image, or is ignored, is not known: where a mask ends there it was
cut, and the cut is no surface. So a single slice is measured in its plane, as it should be.

Each surface voxel counts as one, whatever its size, as in Seidlitz et al. 2022 and MONAI.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import LUNG_LABELS
from napari_covseg.metrics.overlap import CLASSES, EvaluatedClass

Mask = NDArray[np.bool_]
Box = tuple[slice, ...]

_SLACK_MM = 1e-4
"""Spacings are float32 in many files: five voxels of 0.4 mm must not be farther than 2 mm."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """From each surface voxel of one mask to the nearest of the other, in mm.

    Infinite where the other mask has no surface; an array is empty where its own has none.
    """

    from_prediction: NDArray[np.float64]
    from_reference: NDArray[np.float64]

    @property
    def both_empty(self) -> bool:
        """Whether neither mask has a surface, so that no distance is defined."""
        return self.from_prediction.size + self.from_reference.size == 0

    def hausdorff_mm(self, percentile: float = 95) -> float:
        """The larger of the two directions' percentiles (Huttenlocher et al. 1993; as MONAI).

        100 is the Hausdorff distance itself. NaN if neither mask has a surface, infinite if only
        one has.
        """
        if self.both_empty:
            return float("nan")
        both = (self.from_prediction, self.from_reference)
        if not all(distances.size for distances in both):
            return float("inf")
        return max(float(np.percentile(distances, percentile)) for distances in both)

    def dice(self, tolerance_mm: float) -> float:
        """Normalised surface Dice: the share of both surfaces within the tolerance of the other.

        Nikolov et al. 2021 (the measure), Seidlitz et al. 2022 (counted in voxels). NaN if
        neither mask has a surface, 0 if only one has.
        """
        if self.both_empty:
            return float("nan")
        both = np.concatenate([self.from_prediction, self.from_reference])
        return float(np.mean(both <= tolerance_mm + _SLACK_MM))


def surface_distances(
    prediction: Mask,
    reference: Mask,
    spacing_mm: Sequence[float],
    known: Mask | None = None,
) -> SurfaceDistances:
    """Distances between the surfaces of two masks, exact and Euclidean.

    Only the bounding box of both masks is worked on.

    Parameters
    ----------
    prediction, reference
        Masks of one shape, of any number of dimensions.
    spacing_mm
        Distance between voxel centres along each axis of the arrays.
    known
        Where both masks are known; elsewhere neither counts, and nothing borders on it. None:
        everywhere. A surface hidden there is not found, so that distances to it are too long.

    Raises
    ------
    ValueError
        If shapes differ, or the spacings are not as many as the axes, or not positive.
    """
    shapes = {mask.shape for mask in (prediction, reference, known) if mask is not None}
    if len(shapes) > 1:
        raise ValueError(f"shapes differ: {sorted(shapes)}")
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (prediction.ndim,) or not (spacing > 0).all():
        raise ValueError(f"expected {prediction.ndim} positive spacings, got {spacing_mm}")
    box = _box_of_both(prediction, reference)
    if box is None:
        return SurfaceDistances(np.empty(0), np.empty(0))
    predicted, expected = prediction[box], reference[box]
    everywhere = np.ones_like(predicted) if known is None else known[box]
    ours, theirs = (_surface(mask & everywhere, everywhere) for mask in (predicted, expected))
    return SurfaceDistances(_nearest(ours, theirs, spacing), _nearest(theirs, ours, spacing))


def class_distances(
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    spacing_mm: Sequence[float],
    classes: Iterable[EvaluatedClass] = CLASSES,
) -> Iterator[tuple[str, SurfaceDistances]]:
    """The name and the `surface_distances` of each class, one after the other.

    Parameters
    ----------
    prediction, reference
        Label maps (`Label`), one shape. Voxels leave a class as in `overlap.count_classes`.
    spacing_mm
        Distance between voxel centres along each axis of the arrays.
    classes
        Which classes.
    """
    anything = np.isin(np.arange(256), LUNG_LABELS)
    box = _box_of_both(anything[prediction], anything[reference])
    if box is not None:
        prediction, reference = prediction[box], reference[box]
    for one in classes:
        inside, known = one.is_inside, one.is_known
        yield (
            one.name,
            surface_distances(
                inside[prediction],
                inside[reference],
                spacing_mm,
                known[prediction] & known[reference],
            ),
        )


def _box_of_both(first: Mask, second: Mask) -> Box | None:
    """The box of both masks and one voxel around it, within the array; None if both are empty."""
    box: list[slice] = []
    for axis in range(first.ndim):
        # Each axis looks only at what the axes before it have left.
        within = tuple(box)
        others = tuple(other for other in range(first.ndim) if other != axis)
        used = first[within].any(axis=others) | second[within].any(axis=others)
        places = np.flatnonzero(used)
        if not places.size:
            return None
        box.append(slice(max(int(places[0]) - 1, 0), int(places[-1]) + 2))
    return tuple(box)


def _surface(mask: Mask, known: Mask) -> Mask:
    """Voxels of the mask with a face towards a known voxel outside it."""
    outside = known & ~mask
    touched = np.zeros_like(mask)
    for axis in range(mask.ndim):
        before = (slice(None),) * axis
        first, last = (*before, slice(1, None)), (*before, slice(None, -1))
        touched[first] |= outside[last]
        touched[last] |= outside[first]
    touched &= mask
    return touched


def _nearest(surface: Mask, other: Mask, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """From each voxel of a surface to the nearest of the other, in C order."""
    # Distances between points take far less memory and time than a transform of the whole box.
    from scipy.spatial import KDTree

    apart = ~other[surface]
    distances = np.zeros(apart.size)
    if not other.any():
        distances[:] = np.inf
    elif apart.any():
        # Where the surfaces coincide, as good ones mostly do, nothing needs to be asked.
        tree = KDTree(_points(other, spacing), leafsize=32, balanced_tree=False)
        distances[apart] = tree.query(_points(surface & ~other, spacing))[0]
    return distances


def _points(mask: Mask, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions of a mask's voxels in mm, shape ``(n, dimensions)``, in C order."""
    flat = np.flatnonzero(mask)
    return np.stack(np.unravel_index(flat, mask.shape), axis=1) * spacing
