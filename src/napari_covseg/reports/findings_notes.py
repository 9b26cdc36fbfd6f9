"""The choices behind the figures, for the report's footnote; limits come from the code itself."""

from __future__ import annotations

from collections.abc import Iterator

from napari_covseg.quantify import checks, density, doubt, lesions, lobes, second_opinion
from napari_covseg.quantify.case import Quantification

_BAND_NAMES = {
    "emphysema": "emphysema",
    "inflated": "inflated",
    "ground_glass": "ground glass",
    "consolidation": "consolidation",
}


def notes(result: Quantification) -> Iterator[str]:
    """One sentence or two for each kind of figure."""
    high = _hu(density.HIGH_OPACITY_HU)
    yield (
        "Lung: all voxels of the lungs, lesions included. % is 100 × volume / volume of lung of "
        "the same part. All opacities (PO): GGO, consolidation and infection of unknown class [1]."
    )
    yield f"PHO, percentage of high opacity: lesion voxels of {high} HU or more [1]."
    yield f"Density bands: {'; '.join(_bands())}. A band holds its lower limit, not its upper one."
    yield (
        "Perc15: the lowest HU with at least 15 % of the voxels at or below it [8]. LAA-950: share "
        f"below {_hu(density.EMPHYSEMA_HU)} HU [9]. Mass: sum of ml × (HU + 1000) / 1000; less "
        "than air counts as air [10]."
    )
    yield (
        "Thirds, ventral and dorsal, central and peripheral hold equal volumes of lung. Central "
        "and peripheral: the inner and the outer half by distance from the surface of the lung."
    )
    yield _lobes(result)
    yield (
        "20 regions: each lobe cut by planes into parts of equal volume; segments have no visible "
        "borders, so these are approximate in any case."
    )
    yield from _scores()
    yield (
        f"Lesion: voxels that touch by faces, edges or corners, {lesions.SMALLEST_ML:g} ml or "
        "more; smaller ones are specks."
    )
    if any(part.lesions.percent_range for part in result.parts.values()):
        yield (
            "Likely range: the figure if the model had decided more strictly and more laxly, at a "
            f"probability of {doubt.probability(doubt.SHIFT):.2f} and of "
            f"{doubt.probability(-doubt.SHIFT):.2f} in place of 0.5. {doubt.CLAIM} What was "
            "changed by hand, and slices that were reviewed, are in doubt no more."
        )
    yield (
        f"Second opinion: does not fit if less than {second_opinion.LEAST_DENSE_PERCENT:.0f} % of "
        f"the lesions are of {_hu(density.INFLATED_HU)} HU or more, more than "
        f"{second_opinion.MOST_UNLABELLED_PERCENT:.0f} % of the lungs are and are not labelled, "
        f"less than {second_opinion.LEAST_SOLID_PERCENT:.0f} % of the consolidation or more than "
        f"{second_opinion.MOST_SOLID_PERCENT:.0f} % of the GGO is of {high} HU or more."
    )
    yield (
        f"A lung with less than {100 * checks.MISSING_SHARE:.0f} % of the other's volume is "
        f"missing; lungs are cut off with more than {checks.CUT_MM2 / 100:.0f} cm² and "
        f"{100 * checks.CUT_SHARE:.0f} % of the largest slice in the first or last one. Scores "
        "need both lungs, whole."
    )
    yield SOURCES


def _bands() -> Iterator[str]:
    for name, low, high in density.BANDS:
        if low == density.HU_LOW:
            limits = f"below {_hu(high)}"
        elif high > density.HU_HIGH:
            limits = f"{_hu(low)} and more"
        else:
            limits = f"{_hu(low)} up to {_hu(high)}"
        yield f"{_BAND_NAMES[name]} {limits} HU"


def _lobes(result: Quantification) -> str:
    if result.lobes_from == "map":
        source = f" ({result.lobes_source})" if result.lobes_source else ""
        return f"Lobes: those of the lobe map{source}; what it leaves open takes the nearest lobe."
    shares = ", ".join(
        f"{lobe.name.lower().replace('_', ' ')} {value:g}"
        for lobe, value in lobes.LOBE_SHARES.items()
    )
    return (
        "Lobes: approximated by planes that give them the shares of healthy lungs "
        f"({shares} % [2]). Their volumes are not measured, and the error of scores that rest on "
        "them is not known."
    )


def _scores() -> Iterator[str]:
    yield (
        "Scores are published as visual ones; here the share of each lobe or region is measured, "
        "and any lesion voxel makes it more than none."
    )
    yield (
        "LSS [1], LHOS (of PHO) [1] and total severity score [3, 4]: 0 none, 1 up to 25 %, 2 above "
        "25 up to 50 %, 3 above 50 up to 75 %, 4 above 75 % of each lobe; 25, 50 and 75 % belong "
        "to the lower band; 0 to 20."
    )
    yield (
        "25-point score [5]: 0 none, 1 below 5 %, 2 from 5 up to 25 %, 3 above 25 and below 50 %, "
        "4 from 50 up to 75 %, 5 above 75 % of each lobe; 0 to 25."
    )
    yield (
        "CT severity score [6]: 0 none, 1 below 50 %, 2 from 50 % on in each of 20 regions; 0 to "
        "40. CO-RADS [7] is the reader's, never computed."
    )


SOURCES = (
    "[1] Chaganti, Radiol Artif Intell 2020;2:e200048. [2] Yamada, Respiration 2020;99:598. "
    "[3] Bernheim, Radiology 2020;295:200463. [4] Li, Eur Radiol 2020;30:4407. [5] Pan, Radiology "
    "2020;295:715. [6] Yang, Radiol Cardiothorac Imaging 2020;2:e200047. [7] Prokop, Radiology "
    "2020;296:E97. [8] Dirksen, AJRCCM 1999;160:1468. [9] Gevenois, AJRCCM 1996;154:187. [10] "
    "Cressoni, Crit Care 2013;17:R93."
)


def _hu(value: int) -> str:
    return f"{value}".replace("-", "−")
