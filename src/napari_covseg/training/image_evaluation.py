"""Classifiers measured on pictures they never saw: each run, and the ensemble of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.progress import Steps
from napari_covseg.metrics.classification import (
    Calibration,
    ClassificationFigures,
    RiskCoverage,
    calibration,
    entropy,
    figures,
    risk_coverage,
)
from napari_covseg.training.classifiers import group_codes, train_ensemble


@dataclass(frozen=True, slots=True)
class Part:
    """Places that train and places that are measured, int ``(n,)`` each; no group is in both."""

    train: NDArray[np.intp]
    held_out: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one classifier reached on all held-out pictures.

    ``runs`` are the figures of each training alone, ``ensemble`` those of the mean of all;
    ``probabilities`` ``(n, classes)`` is that mean, for the pictures at ``places``; ``unsure`` its
    entropy (nats).
    """

    name: str
    runs: tuple[ClassificationFigures, ...]
    ensemble: ClassificationFigures
    places: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    unsure: NDArray[np.float64]
    risk: RiskCoverage
    calibration: Calibration

    def spread(self, figure: str) -> tuple[float, float]:
        """Mean and standard deviation (n - 1 below the line) of a figure over the runs."""
        values = [getattr(run, figure) for run in self.runs]
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = [one.name for one in fields(ClassificationFigures)]
        spread = {name: self.spread(name) for name in names}
        return {
            "classifier": self.name,
            "runs": len(self.runs),
            "pictures": len(self.places),
            "of_single_runs": {
                k: {"mean": _plain(m), "std": _plain(s)} for k, (m, s) in spread.items()
            },
            "of_ensemble": {name: _plain(getattr(self.ensemble, name)) for name in names},
            "mean_entropy": float(self.unsure.mean()),
            "risk_coverage_area": self.risk.area,
            "error_of_surest_80_percent": float(
                self.risk.risk[max(0, int(0.8 * len(self.places)) - 1)]
            ),
            "calibration_error": self.calibration.error,
        }


def fold_parts(
    codes: NDArray[np.int32], groups: Sequence[str], folds: int, seed: int
) -> list[Part]:
    """Folds in which groups stay whole and classes are spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found = splitter.split(np.zeros(len(codes)), codes, group_codes(groups))
    return [Part(train, held_out) for train, held_out in found]


def evaluate(
    name: str,
    features: NDArray[np.float32],
    codes: NDArray[np.int32],
    groups: Sequence[str],
    parts: Sequence[Part],
    positive: int | None,
    runs: int,
    seed: int = 0,
    pca: int = 0,
) -> Steps[Evaluation]:
    """Train on each part and measure on what it holds out; figures are over all of that together.

    A run is one training for each part: with five folds a run's figures are over all pictures, each
    judged by the fold that did not see it.
    """
    said = []
    for number, part in enumerate(parts):
        own = [groups[i] for i in part.train]
        ensemble = yield from train_ensemble(
            name, features[part.train], codes[part.train], own, runs, seed + number, pca
        )
        said.append(ensemble.probabilities(features[part.held_out]))
    places = np.concatenate([part.held_out for part in parts])
    return judged(name, np.concatenate(said, axis=1), codes, places, positive)


def judged(
    name: str,
    each: NDArray[np.float64],
    codes: NDArray[np.int32],
    places: NDArray[np.intp],
    positive: int | None,
) -> Evaluation:
    """The evaluation of what ``each`` run said, ``(runs, n, classes)``, of those at ``places``."""
    truth, mean = codes[places], each.mean(axis=0)
    unsure = entropy(mean)
    return Evaluation(
        name,
        tuple(figures(one, truth, positive) for one in each),
        figures(mean, truth, positive),
        places,
        mean,
        unsure,
        risk_coverage(mean, truth, unsure),
        calibration(mean, truth),
    )


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
