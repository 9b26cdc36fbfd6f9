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

from napari_covseg.domain.geometry import Affine, Geometry
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.quantify.mapping import Mapping
from napari_covseg.quantify.registration_quality import (
    RegistrationQuality,
    overlap,
    quality_of,
    said_of,
    why_not,
)
from napari_covseg.quantify.working_scan import UNMOVED, WORKING_MM, WorkingScan, working_scan

if TYPE_CHECKING:
    import SimpleITK as sitk

NEAR_MM = 20.0
"""Distances to the lungs' surface count up to this far."""
CONTROL_MM = 40.0
"""Between the control points of the B-spline."""
WORSE_DICE = 0.01
"""A later stage that loses more of the lungs' Dice than this is dropped."""
_STAGES = 5
_SAMPLED = {4: 0.5, 2: 0.1}
"""Which share of the voxels is looked at, by how much the grid is shrunk."""


@dataclass(frozen=True, eq=False)
class Registration:
    """Where the current scan's points were in the prior one; warnings are plain sentences."""

    mapping: Mapping
    quality: RegistrationQuality
    warnings: tuple[str, ...] = ()


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
    fixed = working_scan(current, current_ct, "current")
    moving = working_scan(prior, prior_ct, "prior")
    before = overlap(fixed, moving, UNMOVED).dice
    yield Progress(1, _STAGES, "laying lungs on lungs")
    rough = _by_surface(fixed, moving)
    yield Progress(2, _STAGES, "comparing densities")
    affine = _by_density(fixed, moving, rough)
    lost = (
        overlap(fixed, moving, _mapping(rough)).dice - overlap(fixed, moving, _mapping(affine)).dice
    )
    chosen = affine if lost <= WORSE_DICE else rough
    mapping, method, warnings = _mapping(chosen), "affine", []
    if deformable:
        yield Progress(3, _STAGES, "bending")
        bent = _bent(fixed, moving, chosen)
        why = why_not(fixed, moving, bent, mapping)
        if why:
            warnings.append(f"The deformable registration was dropped, since {why}.")
        else:
            mapping, method = bent, "deformable"
    yield Progress(4, _STAGES, "checking the fit")
    quality = quality_of(fixed, moving, mapping, method, before)
    if quality.verdict != "good":
        warnings.append(said_of(quality))
    yield Progress(_STAGES, _STAGES, "checking the fit")
    return Registration(mapping, quality, tuple(warnings))


def _by_surface(fixed: WorkingScan, moving: WorkingScan) -> Any:
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


def _by_density(fixed: WorkingScan, moving: WorkingScan, start: Any) -> Any:
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


def _bent(fixed: WorkingScan, moving: WorkingScan, affine: Any) -> Mapping:
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


def _distance(work: WorkingScan) -> sitk.Image:
    """Distance to the lungs' surface in mm, negative inside, up to `NEAR_MM`."""
    inside = ndimage.distance_transform_edt(work.lungs) * WORKING_MM
    outside = ndimage.distance_transform_edt(~work.lungs) * WORKING_MM
    return _image(np.clip(outside - inside, -NEAR_MM, NEAR_MM).astype(np.float32), work.grid)
