"""Everything that is measured of one case, in one pass over its label map and CT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.lobes import LobeMap
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.quantify.checks import Completeness, completeness, label_warnings
from napari_covseg.quantify.density import Density, histogram
from napari_covseg.quantify.doubt import Doubt
from napari_covseg.quantify.figures import LOBES, PARTS, TWENTY, RegionFigures, region_figures
from napari_covseg.quantify.lesions import LesionMeter, Lesions
from napari_covseg.quantify.lobes import misfit
from napari_covseg.quantify.profile import LungProfile
from napari_covseg.quantify.regions import Regions
from napari_covseg.quantify.second_opinion import SecondOpinion, second_opinion
from napari_covseg.quantify.severity import Score, lobe_scores, region_score
from napari_covseg.quantify.tally import CONSOLIDATION, GGO, HEALTHY, Counter, Tally


class _Gridded(Protocol):
    @property
    def geometry(self) -> Geometry: ...


OnGrid = TypeVar("OnGrid", bound=_Gridded)

SLICES_PER_STEP = 16


@dataclass(frozen=True, eq=False)
class Quantification:
    """What was measured of one case; None stands for what does not exist or cannot be known.

    ``parts`` are the lungs and their divisions by name (`figures.PARTS`), ``lobes`` the five lobes
    and ``regions`` the 20 regions of the CT severity score, empty where they cannot be given.
    ``lobes_from`` says where lobes come from: ``map``, ``approximate`` or empty; ``lobes_source``
    is the file or the network behind a map. ``density`` is
    that of the lungs that are there (``both``, ``right``, ``left``) and of both lungs' tissue by
    class (``lesions``, ``ggo``, ``consolidation``); ``histogram`` is the lower edges (HU) and voxel
    counts of both lungs' histogram; both are None without a CT. ``warnings`` are plain sentences.
    """

    case: str
    parts: Mapping[str, RegionFigures]
    lobes: Mapping[str, RegionFigures]
    lobes_from: str
    lobes_source: str
    regions: Mapping[str, RegionFigures]
    scores: Mapping[str, Score]
    lesions: Lesions
    density: Mapping[str, Density] | None
    histogram: tuple[list[int], list[int]] | None
    second_opinion: SecondOpinion | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; no NaN."""
        return asdict(self)


def quantify(
    labels: LabelMap,
    volume: CTVolume | None = None,
    lobes: LobeMap | None = None,
    doubt: Doubt | None = None,
    *,
    spacing_known: bool = True,
) -> Steps[Quantification]:
    """Measure a case.

    What lies on another grid than the labels is not used, and a warning says so: nothing is
    resampled here.

    Parameters
    ----------
    labels
        The label map, as segmented or corrected.
    volume
        Its CT, for everything about density.
    lobes
        Its lobes. Without them they are approximated (`approximate_lobes`).
    doubt
        How sure the model was, for the ranges in which figures likely lie.
    spacing_known
        Whether the size of a voxel is known. If not, nothing is given in ml or g.
    """
    warnings: list[str] = [*labels.warnings]
    volume = _on_grid(volume, labels, "CT", "nothing about density is given", warnings)
    warnings += volume.warnings if volume is not None else ()
    lobes = _on_grid(lobes, labels, "lobe map", "lobes are approximated", warnings)
    doubt = _on_grid(doubt, labels, "map of probabilities", "no likely range is given", warnings)
    yield Progress(0, 1, "dividing the lungs")
    profile = LungProfile.of(labels.labels)
    lobes = _usable(lobes, labels, warnings)
    regions = Regions.of(labels, lobes, profile)
    counter, meter = Counter(volume, doubt), LesionMeter(labels, profile.lesions, volume)
    slices = labels.geometry.shape[0]
    for z in range(slices):
        if z % SLICES_PER_STEP == 0:
            yield Progress(z, slices, "measuring")
        voxels = regions.voxels(z)
        if voxels is not None:
            counter.add(z, voxels)
            meter.add(z, voxels)
    voxel_ml = labels.geometry.voxel_ml if spacing_known else None
    tally = counter.tally()
    whole = completeness(tally, profile, labels, volume)
    found = meter.lesions(voxel_ml, with_lobes=lobes is not None or whole.whole)
    warnings += label_warnings(profile, voxel_ml)
    warnings += _result_warnings(whole, found, spacing_known)
    yield Progress(slices, slices, "measuring")
    return _collect(labels.case, tally, whole, found, lobes, doubt, voxel_ml, tuple(warnings))


def _collect(
    case: str,
    tally: Tally,
    whole: Completeness,
    lesions: Lesions,
    lobes: LobeMap | None,
    doubt: Doubt | None,
    voxel_ml: float | None,
    warnings: tuple[str, ...],
) -> Quantification:
    sure = doubt is not None and doubt.knows_classes

    def figures(parts: Mapping[str, Mapping[str, int]]) -> dict[str, RegionFigures]:
        return region_figures(tally, parts, voxel_ml, classes_sure=sure)

    parts = {name: part for name, part in PARTS.items() if _is_given(name, part, whole)}
    by_lobe = figures(LOBES) if lobes is not None or whole.whole else {}
    regions = figures(TWENTY) if whole.whole else {}
    present = {"left": whole.left, "right": whole.right}
    opinion = second_opinion(tally)
    scores = lobe_scores(by_lobe, lobes is None, whole.why_not_whole)
    scores["ct_severity_score"] = region_score(regions, whole.why_not_whole)
    return Quantification(
        case=case,
        parts=figures(parts),
        lobes=by_lobe,
        lobes_from=("approximate" if lobes is None else "map") if by_lobe else "",
        lobes_source=lobes.source if lobes is not None and by_lobe else "",
        regions=regions,
        scores=scores,
        lesions=lesions,
        density=None
        if tally.hu is None
        else {
            name: Density.of(counts, voxel_ml)
            for name, counts in _tissues(tally.hu).items()
            if present.get(name, True)
        },
        histogram=None if tally.hu is None else histogram(tally.hu.sum(axis=(0, 1))),
        second_opinion=opinion,
        warnings=(*warnings, *(opinion.disagreements if opinion else ())),
    )


def _tissues(hu: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Voxel counts by HU of each kind of tissue whose density is given."""
    tissue = hu.sum(axis=0)
    return {
        "both": tissue.sum(axis=0),
        "right": hu[1].sum(axis=0),
        "left": hu[0].sum(axis=0),
        "lesions": tissue[HEALTHY + 1 :].sum(axis=0),
        "ggo": tissue[GGO],
        "consolidation": tissue[CONSOLIDATION],
    }


def _is_given(name: str, part: Mapping[str, int], whole: Completeness) -> bool:
    """Not the parts of a lung that is missing, nor parts of equal volume of lungs cut off."""
    present = (whole.left, whole.right)
    if "side" in part and not present[part["side"]]:
        return False
    return not whole.cut or name in ("both", "left", "right")


def _on_grid(
    given: OnGrid | None, labels: LabelMap, what: str, so: str, warnings: list[str]
) -> OnGrid | None:
    if given is None or given.geometry.same_as(labels.geometry):
        return given
    warnings.append(
        f"The {what} ({_size(given.geometry)}) is not on the grid of the label map "
        f"({_size(labels.geometry)}): it was not used, so {so}."
    )
    return None


def _size(geometry: Geometry) -> str:
    z, y, x = geometry.shape
    z_mm, y_mm, x_mm = geometry.spacing_mm
    return f"{x} x {y} x {z} voxels of {x_mm:.3g} x {y_mm:.3g} x {z_mm:.3g} mm"


def _usable(lobes: LobeMap | None, labels: LabelMap, warnings: list[str]) -> LobeMap | None:
    """The lobe map if it covers the lungs and has left and right where the labels have them."""
    if lobes is None:
        return None
    why = misfit(lobes, labels)
    if not why:
        warnings.extend(lobes.warnings)
        return lobes
    warnings.append(
        f"The lobe map does not fit the lungs, it {why}: it was not used, and lobes are "
        "approximated."
    )
    return None


def _result_warnings(whole: Completeness, lesions: Lesions, spacing_known: bool) -> list[str]:
    found = []
    if whole.why_not_whole:
        why = whole.why_not_whole
        so = "volumes are of the part in view" if whole.cut else "its figures are left out"
        if not whole.left and not whole.right:
            so = "there are no percentages"
        found.append(
            f"{why[0].upper()}{why[1:]}: {so}, and scores and approximate lobes are not given."
        )
        if whole.cut and not (whole.left and whole.right):
            cut = " and the ".join(whole.cut)
            found.append(f"The image cuts the lungs off at the {cut}.")
    if lesions.touching_edge:
        many = lesions.touching_edge
        touch = "1 lesion touches" if many == 1 else f"{many} lesions touch"
        found.append(f"{touch} the edge of the image and may go on beyond it.")
    if not spacing_known:
        found.append("The size of a voxel is not known: nothing is given in ml or g.")
    return found
