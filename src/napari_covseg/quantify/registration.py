"""Lay the lungs of a prior scan over those of the current one, and say how well they fit.

SimpleITK on grids of 2 mm: rigid, then affine on the distance to the lungs' surface, then affine
on density, and where asked for a B-spline after that. Lesions do not pull: they are painted over
with healthy lung before densities are compared. Same scans, same result: samples are taken with a
fixed seed, and sums run in one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Affine, Geometry
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.metrics.surface import surface_distances
from napari_covseg.quantify.mapping import Carrier, Mapping, carry_values

if TYPE_CHECKING:
    import SimpleITK as sitk

WORKING_MM = 2.0
MARGIN_MM = 16.0
NEAR_MM = 20.0
"""Distances to the lungs' surface count up to this far."""
CONTROL_MM = 40.0
"""Between the control points of the B-spline."""
GOOD_DICE, FAIR_DICE = 0.95, 0.90
GOOD_MM, FAIR_MM = 2.5, 5.0
WORSE_DICE = 0.01
"""A later stage that loses more of the lungs' Dice than this is dropped."""
_STAGES = 5
_SAMPLED = {4: 0.5, 2: 0.1}
"""Which share of the voxels is looked at, by how much the grid is shrunk."""
_UNMOVED = Mapping(np.eye(4))


@dataclass(frozen=True, slots=True)
class RegistrationQuality:
    """How well the lungs lie on each other, where both scans reach.

    ``lung_dice`` and ``lung_dice_before`` (by the scanner's own positions) are of both lungs with
    their lesions; ``surface_mm`` is the mean distance between their surfaces, both ways,
    ``surface_95_mm`` its 95th percentile; None where there is nothing to measure.
    ``volume_factor`` is how much larger a volume is in the prior than in the current scan.
    ``verdict`` is ``good``, ``fair`` or ``poor`` (`GOOD_DICE`, ...).
    """

    method: str
    lung_dice: float
    lung_dice_before: float
    surface_mm: float | None
    surface_95_mm: float | None
    volume_factor: float
    verdict: str


@dataclass(frozen=True, eq=False)
class Registration:
    """Where the current scan's points were in the prior one; warnings are plain sentences."""

    mapping: Mapping
    quality: RegistrationQuality
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Work:
    """A scan on its 2 mm grid along the patient's axes: lungs, and density from 0 (healthy lung)
    to 1 (soft tissue), which is also what lies outside the lungs. ``image`` is its own grid.
    """

    image: Geometry
    grid: Geometry
    lungs: NDArray[np.bool_]
    density: NDArray[np.float32]


def register(
    current: LabelMap,
    prior: LabelMap,
    current_ct: CTVolume,
    prior_ct: CTVolume,
    *,
    deformable: bool = False,
) -> Steps[Registration]:
    """Lay the prior's lungs over the current ones.

    Parameters
    ----------
    current, prior
        Label maps with lungs, each on the grid of its CT.
    current_ct, prior_ct
        The CTs.
    deformable
        Whether to bend after the affine stages.

    Raises
    ------
    InputError
        If a label map has no lung, or lies on another grid than its CT.
    """
    yield Progress(0, _STAGES, "preparing the scans")
    fixed = _prepare(current, current_ct, "current")
    moving = _prepare(prior, prior_ct, "prior")
    before = _overlap(fixed, moving, _UNMOVED).dice
    yield Progress(1, _STAGES, "laying lungs on lungs")
    rough = _by_surface(fixed, moving)
    yield Progress(2, _STAGES, "comparing densities")
    affine = _by_density(fixed, moving, rough)
    lost = (
        _overlap(fixed, moving, _mapping(rough)).dice
        - _overlap(fixed, moving, _mapping(affine)).dice
    )
    chosen = affine if lost <= WORSE_DICE else rough
    mapping, method, warnings = _mapping(chosen), "affine", []
    if deformable:
        yield Progress(3, _STAGES, "bending")
        bent = _bent(fixed, moving, chosen)
        why = _why_not(fixed, moving, bent, mapping)
        if why:
            warnings.append(f"The deformable registration was dropped, since {why}.")
        else:
            mapping, method = bent, "deformable"
    yield Progress(4, _STAGES, "checking the fit")
    quality = _quality(fixed, moving, mapping, method, before)
    if quality.verdict != "good":
        warnings.append(_said(quality))
    yield Progress(_STAGES, _STAGES, "checking the fit")
    return Registration(mapping, quality, tuple(warnings))


def _prepare(labels: LabelMap, volume: CTVolume, which: str) -> _Work:
    if not labels.geometry.same_as(volume.geometry):
        raise InputError(
            f"the {which} scan's labels are not on the grid of its CT; segment that CT, or name "
            "the right one"
        )
    lung = (labels.labels > Label.BACKGROUND.value) & (labels.labels < Label.IGNORE.value)
    if not lung.any():
        raise InputError(
            f"no lung is labelled in the {which} scan; segment it first (both lungs are what scans "
            "are laid over each other by)"
        )
    grid = _working_grid(lung, labels.geometry)
    mask = _on(lung.astype(np.float32), labels.geometry, grid, fill=0.0) >= 0.5
    sick = np.isin(labels.labels, LESION_LABELS)
    healthy = float(np.median(volume.hu[lung & ~sick])) if (lung & ~sick).any() else -850.0
    hu = _on(np.asarray(volume.hu, np.float32), labels.geometry, grid, fill=-1024.0)
    lesions = _on(sick.astype(np.float32), labels.geometry, grid, fill=0.0) > 0.0
    density = np.clip((hu - healthy) / max(1.0, -healthy), -0.2, 1.0)
    # The edges of lesions are dense too, and would still tell where they are.
    density[ndimage.binary_dilation(lesions, iterations=1)] = 0.0
    density[~mask] = 1.0
    return _Work(labels.geometry, grid, mask, density.astype(np.float32))


def _working_grid(lung: NDArray[np.bool_], geometry: Geometry) -> Geometry:
    """Along the patient's axes, around the lungs."""
    sides = [np.flatnonzero(lung.any(axis=tuple(a for a in range(3) if a != i))) for i in range(3)]
    ends = [(side[0] - 0.5, side[-1] + 0.5) for side in sides]
    corners = np.array([[x, y, z, 1.0] for z in ends[0] for y in ends[1] for x in ends[2]])
    lps = (corners @ geometry.affine.T)[:, :3]
    low, high = lps.min(axis=0) - MARGIN_MM, lps.max(axis=0) + MARGIN_MM
    x, y, z = (int(n) for n in np.ceil((high - low) / WORKING_MM))
    return Geometry.from_spacing((z, y, x), (WORKING_MM,) * 3, (low[0], low[1], low[2]))


def _on(values: NDArray, source: Geometry, target: Geometry, fill: float) -> NDArray:
    return carry_values(values, source, target, _UNMOVED, fill=fill)


def _by_surface(fixed: _Work, moving: _Work) -> Any:
    """Rigid, then affine, on the distance to the lungs' surface."""
    import SimpleITK as sitk

    one, two = _distance(fixed), _distance(moving)
    start = sitk.CenteredTransformInitializer(
        _image(fixed.lungs.astype(np.float32), fixed.grid),
        _image(moving.lungs.astype(np.float32), moving.grid),
        sitk.Euler3DTransform(),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    rigid = _run(one, two, sitk.Euler3DTransform(start), (4,), (0.0,), 4.0)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    affine.SetCenter(rigid.GetCenter())
    return _run(one, two, affine, (4, 2), (0.0, 0.0), 2.0)


def _by_density(fixed: _Work, moving: _Work, start: Any) -> Any:
    import SimpleITK as sitk

    one, two = _image(fixed.density, fixed.grid), _image(moving.density, moving.grid)
    return _run(one, two, sitk.AffineTransform(start), (4, 2), (4.0, 2.0), 1.0)


def _run(
    fixed: sitk.Image,
    moving: sitk.Image,
    transform: Any,
    shrink: tuple[int, ...],
    smooth_mm: tuple[float, ...],
    step_mm: float,
) -> Any:

    method = _method(shrink, smooth_mm)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step_mm,
        minStep=0.02,
        numberOfIterations=60,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-7,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return transform


def _method(shrink: tuple[int, ...], smooth_mm: tuple[float, ...]) -> Any:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([_SAMPLED[n] for n in shrink], seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel(list(smooth_mm))
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    # More threads add up in another order each time, and the last digits with them.
    method.SetNumberOfThreads(1)
    return method


def _bent(fixed: _Work, moving: _Work, affine: Any) -> Mapping:
    """A B-spline on density, before the affine transform."""
    import SimpleITK as sitk

    one, two = _image(fixed.density, fixed.grid), _image(moving.density, moving.grid)
    size_mm = np.array(fixed.grid.shape[::-1]) * WORKING_MM
    mesh = [max(1, round(float(mm) / CONTROL_MM)) for mm in size_mm]
    spline = sitk.BSplineTransformInitializer(one, mesh, order=3)
    method = _method((4, 2), (4.0, 2.0))
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(spline, inPlace=True)
    method.SetOptimizerAsLBFGSB(
        gradientConvergenceTolerance=1e-6, numberOfIterations=40, maximumNumberOfCorrections=5
    )
    method.Execute(one, two)
    whole = sitk.CompositeTransform([sitk.Transform(affine), sitk.Transform(spline)])
    field = sitk.GetArrayFromImage(
        sitk.TransformToDisplacementField(
            whole,
            sitk.sitkVectorFloat32,
            one.GetSize(),
            one.GetOrigin(),
            one.GetSpacing(),
            one.GetDirection(),
        )
    )
    matrix = _matrix(affine)
    by_affine = _displacement_of(matrix, fixed.grid)
    return Mapping(matrix, np.ascontiguousarray(field - by_affine, np.float32), fixed.grid)


def _displacement_of(matrix: Affine, grid: Geometry) -> NDArray[np.float32]:
    z, y, x = (np.arange(n) * WORKING_MM for n in grid.shape)
    origin = np.array(grid.origin_mm)
    lps = np.stack(np.broadcast_arrays(x, y[:, None], z[:, None, None]), axis=-1) + origin
    return np.asarray(lps @ (matrix[:3, :3] - np.eye(3)).T + matrix[:3, 3], np.float32)


def _matrix(transform: Any) -> Affine:
    """4x4 of a transform with a centre."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix


def _mapping(transform: Any) -> Mapping:
    return Mapping(_matrix(transform))


def _image(array: NDArray, grid: Geometry) -> sitk.Image:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetOrigin(grid.origin_mm)
    image.SetSpacing(grid.spacing_mm[::-1])
    return image


def _distance(work: _Work) -> sitk.Image:
    """Distance to the lungs' surface in mm, negative inside, up to `NEAR_MM`."""
    inside = ndimage.distance_transform_edt(work.lungs) * WORKING_MM
    outside = ndimage.distance_transform_edt(~work.lungs) * WORKING_MM
    return _image(np.clip(outside - inside, -NEAR_MM, NEAR_MM).astype(np.float32), work.grid)


@dataclass(frozen=True, eq=False)
class _Overlap:
    """The prior's lungs on the current working grid, and where both scans have an image."""

    carried: NDArray[np.bool_]
    both_seen: NDArray[np.bool_]
    dice: float


def _overlap(fixed: _Work, moving: _Work, mapping: Mapping) -> _Overlap:
    lungs = moving.lungs.astype(np.float32)
    carried = carry_values(lungs, moving.grid, fixed.grid, mapping, fill=0.0) >= 0.5
    seen = _inside(moving.image, fixed.grid, mapping) & _inside(fixed.image, fixed.grid, _UNMOVED)
    one, two = carried & seen, fixed.lungs & seen
    total = int(one.sum()) + int(two.sum())
    return _Overlap(carried, seen, 2.0 * int((one & two).sum()) / total if total else 0.0)


def _inside(image: Geometry, grid: Geometry, mapping: Mapping) -> NDArray[np.bool_]:
    """The voxels of ``grid`` that lie in an image."""
    carrier = Carrier(mapping, image, grid)
    return np.stack([carrier.nearest(z)[1] for z in range(grid.shape[0])])


def _why_not(fixed: _Work, moving: _Work, bent: Mapping, affine: Mapping) -> str:
    """Why a bent mapping is not to be used; empty if it is."""
    if _folds(bent, fixed):
        return "it would fold the lungs over"
    if _overlap(fixed, moving, bent).dice < _overlap(fixed, moving, affine).dice:
        return "the lungs fit better without it"
    return ""


def _folds(mapping: Mapping, fixed: _Work) -> bool:
    """Whether any of the lungs is turned inside out or pressed to less than a tenth."""
    assert mapping.field is not None
    field = mapping.field
    slopes = np.stack(
        [
            np.stack([np.gradient(field[..., i], WORKING_MM, axis=2 - j) for j in range(3)], -1)
            for i in range(3)
        ],
        axis=-2,
    )
    volumes = np.linalg.det(slopes[fixed.lungs] + mapping.matrix[:3, :3])
    return bool(volumes.min() < 0.1 * mapping.volume_factor)


def _quality(
    fixed: _Work, moving: _Work, mapping: Mapping, method: str, before: float
) -> RegistrationQuality:
    found = _overlap(fixed, moving, mapping)
    dice, spacing_mm = found.dice, fixed.grid.spacing_mm
    far = surface_distances(found.carried, fixed.lungs, spacing_mm, known=found.both_seen)
    both = np.concatenate([far.from_prediction, far.from_reference])
    measured = bool(both.size) and bool(np.isfinite(both).all())
    mean = float(both.mean()) if measured else None
    verdict = "poor"
    if mean is not None and dice >= FAIR_DICE and mean <= FAIR_MM:
        verdict = "good" if dice >= GOOD_DICE and mean <= GOOD_MM else "fair"
    return RegistrationQuality(
        method=method,
        lung_dice=dice,
        lung_dice_before=before,
        surface_mm=mean,
        surface_95_mm=float(np.percentile(both, 95)) if measured else None,
        volume_factor=mapping.volume_factor,
        verdict=verdict,
    )


def _said(quality: RegistrationQuality) -> str:
    away = "" if quality.surface_mm is None else f", surfaces {quality.surface_mm:.1f} mm apart"
    fit = f"lung Dice {quality.lung_dice:.2f}{away}"
    if quality.verdict == "poor":
        return (
            f"The lungs of the two scans do not fit ({fit}): what appeared, resolved or turned is "
            "not to be relied on. Compare the volumes of each scan instead."
        )
    return (
        f"The lungs of the two scans fit only fairly ({fit}): edges of lesions show as appeared or "
        "resolved."
    )
