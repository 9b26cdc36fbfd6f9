"""Volumes and percentages of a label map as the findings of a DICOM structured report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from napari_covseg.domain.labels import Label
from napari_covseg.io.dicom_codes import (
    ABNORMAL_STRUCTURE,
    ANATOMICAL_STRUCTURE,
    CONSOLIDATION,
    GROUND_GLASS,
    LUNG,
    MILLILITER,
    OPACITY,
    PERCENT,
    PERCENT_OF_LUNG,
    VOLUME,
)
from napari_covseg.io.dicom_sr import Finding, Measured, Side
from napari_covseg.quantify.volumes import Measurements, SideMeasurements

DEFINITIONS = (
    "Lung volumes include the lesions in them; percentages are of that lung's volume, or of both. "
    "A lesion counts for the lung it lies in. All lesions are ground glass, consolidation and "
    "infection of unknown class."
)
NO_VOLUMES = "The slice has no thickness, so that volumes in ml are not known."
_DIGITS = 7
_LUNGS = {Label.LEFT_LUNG, Label.RIGHT_LUNG, Label.LUNG}


def findings_of(
    measured: Measurements, present: set[Label], *, volumes: bool = True
) -> list[Finding]:
    """What a label map holds: lungs, each kind of lesion, and all lesions together.

    ``present`` are its labels. Without lungs there is nothing to be a percentage of and no side,
    so only the lesions' volumes are told; a lung that is not there has no volume. ``volumes`` is
    false where a voxel's volume is not known: then only percentages are told.
    """
    sides: dict[Side, SideMeasurements] = {"both": measured.both}
    if present & _LUNGS:
        sides |= {"left": measured.left, "right": measured.right}
    found = [*_lungs(sides, present), *_lesions(sides, present)]
    if not volumes:
        found = [
            replace(one, measured=tuple(m for m in one.measured if m.unit is not MILLILITER))
            for one in found
        ]
    return [one for one in found if one.measured]


def _lungs(sides: dict[Side, SideMeasurements], present: set[Label]) -> Iterator[Finding]:
    if not present & _LUNGS:
        return
    whole = None if present & {Label.LEFT_LUNG, Label.RIGHT_LUNG} else Label.LUNG
    wanted: tuple[tuple[str, Side, Label | None], ...] = (
        ("Left lung", "left", Label.LEFT_LUNG),
        ("Right lung", "right", Label.RIGHT_LUNG),
        ("Lungs", "both", whole),
    )
    for title, side, label in wanted:
        if volume := sides[side].lung_ml:
            measured = (Measured(VOLUME, _rounded(volume), MILLILITER, side),)
            yield Finding(title, ANATOMICAL_STRUCTURE, LUNG, measured, side, label)


def _lesions(sides: dict[Side, SideMeasurements], present: set[Label]) -> Iterator[Finding]:
    def finding(title: str, kind: str, label: Label | None) -> Finding:
        term = {"ggo": GROUND_GLASS, "consolidation": CONSOLIDATION}.get(kind, OPACITY)
        volumes = tuple(
            Measured(VOLUME, _rounded(getattr(of, f"{kind}_ml")), MILLILITER, side)
            for side, of in sides.items()
        )
        shares = tuple(
            Measured(PERCENT_OF_LUNG, _rounded(percent), PERCENT, side)
            for side, of in sides.items()
            if len(sides) > 1 and (percent := getattr(of, f"{kind}_percent")) is not None
        )
        return Finding(title, ABNORMAL_STRUCTURE, term, (*volumes, *shares), label=label)

    yield finding("Ground-glass opacity", "ggo", Label.GGO)
    yield finding("Consolidation", "consolidation", Label.CONSOLIDATION)
    alone = present & {Label.GGO, Label.CONSOLIDATION, Label.INFECTION} == {Label.INFECTION}
    yield finding("All lesions", "lesions", Label.INFECTION if alone else None)


def _rounded(value: float) -> float:
    """To what is meant: a decimal string of DICOM has 16 characters."""
    return float(f"{value:.{_DIGITS}g}")
