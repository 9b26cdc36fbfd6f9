"""Two scans of one patient: what appeared, resolved, stayed and turned, and where."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import LobeMap
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.quantify.change_figures import (
    LESIONS,
    NOT_COMPARED,
    OUTSIDE,
    STATE_OF,
    JointCounter,
    JointTally,
    RegionChange,
    region_change,
    tissue_of,
)
from napari_covseg.quantify.checks import Completeness, completeness
from napari_covseg.quantify.figures import LOBES, PARTS
from napari_covseg.quantify.lesion_changes import Bodies, LesionChanges, LesionMatcher
from napari_covseg.quantify.lobes import misfit
from napari_covseg.quantify.mapping import Carrier
from napari_covseg.quantify.profile import LungProfile
from napari_covseg.quantify.regions import Regions
from napari_covseg.quantify.registration import Registration, register
from napari_covseg.quantify.registration_quality import RegistrationQuality
from napari_covseg.quantify.tally import Tally
from napari_covseg.quantify.volumes import Measurements, measure

AROUND_MM = 15.0
"""So far around the current lungs the prior's lesions are looked for."""
BREATH_PERCENT = 15.0
"""Lung volumes that differ by more are said: density and volumes depend on breath."""
LEFT_OVER_PERCENT = 5.0
"""More of the prior's lesions than this beyond the current lungs is said."""
SLICES_PER_STEP = 16


@dataclass(frozen=True, eq=False)
class Change:
    """What changed between two scans; None stands for what cannot be known.

    ``lobes_from`` says where lobes come from: ``map``, ``approximate`` or empty; ``lobes_source``
    is the file or the network behind a map.
    ``current`` and ``prior`` are each scan's volumes, measured in its own grid, whatever the
    registration; ``parts`` and ``lobes`` compare tissue with the same tissue, in the current lungs.
    ``interval_days`` is negative if the prior is the later one. ``not_compared_ml`` is current
    lung of which the prior says nothing, ``left_over_ml`` what of the prior's lesions was carried
    to places beyond the current lungs: it counts nowhere. ``map`` holds `ChangeLabel`, uint8
    ``(z, y, x)``, on the current grid. ``warnings`` are plain sentences.
    """

    case: str
    prior_case: str
    interval_days: int | None
    current: Measurements
    prior: Measurements
    registration: RegistrationQuality
    parts: Table[str, RegionChange]
    lobes: Table[str, RegionChange]
    lobes_from: str
    lobes_source: str
    lesions: LesionChanges
    not_compared_ml: float | None
    left_over_ml: float | None
    map: NDArray[np.uint8]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; no NaN, and without the map."""
        fields = {name: value for name, value in vars(self).items() if name != "map"}
        return {name: _plain(value) for name, value in fields.items()}


@dataclass(frozen=True, eq=False)
class ComparedScans:
    """A change and the registration it rests on."""

    change: Change
    registration: Registration


def compare_scans(
    current: LabelMap,
    prior: LabelMap,
    current_ct: CTVolume,
    prior_ct: CTVolume,
    *,
    lobes: LobeMap | None = None,
    deformable: bool = False,
    interval_days: int | None = None,
    spacing_known: bool = True,
) -> Steps[ComparedScans]:
    """Register the lungs of two scans and say what changed.

    Parameters
    ----------
    current, prior
        Their label maps.
    current_ct, prior_ct
        Their CTs, each on the grid of its labels.
    lobes
        The current scan's lobes; without them they are approximated (`approximate_lobes`).
    deformable
        Whether lungs are also bent onto each other.
    interval_days
        Days from prior to current, if known.
    spacing_known
        Whether the size of both scans' voxels is known. If not, nothing is given in ml.

    Raises
    ------
    InputError
        If a label map has no lung, or lies on another grid than its CT.
    """
    registration = yield from register(current, prior, current_ct, prior_ct, deformable=deformable)
    change = yield from find_change(
        current,
        prior,
        registration,
        volume=current_ct,
        lobes=lobes,
        interval_days=interval_days,
        spacing_known=spacing_known,
    )
    return ComparedScans(change, registration)


def find_change(
    current: LabelMap,
    prior: LabelMap,
    registration: Registration,
    *,
    volume: CTVolume | None = None,
    lobes: LobeMap | None = None,
    interval_days: int | None = None,
    spacing_known: bool = True,
) -> Steps[Change]:
    """What changed, given where the current scan's points were in the prior one.

    Parameters are those of `compare_scans`; ``volume`` tells lungs that a round field of view cut.
    """
    yield Progress(0, 1, "finding lesions")
    warnings = [*registration.warnings]
    profile = LungProfile.of(current.labels)
    lobes, note = _usable(lobes, current)
    warnings += note
    walk = _Walk(current, prior, registration, Regions.of(current, lobes, profile))
    slices = current.geometry.shape[0]
    for z in range(slices):
        if z % SLICES_PER_STEP == 0:
            yield Progress(z, slices, "comparing")
        walk.add(z)
    tally = walk.counter.tally()
    voxel_ml = current.geometry.voxel_ml if spacing_known else None
    whole = completeness(Tally(tally.cells, None, None, None), profile, current, volume)
    has_lobes = lobes is not None or whole.whole
    measured = measure(current), measure(prior)
    warnings += _warnings(tally, whole, measured, walk, interval_days, spacing_known)
    parts = {name: digits for name, digits in PARTS.items() if _is_given(name, digits, whole)}
    return Change(
        case=current.case,
        prior_case=prior.case,
        interval_days=interval_days,
        current=measured[0],
        prior=measured[1],
        registration=registration.quality,
        parts={name: region_change(tally, part, voxel_ml) for name, part in parts.items()},
        lobes={name: region_change(tally, part, voxel_ml) for name, part in LOBES.items()}
        if has_lobes
        else {},
        lobes_from=("approximate" if lobes is None else "map") if has_lobes else "",
        lobes_source="" if lobes is None else lobes.source,
        lesions=walk.matcher.changes(
            registration.mapping, current.geometry, spacing_known=spacing_known
        ),
        not_compared_ml=None if voxel_ml is None else tally.not_compared * voxel_ml,
        left_over_ml=None if voxel_ml is None else walk.left_over * voxel_ml,
        map=walk.map,
        warnings=tuple(warnings),
    )


class _Walk:
    """Goes through the current scan slice by slice with the prior's labels beside it."""

    def __init__(
        self, current: LabelMap, prior: LabelMap, registration: Registration, regions: Regions
    ) -> None:
        self._current, self._regions = current, regions
        self._labels = np.ascontiguousarray(prior.labels).ravel()
        self._now, before = Bodies.of(current), Bodies.of(prior)
        self._before = np.ascontiguousarray(before.numbers).ravel()
        self._carrier = Carrier(
            registration.mapping, prior.geometry, current.geometry, _around(current)
        )
        self.matcher = LesionMatcher(self._now, before)
        self.counter = JointCounter()
        self.map = np.zeros(current.geometry.shape, np.uint8)
        self.left_over = self.carried_lesions = 0

    def add(self, z: int) -> None:
        """Compare slice ``z``."""
        box = self._carrier.box
        if not box[0].start <= z < box[0].stop:
            return
        index, inside = self._carrier.nearest(z)
        carried = np.full(self._current.geometry.shape[1:], OUTSIDE, np.uint8)
        bodies = np.zeros(carried.shape, np.uint16)
        carried[box[1:]] = np.where(inside, self._labels[index], np.uint8(OUTSIDE))
        bodies[box[1:]] = self._before[index] * inside
        lesions = LESIONS[carried]
        self.carried_lesions += int(lesions.sum())
        voxels = self._regions.voxels(z)
        if voxels is None:
            self.left_over += int(lesions.sum())
            return
        at = voxels.index
        now, before = tissue_of(voxels.labels), tissue_of(carried.ravel()[at])
        self.left_over += int(lesions.sum()) - int(lesions.ravel()[at].sum())
        self.counter.add(voxels.cell, now, before)
        self.matcher.add(
            z,
            self._now.numbers[z].ravel()[at],
            bodies.ravel()[at],
            voxels.side == 0,
            before == NOT_COMPARED,
        )
        self.map[z].reshape(-1)[at] = STATE_OF[now, before]


def _around(labels: LabelMap) -> tuple[slice, slice, slice]:
    """The box of the lungs and `AROUND_MM` more."""
    lung = (labels.labels > Label.BACKGROUND.value) & (labels.labels < Label.IGNORE.value)
    sides = []
    for axis, mm in enumerate(labels.geometry.spacing_mm):
        others = tuple(a for a in range(3) if a != axis)
        where = np.flatnonzero(lung.any(axis=others))
        more = int(np.ceil(AROUND_MM / mm))
        first, last = (int(where[0]), int(where[-1])) if len(where) else (0, 0)
        sides.append(slice(max(0, first - more), min(lung.shape[axis], last + 1 + more)))
    return sides[0], sides[1], sides[2]


def _is_given(name: str, digits: Table[str, int], whole: Completeness) -> bool:
    """Not the parts of a lung that is missing, nor parts of equal volume of lungs cut off."""
    if "side" in digits and not (whole.left, whole.right)[digits["side"]]:
        return False
    return not whole.cut or name in ("both", "left", "right")


def _usable(lobes: LobeMap | None, labels: LabelMap) -> tuple[LobeMap | None, list[str]]:
    if lobes is None:
        return None, []
    on_grid = lobes.geometry.same_as(labels.geometry)
    why = misfit(lobes, labels) if on_grid else ""
    if on_grid and not why:
        return lobes, [*lobes.warnings]
    told = f"does not fit the lungs, it {why}" if why else "is not on the grid of the current scan"
    return None, [f"The lobe map {told}: it was not used, so lobes are approximated."]


def _warnings(
    tally: JointTally,
    whole: Completeness,
    measured: tuple[Measurements, Measurements],
    walk: _Walk,
    days: int | None,
    spacing_known: bool,
) -> list[str]:
    found = []
    if days is not None and days < 0:
        found.append(f"The prior was taken {-days} days after the current scan: swap them?")
    now, before = (one.both.lung_ml for one in measured)
    differs = 100.0 * (now - before) / before if before else 0.0
    if abs(differs) > BREATH_PERCENT:
        found.append(
            f"The lungs hold {abs(differs):.0f} % {'more' if differs > 0 else 'less'} than in the "
            "prior: breath differs, or lung was lost, and ground glass changes with breath."
        )
    unseen = 100.0 * tally.not_compared / max(1, tally.lung)
    if unseen >= 0.5:
        found.append(
            f"The prior says nothing about {unseen:.0f} % of the current lungs (not in its image, "
            "or not reviewed): that part is not compared."
        )
    left = 100.0 * walk.left_over / max(1, walk.carried_lesions)
    if left > LEFT_OVER_PERCENT:
        found.append(
            f"{left:.0f} % of the prior's lesions fall beyond the current lungs and count nowhere: "
            "the lungs do not fit there."
        )
    if whole.why_not_whole:
        why = whole.why_not_whole
        found.append(
            f"{why[0].upper()}{why[1:]} in the current scan: thirds and approximate lobes are not "
            "compared."
        )
    if not spacing_known:
        found.append("The size of a voxel is not known: nothing is given in ml.")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
