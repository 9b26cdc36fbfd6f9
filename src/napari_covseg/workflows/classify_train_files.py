"""What a training of classifiers of pictures writes: the card, the model, tables and drawings."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg import __version__

if TYPE_CHECKING:
    from napari_covseg.models.image_classifier import ImageClassifier
    from napari_covseg.training.image_evaluation import Evaluation
    from napari_covseg.workflows.classify_images import Labelled
    from napari_covseg.workflows.classify_train_request import ClassifyTrainRequest

_FIGURES = ("accuracy", "f1", "recall", "precision", "specificity", "auc")


def card_of(
    request: ClassifyTrainRequest,
    data: Labelled,
    found: list[Evaluation],
    training: dict[str, Any],
) -> dict[str, Any]:
    """What is known of a training; ``training`` says how it was done."""
    how = f"split '{request.held_out}'" if request.held_out else f"{request.folds} folds by group"
    return {
        "licence": request.licence,
        "software_version": __version__,
        "training": {
            **training,
            "seed": request.seed,
            "pictures": data.images.subset(data.kept).counts(),
            "groups": len(set(data.groups_of(data.kept))),
        },
        "measured_on": how,
        "measured_pictures": sum(len(part.held_out) for part in data.parts),
        "figures": [one.to_dict() for one in found],
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("scikit-learn", "skops", "torch")}


def write_training(
    request: ClassifyTrainRequest, classifier: ImageClassifier, found: list[Evaluation]
) -> Path:
    """Write all files below the request's output; returns the card's.

    Raises
    ------
    ResourceError
        If they cannot be written.
    """
    from napari_covseg.io.atomic import atomic_file, write_json
    from napari_covseg.models.image_classifier import write_classifier
    from napari_covseg.reports.classification_figures import calibration_figure, risk_figure

    pictures = {
        "calibration.png": calibration_figure({one.name: one.calibration for one in found}),
        "risk_coverage.png": risk_figure({one.name: one.risk for one in found}),
        "table.csv": _table(found).encode(),
    }
    for name, content in pictures.items():
        with atomic_file(request.output / name) as file:
            file.write(content)
    write_json(request.output / "figures.json", {"classifiers": [one.to_dict() for one in found]})
    folder = request.output / "model"
    folder.mkdir(exist_ok=True)
    return write_classifier(folder, classifier)


def _table(found: list[Evaluation]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    columns = [f"{name}{end}" for name in _FIGURES for end in ("_mean", "_std", "_ensemble")]
    last = ["mean_entropy", "risk_coverage_area", "calibration_error"]
    writer.writerow(["classifier", "runs", "pictures", *columns, *last])
    for one in found:
        values: list[float] = []
        for name in _FIGURES:
            values += [*one.spread(name), getattr(one.ensemble, name)]
        values += [float(one.unsure.mean()), one.risk.area, one.calibration.error]
        row = [one.name, len(one.runs), len(one.places), *(f"{value:.4f}" for value in values)]
        writer.writerow(row)
    return text.getvalue()
