"""What `evaluate` finds: the figures of each case and class, and their means over patients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from napari_covseg import __version__
from napari_covseg.domain.errors import CovsegError
from napari_covseg.metrics.overlap import CLASSES, Counts
from napari_covseg.metrics.summary import mean_over_patients

FIGURES = (
    *("dice", "iou", "sensitivity", "specificity", "precision", "accuracy"),
    *("hd95_mm", "surface_dice"),
    *("volume_error_ml", "absolute_volume_error_ml", "volume_error_percent"),
)
"""What is averaged over patients; `docs/concepts/metrics.md` defines each."""


@dataclass(frozen=True, slots=True)
class SurfaceFigures:
    """95 % Hausdorff distance in mm and normalised surface Dice of one class of a case."""

    hd95_mm: float
    dice: float


@dataclass(frozen=True, eq=False)
class CaseScores:
    """What was counted for a case; None for a class of which its reference says nothing.

    ``surfaces`` lacks what was not measured.
    """

    case: str
    counts: Mapping[str, Counts | None]
    voxel_ml: float
    warnings: tuple[str, ...] = ()
    surfaces: Mapping[str, SurfaceFigures] = field(default_factory=dict)

    def figures(self, name: str) -> dict[str, float] | None:
        """`FIGURES` and volumes of a class, NaN where undefined; a distance may be infinite."""
        counts = self.counts[name]
        if counts is None:
            return None
        error_ml = (counts.predicted - counts.reference) * self.voxel_ml
        reference_ml = counts.reference * self.voxel_ml
        surface = self.surfaces.get(name, SurfaceFigures(math.nan, math.nan))
        return {
            "dice": counts.dice,
            "iou": counts.iou,
            "sensitivity": counts.sensitivity,
            "specificity": counts.specificity,
            "precision": counts.precision,
            "accuracy": counts.accuracy,
            "hd95_mm": surface.hd95_mm,
            "surface_dice": surface.dice,
            "reference_ml": reference_ml,
            "predicted_ml": counts.predicted * self.voxel_ml,
            "volume_error_ml": error_ml,
            "absolute_volume_error_ml": abs(error_ml),
            "volume_error_percent": 100 * error_ml / reference_ml if reference_ml else math.nan,
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The outcome: scores by case, errors by case, and the cases that only one folder has.

    ``surface_tolerance_mm`` is None if surfaces were not measured.
    """

    scores: tuple[CaseScores, ...]
    patients: Mapping[str, str]
    errors: Mapping[str, CovsegError] = field(default_factory=dict)
    without_prediction: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()
    surface_tolerance_mm: float | None = None

    @property
    def exit_code(self) -> int:
        """The worst of the cases' errors; 0 if there was none."""
        return max((error.exit_code for error in self.errors.values()), default=0)

    def values(self, name: str, figure: str) -> dict[str, float]:
        """Case to value of a class's figure, for the cases whose reference knows the class."""
        found = ((score.case, score.figures(name)) for score in self.scores)
        return {case: figures[figure] for case, figures in found if figures is not None}

    def summary(self) -> dict[str, dict[str, Any]]:
        """For each class, figures over patients, with the pooled Dice and how many had a value."""
        return {one.name: self._summary_of(one.name) for one in CLASSES}

    def to_json(self) -> dict[str, Any]:
        """All of it but who the patients are; NaN and infinity as None."""
        cases = [
            {
                "case": score.case,
                "classes": {one.name: score.figures(one.name) for one in CLASSES},
                "warnings": list(score.warnings),
            }
            for score in self.scores
        ]
        content = {
            "version": __version__,
            "surface_tolerance_mm": self.surface_tolerance_mm,
            "summary": self.summary(),
            "cases": cases,
            "errors": [{"case": case, "error": str(e)} for case, e in self.errors.items()],
            "without_prediction": list(self.without_prediction),
            "without_reference": list(self.without_reference),
        }
        return finite(content)  # type: ignore[no-any-return]

    def _summary_of(self, name: str) -> dict[str, Any]:
        counted = [c for c in (score.counts[name] for score in self.scores) if c is not None]
        return {
            **{
                figure: asdict(mean_over_patients(self.values(name, figure), self.patients))
                for figure in FIGURES
            },
            "pooled_dice": sum(counted, Counts(0, 0, 0)).dice,
            "cases_both_empty": sum(counts.both_empty for counts in counted),
            "cases_infinite_distance": sum(map(math.isinf, self.values(name, "hd95_mm").values())),
            "cases_without_reference": len(self.scores) - len(counted),
        }


def finite(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
