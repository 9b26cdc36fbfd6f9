"""What a training of classifiers of pictures is asked for, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_covseg.training.image_evaluation import Evaluation
    from napari_covseg.training.image_finetune_settings import FineTuneSettings


@dataclass(frozen=True, slots=True)
class ClassifyTrainRequest:
    """What to train on what.

    Parameters
    ----------
    images, within
        As of `napari_covseg.io.image_sets.read_image_set`.
    output
        Folder for the classifier and its figures.
    name
        Of the classifier.
    classifiers
        Of the eight; with several the one surest out of bag (log loss) is kept.
    features, weights
        The frozen network, and the file of its ImageNet weights.
    whole
        Take the whole last map instead of its means.
    held_out
        The split that measures and never trains; empty for ``folds`` by group. Pictures of a split
        called test never train beside it either, since they are to measure later.
    folds, runs, pca, seed
        Of the cross-validation; trainings of each classifier (0: 100, or 5 with whole maps);
        numbers that features are reduced to (0: none); of all that is random.
    positive
        Class that recall, precision, specificity, F1 and AUC are about; empty for the mean of all.
    keep, clahe
        Of each side around the middle; whether contrast is equalised.
    cache
        Folder that features are kept in; None keeps none.
    device
        auto, cpu, cuda, cuda:N or mps.
    licence
        What the card says of it.
    fine_tune
        Train the network itself, end to end, in this way; features and classifiers are then its
        own. None leaves it frozen.
    """

    images: Path
    output: Path
    name: str = "classifier"
    within: str = ""
    classifiers: tuple[str, ...] = ("svm_poly",)
    features: str = "covseg"
    weights: Path | None = None
    whole: bool = False
    held_out: str = ""
    folds: int = 5
    runs: int = 0
    pca: int = 0
    seed: int = 0
    positive: str = ""
    keep: float = 1.0
    clahe: bool = False
    cache: Path | None = None
    device: str = "auto"
    licence: str = ""
    fine_tune: FineTuneSettings | None = None


@dataclass(frozen=True, eq=False)
class ClassifyTrainResult:
    """The card of the classifier that was kept, and what each one reached."""

    card: Path
    chosen: str
    evaluations: tuple[Evaluation, ...]
    warnings: tuple[str, ...]
