"""What a retraining writes down of its model: the card beside the weights, the store's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_covseg import __version__
from napari_covseg.cases.gate import Way
from napari_covseg.cases.held_out import UNLABELLED_CASES
from napari_covseg.cases.records import NewModel
from napari_covseg.cases.replayed import settings_of
from napari_covseg.models.checkpoint import Model
from napari_covseg.workflows.gate_figures import CASES, Measured
from napari_covseg.workflows.retrain_plan import Plan
from napari_covseg.workflows.train_request import TrainResult

_INHERITED = ("overlap", "weighting")
"""Fields of a card that say how a network is run, and that training does not change."""


@dataclass(frozen=True, eq=False)
class Made:
    """How a model came about, and how good it is.

    Parameters
    ----------
    training
        The training that the new weights come from.
    share, scores
        Of the new weights in the average with those it started from, and the validation Dice of
        each share that was tried.
    measured
        Its figures, patient by patient.
    replayed
        The scans of earlier trainings that were trained on again.
    """

    training: TrainResult
    share: float
    scores: Mapping[float, float | None]
    measured: Measured
    replayed: Sequence[Mapping[str, Any]]


def card_of(
    plan: Plan, start: Model, trained: Model, share: float, cases: Sequence[str]
) -> dict[str, Any]:
    """The card of ``trained`` (on ``cases``), averaged with the model it started from."""
    preset = plan.preset
    about: dict[str, Any] = {
        "version": str(plan.run),
        "licence": start.card.get("licence", ""),
        "tells_lesions_apart": trained.tells_lesions_apart,
        **{key: start.card[key] for key in _INHERITED if key in start.card},
        "training": {
            "settings": preset.to_dict(),
            "start_sha256": start.sha256,
            "share_of_new_weights": share,
            "training_cases": [*cases, *plan.replayed],
            UNLABELLED_CASES: list(plan.unlabelled),
            "distillation": plan.distillation,
            "labels_sha256": sorted(one.sha256 for one in plan.cases if one.case in cases),
            "left_out_patients": sorted(plan.division.measured_patients)
            if plan.division.way is Way.HELD_OUT
            else [],
            "code_version": __version__,
        },
    }
    if preset.dimensions == 3:
        about["patch"] = list(preset.patch)
    return about


def record_of(plan: Plan, start: Model, model: Model, made: Made) -> NewModel:
    """What is needed to train the model again, and how good it was."""
    training = set(plan.division.training)
    return NewModel(
        model.sha256,
        model.name,
        parent=start.sha256,
        trained_on={one.case: one.sha256 for one in plan.cases if one.case in training},
        settings={
            "preset": plan.preset.to_dict(),
            "share_of_new_weights": made.share,
            "validation_cases": list(plan.division.validation),
            "replayed_cases": len(plan.replayed),
            **settings_of(made.replayed),
            UNLABELLED_CASES: list(plan.unlabelled),
            "distillation": plan.distillation,
            "rule": plan.request.to_dict()["rule"],
            "run": plan.run,
            "data_labels": {
                one.case: {"version": one.version, "slices": one.to_dict()["slices"]}
                for one in plan.cases
            },
        },
        seeds={"training": plan.preset.seed, "roles": plan.request.seed},
        code_version=__version__,
        metrics={
            CASES: made.measured.to_metrics(plan.division.measured),
            "loss": made.training.fit.last.loss,
            "stopped": made.training.fit.stopped,
            "validation_dice_by_share": {str(key): value for key, value in made.scores.items()},
        },
    )
