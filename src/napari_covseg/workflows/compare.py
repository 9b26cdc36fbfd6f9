"""Compare two models on the same references: paired, class by class, over patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from napari_covseg import __version__
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Steps
from napari_covseg.metrics.overlap import CLASSES
from napari_covseg.metrics.paired import PairedDifference, paired_difference
from napari_covseg.workflows.evaluate import EvaluateSettings, evaluate, write_figures
from napari_covseg.workflows.scores import FIGURES, Evaluation, finite

COMPARED = tuple(f for f in FIGURES if f not in ("volume_error_ml", "volume_error_percent"))
"""Errors with a sign are left out: neither sign is better."""
_LOWER_IS_BETTER = ("hd95_mm", "absolute_volume_error_ml")


@dataclass(frozen=True)
class ComparedModel:
    """A folder of a model's label maps, and what their numbers mean (None: found out)."""

    folder: Path
    label_map: Mapping[int, Label] | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two evaluations against the same references; differences are second minus first."""

    names: tuple[str, str]
    first: Evaluation
    second: Evaluation

    @property
    def exit_code(self) -> int:
        """The worst of the cases' errors; 0 if there was none."""
        return max(self.first.exit_code, self.second.exit_code)

    def difference(self, name: str, figure: str) -> PairedDifference:
        """A class's figure, one of `COMPARED`."""
        return paired_difference(
            self.first.values(name, figure),
            self.second.values(name, figure),
            self.first.patients,
            lower_is_better=figure in _LOWER_IS_BETTER,
        )

    def to_json(self) -> dict[str, Any]:
        """All of it but who the patients are; NaN and infinity as None."""
        models = {
            key: {"name": name, **_of_model(result)}
            for key, name, result in zip(
                ("first", "second"), self.names, (self.first, self.second), strict=True
            )
        }
        differences = {
            one.name: {figure: asdict(self.difference(one.name, figure)) for figure in COMPARED}
            for one in CLASSES
        }
        content = {
            "version": __version__,
            "surface_tolerance_mm": self.first.surface_tolerance_mm,
            **models,
            "differences": differences,
        }
        return finite(content)  # type: ignore[no-any-return]


def compare(
    first: ComparedModel,
    second: ComparedModel,
    references: Path,
    settings: EvaluateSettings | None = None,
) -> Steps[Comparison]:
    """Evaluate both models and pair their cases; what a case needs is as in `evaluate`.

    Parameters
    ----------
    first, second
        The models' label maps, each a folder.
    references
        The folder of references.
    settings
        As for `evaluate`, with the models' own label maps in place of the predictions'.

    Raises
    ------
    InputError
        If a folder or the patients' file cannot be read, or no case was scored for both models.
    """
    settings = settings or EvaluateSettings()
    results = []
    for model in (first, second):
        own = replace(settings, prediction_label_map=model.label_map)
        results.append((yield from evaluate(model.folder, references, own)))
    scored = [{score.case for score in result.scores} for result in results]
    if not scored[0] & scored[1]:
        raise InputError(_why_no_pair(first, second, results))
    return Comparison((first.folder.name, second.folder.name), *results)


def write_comparison(result: Comparison, path: Path) -> Path:
    """Write `Comparison.to_json`; makes the folder.

    Raises
    ------
    InputError, ResourceError
        If it cannot be written.
    """
    return write_figures(result.to_json(), path)


def _of_model(result: Evaluation) -> dict[str, Any]:
    content = result.to_json()
    return {key: content[key] for key in ("summary", "errors", "without_prediction")}


def _why_no_pair(first: ComparedModel, second: ComparedModel, results: list[Evaluation]) -> str:
    line = f"{first.folder.name}, {second.folder.name}: no case could be scored for both models"
    for result in results:
        for case, error in result.errors.items():
            return f"{line}; {case}: {error}"
    return f"{line}; expected label files of the same cases in both folders"
