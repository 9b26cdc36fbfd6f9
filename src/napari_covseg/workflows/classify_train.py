"""Train and measure classifiers of pictures on the features of a frozen network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.workflows.classify_images import Labelled, parted, read_labelled
from napari_covseg.workflows.classify_train_files import card_of, write_training
from napari_covseg.workflows.classify_train_request import (
    ClassifyTrainRequest,
    ClassifyTrainResult,
)

if TYPE_CHECKING:
    from napari_covseg.models.classifier_heads import Head, LayersHead
    from napari_covseg.models.image_classifier import ImageClassifier, References
    from napari_covseg.models.kernel_head import KernelHead
    from napari_covseg.training.classifiers import Ensemble
    from napari_covseg.training.image_features import FeatureSource

_FAR = 0.99
_COMPARED = 1000


def classify_train(request: ClassifyTrainRequest) -> Steps[ClassifyTrainResult]:
    """Measure every classifier on held-out pictures, and write the best with its card.

    Writes ``NAME.json``, ``NAME.safetensors``, perhaps ``NAME.skops``, and beside them
    ``table.csv``, ``figures.json``, ``calibration.png`` and ``risk_coverage.png``. What is kept was
    trained on all pictures but those of the split ``held_out``, of a split called test, and of
    groups that these hold.

    Raises
    ------
    InputError
        If labels or pictures are not usable: said before features are computed.
    UsageError, ModelError
        If a choice is unknown, or weights or a package are missing: likewise.
    """
    if request.fine_tune is not None:
        from napari_covseg.workflows.classify_finetune import fine_tuned

        return (yield from fine_tuned(request, request.fine_tune))
    from napari_covseg.training.classifiers import train_ensemble
    from napari_covseg.training.image_evaluation import evaluate, judged
    from napari_covseg.training.image_features import features_of

    yield Progress(0, 1, "reading the labels")
    images, positive = read_labelled(request)
    source = _source(request)
    data = yield from parted(images, positive, request)
    features = yield from features_of(data.paths, source, data.hashes)
    images, kept, runs = data.images, data.kept, _runs(request)
    found, ensembles = [], []
    for name in request.classifiers:
        if not request.held_out:
            steps = evaluate(
                *(name, features, images.codes, images.groups, data.parts, positive),
                *(runs, request.seed, request.pca),
            )
            found.append((yield from steps))
        ensembles.append(
            (
                yield from train_ensemble(
                    *(name, features[kept], images.codes[kept], data.groups_of(kept)),
                    *(runs, request.seed, request.pca),
                )
            )
        )
        if request.held_out:
            # What is measured is what is kept: it need not be trained twice.
            places = data.parts[0].held_out
            said = ensembles[-1].probabilities(features[places])
            found.append(judged(name, said, images.codes, places, positive))
    best = int(np.argmin([_log_loss(one, images.codes[kept]) for one in ensembles]))
    chosen, ensemble = request.classifiers[best], ensembles[best]
    yield Progress(0, 1, "writing the classifier")
    training = {"classifier": chosen, "runs": runs, "pca": request.pca}
    card = card_of(request, data, found, training)
    classifier = _classifier(request, data, source, features, chosen, ensemble, card)
    path = write_training(request, classifier, found)
    return ClassifyTrainResult(path, chosen, tuple(found), images.warnings)


def _source(request: ClassifyTrainRequest) -> FeatureSource:
    from napari_covseg.models.device import choose_device
    from napari_covseg.models.feature_extractors import EXTRACTORS
    from napari_covseg.preprocess.pictures import PictureRecipe
    from napari_covseg.training.classifiers import build_classifier
    from napari_covseg.training.image_features import FeatureSource
    from napari_covseg.training.twin_features import extractor_for_training
    from napari_covseg.workflows.segment import make_folder

    if not request.classifiers:
        raise UsageError("expected at least one classifier")
    for name in request.classifiers:
        build_classifier(name)
    try:
        size = EXTRACTORS[request.features].size if request.features in EXTRACTORS else 1
        recipe = PictureRecipe(size, request.keep, request.clahe)
    except ValueError:
        raise UsageError(f"keep must be above 0 and at most 1, got {request.keep}") from None
    extractor = extractor_for_training(request.features, request.weights)
    make_folder(request.output)
    device = choose_device(request.device)
    return FeatureSource(extractor, recipe, device, not request.whole, request.cache)


def _runs(request: ClassifyTrainRequest) -> int:
    from napari_covseg.training.classifiers import POOLED_RUNS, WHOLE_RUNS

    return request.runs or (WHOLE_RUNS if request.whole else POOLED_RUNS)


def _log_loss(ensemble: Ensemble, codes: NDArray[np.int32]) -> float:
    """Of the pictures that were judged out of bag; endless without any."""
    judged = ~np.isnan(ensemble.out_of_bag[:, 0])
    chance = ensemble.out_of_bag[judged, codes[judged]]
    return float(-np.log(np.clip(chance, 1e-6, 1)).mean()) if len(chance) else float("inf")


def _classifier(
    request: ClassifyTrainRequest,
    data: Labelled,
    source: FeatureSource,
    features: NDArray[np.float32],
    chosen: str,
    ensemble: Ensemble,
    card: dict[str, Any],
) -> ImageClassifier:
    from napari_covseg.models.image_classifier import ImageClassifier

    mine = features[data.kept]
    references = references_of(mine, data)
    head, explain, agreement = _heads(chosen, ensemble, mine, request.seed)
    card = {
        **card,
        "heat_maps_agree": agreement,
        "far_above": far_above(references.features),
    }
    return ImageClassifier(
        name=request.name,
        version="1",
        sha256="",
        classes=data.images.classes,
        positive=request.positive or None,
        recipe=source.recipe,
        extractor=source.extractor,
        pooled=source.pooled,
        head=head,
        explain=explain,
        threshold=ensemble.threshold,
        references=references,
        card=card,
    )


def _heads(
    chosen: str, ensemble: Ensemble, features: NDArray[np.float32], seed: int
) -> tuple[Head, LayersHead | KernelHead, float]:
    """What answers, what heat maps are made with, and how often both name the same class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    from napari_covseg.models.classifier_heads import MembersHead, layers_of
    from napari_covseg.models.kernel_head import KernelHead

    if isinstance(ensemble.head, KernelHead):
        return ensemble.head, ensemble.head, 1.0
    if chosen == "neural_network":
        layers = layers_of(ensemble.members)
        return layers, layers, 1.0
    head = MembersHead(ensemble.members)
    said = head.probabilities(features).mean(axis=0).argmax(axis=1)
    if len(np.unique(said)) < said.max() + 1 or len(np.unique(said)) < 2:
        raise UsageError(f"{chosen} names only some of the classes; use another classifier")
    linear = Pipeline(
        [("scale", StandardScaler()), ("classify", LogisticRegression(C=0.01, max_iter=500))]
    ).fit(features, said)
    explain = layers_of([linear])
    same = explain.probabilities(features)[0].argmax(axis=1) == said
    return head, explain, float(same.mean())


def references_of(features: NDArray[np.float32], data: Labelled) -> References:
    """Features ``(n, d)`` of the pictures that are kept, with their names and labels."""
    from napari_covseg.models.image_classifier import References

    kept = data.images.subset(data.kept)
    return References.of(features, kept.names, tuple(one.label for one in kept))


def far_above(features: NDArray[np.float32]) -> float:
    """The distance to the nearest other that 99 % of the training pictures stay below."""
    rng = np.random.default_rng(0)
    some = features[rng.permutation(len(features))[:_COMPARED]]
    squares = (some**2).sum(axis=1)
    apart = squares[:, None] + squares - 2 * (some @ some.T)
    np.fill_diagonal(apart, np.inf)
    nearest = np.sqrt(np.maximum(apart.min(axis=1), 0) / features.shape[1] / 2)
    return float(np.quantile(nearest, _FAR))
