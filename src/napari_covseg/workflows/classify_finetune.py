"""Train a network on labelled pictures end to end, measure it, and write it as a classifier."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.workflows.classify_images import Labelled, parted, read_labelled
from napari_covseg.workflows.classify_train import far_above, references_of
from napari_covseg.workflows.classify_train_files import card_of, write_training
from napari_covseg.workflows.classify_train_request import (
    ClassifyTrainRequest,
    ClassifyTrainResult,
)

if TYPE_CHECKING:
    from napari_covseg.models.device import Device
    from napari_covseg.preprocess.pictures import PictureRecipe
    from napari_covseg.training.image_evaluation import Evaluation
    from napari_covseg.training.image_finetune import FineTuned
    from napari_covseg.training.image_finetune_settings import FineTuneSettings

NAME = "fine_tuned"
STATES = "training_state"
"""Folder below the output that unfinished trainings are kept in; removed when all is written."""


def fine_tuned(
    request: ClassifyTrainRequest, settings: FineTuneSettings
) -> Steps[ClassifyTrainResult]:
    """As `classify_train`, with a network that is itself trained.

    With folds there is a training for each and one on all pictures. An answer is unsure above an
    entropy that a fifth of the held-out answers exceed. Stopped, it goes on where it was when it is
    asked for the same again, with the same output.

    Raises
    ------
    InputError, UsageError, ModelError
        As of `classify_train`, before the first training.
    """
    from napari_covseg.models.device import choose_device
    from napari_covseg.preprocess.pictures import PictureRecipe
    from napari_covseg.workflows.segment import make_folder

    yield Progress(0, 1, "reading the labels")
    images, positive = read_labelled(request)
    try:
        recipe = PictureRecipe(settings.size, request.keep, request.clahe)
    except ValueError:
        raise UsageError(f"keep must be above 0 and at most 1, got {request.keep}") from None
    device = choose_device(request.device)
    make_folder(request.output)
    data = yield from parted(images, positive, request)
    work = _Work(request, replace(settings, seed=request.seed), data, recipe, device)
    said = []
    if not request.held_out:
        for number, part in enumerate(data.parts):
            fold = yield from work.train(part.train, f"fold {number + 1} of {len(data.parts)}")
            said.append((yield from work.answers(fold, part.held_out))[0])
    final = yield from work.train(data.kept, "all pictures" if said else "the network")
    if request.held_out:
        said = [(yield from work.answers(final, data.parts[0].held_out))[0]]
    return (yield from _finish(work, final, said))


class _Work:
    """Trainings and answers with one choice of everything."""

    def __init__(
        self,
        request: ClassifyTrainRequest,
        settings: FineTuneSettings,
        data: Labelled,
        recipe: PictureRecipe,
        device: Device,
    ) -> None:
        self.request, self.settings, self.data = request, settings, data
        self.recipe, self.device = recipe, device

    @property
    def states(self) -> Path:
        return self.request.output / STATES

    def train(self, places: NDArray[np.intp], title: str) -> Steps[FineTuned]:
        from napari_covseg.training.image_finetune import fine_tune

        images = self.data.images
        steps = fine_tune(
            [self.data.paths[i] for i in places],
            images.codes[places],
            self.data.groups_of(places),
            self.recipe,
            self.settings,
            self.device,
            self.states / f"{title.replace(' ', '_')}.state",
        )
        return (yield from _titled(steps, title))

    def answers(
        self, trained: FineTuned, places: NDArray[np.intp]
    ) -> Steps[tuple[NDArray[np.float64], NDArray[np.float32]]]:
        """What each head says, ``(heads, n, classes)``, and the features ``(n, 320)``."""
        from napari_covseg.training.image_features import FeatureSource, features_of

        source = FeatureSource(trained.extractor, self.recipe, self.device)
        paths, hashes = self.data.paths, self.data.hashes
        features = yield from features_of(
            [paths[i] for i in places], source, [hashes[i] for i in places]
        )
        return trained.head.probabilities(features), features


def _titled(steps: Steps[FineTuned], title: str) -> Steps[FineTuned]:
    """The same steps, told with what they are of."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: FineTuned = end.value
            return result
        yield replace(step, message=f"{title}: {step.message}")


def _finish(
    work: _Work, final: FineTuned, said: list[NDArray[np.float64]]
) -> Steps[ClassifyTrainResult]:
    import shutil

    from napari_covseg.models.image_classifier import ImageClassifier
    from napari_covseg.training.classifiers import unsure_threshold
    from napari_covseg.training.image_evaluation import judged

    request, data = work.request, work.data
    each = np.concatenate(said, axis=1)
    places = np.concatenate([part.held_out for part in data.parts])
    found: Evaluation = judged(NAME, each, data.images.codes, places, data.positive)
    _, features = yield from work.answers(final, data.kept)
    references = references_of(features, data)
    training = {"classifier": NAME, "runs": work.settings.heads, **asdict(work.settings)}
    card = {
        **card_of(request, data, [found], training),
        "heat_maps_agree": 1.0,
        "far_above": far_above(references.features),
    }
    classifier = ImageClassifier(
        name=request.name,
        version="1",
        sha256="",
        classes=data.images.classes,
        positive=request.positive or None,
        recipe=work.recipe,
        extractor=final.extractor,
        pooled=True,
        head=final.head,
        explain=final.head,
        threshold=unsure_threshold(each.mean(axis=0)),
        references=references,
        card=card,
    )
    yield Progress(0, 1, "writing the classifier")
    path = write_training(request, classifier, [found])
    shutil.rmtree(work.states, ignore_errors=True)
    return ClassifyTrainResult(path, NAME, (found,), data.images.warnings)
