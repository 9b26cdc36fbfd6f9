"""What a map of uncertainty says of a case: by slice, by region, and how much there is to gain.

Maps of a store's cases are kept in ``uncertainty/`` by the model that made them, so that nobody
computes them twice. That folder may be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.cases.records import Score
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.labels import LESION_LABELS, LUNG_LABELS
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.fractions import read_fractions
from napari_covseg.io.write import write_fractions
from napari_covseg.quantify.divisions import equal_cuts, part_of_each
from napari_covseg.quantify.profile import LungProfile
from napari_covseg.quantify.volumes import coarse_sides

FOLDER = "uncertainty"
THIRDS = ("lower", "middle", "upper")
REGIONS = tuple(f"{side} {third}" for side in ("left", "right") for third in THIRDS)
"""Thirds of equal lung volume of each side, the patient's left and right."""
_ONE = 255.0


@dataclass(frozen=True, eq=False)
class CaseUncertainty:
    """The uncertainty of a case, added up.

    An uncertainty of 1 in 1 ml, or of 0.5 in 2 ml, is 1 ml here.

    Parameters
    ----------
    by_slice_ml
        Of each axial slice, canonical z.
    by_region
        Of each ml of lung in each of `REGIONS`, a mean; 0 where there is no lung.
    lesions
        The share of each region's lung that was predicted as lesion, 0 to 1.
    """

    by_slice_ml: NDArray[np.float64]
    by_region: Mapping[str, float]
    lesions: Mapping[str, float]

    @property
    def total_ml(self) -> float:
        """What correcting the case is expected to bring: its total token entropy.

        The sum, not the mean (Settles and Craven 2008): a case with much in doubt teaches more than
        one with little, however sure the model is of the rest.
        """
        return float(self.by_slice_ml.sum())

    @property
    def most(self) -> int | None:
        """The slice that is most uncertain, None if none is."""
        return int(self.by_slice_ml.argmax()) if self.by_slice_ml.any() else None

    def score(self, case: str, model: str) -> Score:
        """What the queue needs: value, slice, and features that keep alike cases apart."""
        return Score(
            case=case,
            model=model,
            value=self.total_ml,
            slice=self.most,
            features=(*self.lesions.values(), *self.by_region.values()),
            detail={
                "uncertain_ml": round(self.total_ml, 3),
                "uncertainty": {name: round(value, 4) for name, value in self.by_region.items()},
                "lesions": {name: round(value, 4) for name, value in self.lesions.items()},
            },
        )


def case_uncertainty(unsure: NDArray[np.uint8], labels: LabelMap) -> CaseUncertainty:
    """Add up a map of uncertainty, with the labels that the same model predicted.

    Parameters
    ----------
    unsure
        uint8 ``(z, y, x)``, 255 for 1, of `napari_covseg.workflows.segment.segment`.
    labels
        On the same grid.
    """
    array, voxel_ml = labels.labels, labels.geometry.voxel_ml
    grid, sides = coarse_sides(labels)
    cuts = equal_cuts(LungProfile.of(array).along_z, len(THIRDS))
    thirds = part_of_each(len(array), cuts)
    by_slice = np.zeros(len(array))
    # By side (0: no lung anywhere) and third: uncertainty, lung, lesion.
    sums = np.zeros((3, len(THIRDS), 3))
    for z, plane in enumerate(array):
        if not (unsure[z].any() or plane.any()):
            continue
        side = grid.slice_of(sides, z).ravel()
        weights = unsure[z].ravel(), np.isin(plane, LUNG_LABELS), np.isin(plane, LESION_LABELS)
        found = [np.bincount(side, weights=one.ravel(), minlength=3)[:3] for one in weights]
        by_slice[z] = found[0].sum() * voxel_ml / _ONE
        sums[:, thirds[z]] += np.stack(found, axis=-1)
    unsure_sum, lung, lesion = sums[1:].reshape(-1, 3).T
    full = np.maximum(lung, 1)
    return CaseUncertainty(
        by_slice,
        dict(zip(REGIONS, (unsure_sum / _ONE / full * (lung > 0)).tolist(), strict=True)),
        dict(zip(REGIONS, (lesion / full).tolist(), strict=True)),
    )


def map_path(store: CaseStore, case: str, model: str) -> Path:
    """Where the map of a case under a model (its SHA-256) lies, once there is one."""
    return store.folder / FOLDER / model[:12] / f"{case}.nii.gz"


def keep_map(
    store: CaseStore, case: str, model: str, unsure: NDArray[np.uint8], labels: LabelMap
) -> None:
    """Keep a map; ``labels`` lie on its grid.

    Raises
    ------
    ResourceError, InputError
        If the disk is full or the store may not be written to.
    """
    path = map_path(store, case, model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{FOLDER}: cannot be made in the store ({error.strerror})") from None
    write_fractions(unsure, labels, path)


def uncertainty_map(store: CaseStore, case: str, model: str) -> NDArray[np.uint8] | None:
    """The map of a case under a model, uint8 ``(z, y, x)`` with 255 for 1.

    None if there is none, or it is damaged: it can be computed again.

    Raises
    ------
    InputError
        If there is no such case.
    """
    grid, path = store.case(case).geometry, map_path(store, case, model)
    if path.is_file():
        with suppress(InputError):
            return read_fractions(path, grid)
    return None
