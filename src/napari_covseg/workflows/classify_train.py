"""Train and measure classifiers of pictures on the features of a frozen network."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg import __version__
from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Progress, Steps

if TYPE_CHECKING:
    from napari_covseg.io.image_sets import ImageSet
    from napari_covseg.models.classifier_heads import Head, LayersHead
    from napari_covseg.models.image_classifier import ImageClassifier
    from napari_covseg.training.classifiers import Ensemble
    from napari_covseg.training.image_evaluation import Evaluation, Part
    from napari_covseg.training.image_features import FeatureSource

TEST = ("test", "testing")
_FAR = 0.99
_COMPARED = 1000
_FIGURES = ("accuracy", "f1", "recall", "precision", "specificity", "auc")


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


@dataclass(frozen=True, eq=False)
class ClassifyTrainResult:
    """The card of the classifier that was kept, and what each one reached."""

    card: Path
    chosen: str
    evaluations: tuple[Evaluation, ...]
    warnings: tuple[str, ...]


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
    from napari_covseg.io.image_sets import check_classes, read_image_set
    from napari_covseg.training.classifiers import train_ensemble
    from napari_covseg.training.image_evaluation import evaluate, judged
    from napari_covseg.training.image_features import features_of, hash_pictures

    yield Progress(0, 1, "reading the labels")
    images = read_image_set(request.images, request.within)
    check_classes(images, 1 if request.held_out else request.folds)
    positive = _code(images, request.positive)
    source = _source(request)
    hashes = yield from hash_pictures(images)
    images = with_copies(images, hashes)
    # Copies are one group: there may be fewer groups than it seemed.
    check_classes(images, 1 if request.held_out else request.folds)
    parts, kept = _parts(images, request)
    paths = [picture.path for picture in images]
    features = yield from features_of(paths, source, hashes)
    runs = _runs(request)
    found, ensembles = [], []
    for name in request.classifiers:
        if not request.held_out:
            steps = evaluate(
                *(name, features, images.codes, images.groups, parts, positive),
                *(runs, request.seed, request.pca),
            )
            found.append((yield from steps))
        groups = [images.groups[i] for i in kept]
        ensembles.append(
            (
                yield from train_ensemble(
                    *(name, features[kept], images.codes[kept], groups),
                    *(runs, request.seed, request.pca),
                )
            )
        )
        if request.held_out:
            # What is measured is what is kept: it need not be trained twice.
            places = parts[0].held_out
            said = ensembles[-1].probabilities(features[places])
            found.append(judged(name, said, images.codes, places, positive))
    best = int(np.argmin([_log_loss(one, images.codes[kept]) for one in ensembles]))
    chosen, ensemble = request.classifiers[best], ensembles[best]
    yield Progress(0, 1, "writing the classifier")
    card = _card(request, images, parts, kept, chosen, found, runs)
    classifier = _classifier(request, images, source, features, kept, chosen, ensemble, card)
    path = _write(request, classifier, found)
    return ClassifyTrainResult(path, chosen, tuple(found), images.warnings)


def _code(images: ImageSet, positive: str) -> int | None:
    if not positive:
        return None
    if positive not in images.classes:
        raise UsageError(f"no class '{positive}': the classes are {', '.join(images.classes)}")
    return images.classes.index(positive)


def _source(request: ClassifyTrainRequest) -> FeatureSource:
    from napari_covseg.models.device import choose_device
    from napari_covseg.models.feature_extractors import EXTRACTORS, load_extractor
    from napari_covseg.preprocess.pictures import PictureRecipe
    from napari_covseg.training.classifiers import build_classifier
    from napari_covseg.training.image_features import FeatureSource
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
    extractor = load_extractor(request.features, request.weights)
    make_folder(request.output)
    device = choose_device(request.device)
    return FeatureSource(extractor, recipe, device, not request.whole, request.cache)


def _runs(request: ClassifyTrainRequest) -> int:
    from napari_covseg.training.classifiers import POOLED_RUNS, WHOLE_RUNS

    return request.runs or (WHOLE_RUNS if request.whole else POOLED_RUNS)


def with_copies(images: ImageSet, hashes: tuple[str, ...]) -> ImageSet:
    """Copies of a picture are of one group, so that none measures what another trained."""
    root: dict[str, str] = {}

    def find(key: str) -> str:
        while root.setdefault(key, key) != key:
            key = root[key]
        return key

    keys = [f"group {group}" if group else "" for group in images.groups]
    for key, one in zip(keys, hashes, strict=True):
        if key:
            root[find(key)] = find(one)
    return replace(images, groups=tuple(find(one) for one in hashes))


def _parts(images: ImageSet, request: ClassifyTrainRequest) -> tuple[list[Part], NDArray[np.intp]]:
    """What trains and measures, and what the classifier that is kept is trained on."""
    from napari_covseg.io.image_sets import check_classes
    from napari_covseg.training.image_evaluation import Part, fold_parts

    if not request.held_out:
        parts = fold_parts(images.codes, images.groups, request.folds, request.seed)
        return parts, np.arange(len(images))
    images.of_split(request.held_out)
    is_held_out = np.array([split == request.held_out for split in images.splits])
    groups = np.array(images.groups)
    # A group, or a copy, on both sides of the split would measure what was learnt by heart.
    measure = is_held_out | np.isin(images.splits, TEST)
    train = np.flatnonzero(~measure & ~np.isin(groups, groups[measure]))
    check_classes(images.subset(train))
    return [Part(train, np.flatnonzero(is_held_out))], train


def _log_loss(ensemble: Ensemble, codes: NDArray[np.int32]) -> float:
    """Of the pictures that were judged out of bag; endless without any."""
    judged = ~np.isnan(ensemble.out_of_bag[:, 0])
    chance = ensemble.out_of_bag[judged, codes[judged]]
    return float(-np.log(np.clip(chance, 1e-6, 1)).mean()) if len(chance) else float("inf")


def _classifier(
    request: ClassifyTrainRequest,
    images: ImageSet,
    source: FeatureSource,
    features: NDArray[np.float32],
    kept: NDArray[np.intp],
    chosen: str,
    ensemble: Ensemble,
    card: dict[str, Any],
) -> ImageClassifier:
    from napari_covseg.models.image_classifier import ImageClassifier, References

    mine = features[kept]
    labels = tuple(images.classes[code] for code in images.codes[kept])
    references = References.of(mine, tuple(images.names[i] for i in kept), labels)
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
        classes=images.classes,
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
) -> tuple[Head, LayersHead, float]:
    """What answers, what heat maps are made with, and how often both name the same class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    from napari_covseg.models.classifier_heads import MembersHead, layers_of

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


def far_above(features: NDArray[np.float32]) -> float:
    """The distance to the nearest other that 99 % of the training pictures stay below."""
    rng = np.random.default_rng(0)
    some = features[rng.permutation(len(features))[:_COMPARED]]
    squares = (some**2).sum(axis=1)
    apart = squares[:, None] + squares - 2 * (some @ some.T)
    np.fill_diagonal(apart, np.inf)
    nearest = np.sqrt(np.maximum(apart.min(axis=1), 0) / features.shape[1] / 2)
    return float(np.quantile(nearest, _FAR))


def _card(
    request: ClassifyTrainRequest,
    images: ImageSet,
    parts: list[Part],
    kept: NDArray[np.intp],
    chosen: str,
    found: list[Evaluation],
    runs: int,
) -> dict[str, Any]:
    how = f"split '{request.held_out}'" if request.held_out else f"{request.folds} folds by group"
    return {
        "licence": request.licence,
        "software_version": __version__,
        "training": {
            "classifier": chosen,
            "runs": runs,
            "pca": request.pca,
            "seed": request.seed,
            "pictures": images.subset(kept).counts(),
            "groups": len({images.groups[i] for i in kept}),
        },
        "measured_on": how,
        "measured_pictures": sum(len(part.held_out) for part in parts),
        "figures": [one.to_dict() for one in found],
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("scikit-learn", "skops", "torch")}


def _write(
    request: ClassifyTrainRequest, classifier: ImageClassifier, found: list[Evaluation]
) -> Path:
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
