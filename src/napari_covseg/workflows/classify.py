"""Classify a picture or a CT: probabilities, how sure, why, and what it is like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg import __version__
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.workflows.classify_settings import ClassifySettings

if TYPE_CHECKING:
    from napari_covseg.io.images import Picture
    from napari_covseg.models.device import Device
    from napari_covseg.models.image_classifier import ImageClassifier

SIMILAR = 5
NOT_A_DIAGNOSIS = "Not a diagnosis. Research use only: not a medical device."
UNSURE = "unsure: ask a second reader"


@dataclass(frozen=True, slots=True)
class SimilarCase:
    """A training picture near in features; ``distance`` is 1 for unrelated pictures, about."""

    name: str
    label: str
    distance: float


@dataclass(frozen=True, slots=True)
class SliceAnswer:
    """What was said of one axial slice: ``probabilities`` of each class, and their entropy."""

    index: int
    probabilities: tuple[float, ...]
    entropy: float


@dataclass(frozen=True, eq=False)
class Classification:
    """What a classifier says of a picture or a CT.

    Attributes
    ----------
    classes, probabilities, spread
        One of each class: its name, its probability (the mean over the ensemble, and over the
        slices of a CT), and the standard deviation over the ensemble.
    entropy, threshold
        Of the mean answer, in nats; the answer is ``unsure`` above the threshold, or where the
        picture is unlike all that the classifier was trained on.
    similar
        The nearest training pictures, nearest first; of a CT those of slice ``shown``.
    shown
        The slice that speaks most for the answer; None for a picture.
    heat
        Grad-CAM of the answer, float32 ``(y, x)`` from 0 to 1 on the picture, or on slice
        ``shown``; None if not asked for.
    grey
        What ``heat`` lies on, float32 ``(y, x)`` from 0 to 1.
    slices
        Each slice that was looked at; empty for a picture.
    """

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    spread: tuple[float, ...]
    entropy: float
    threshold: float
    unsure: bool
    similar: tuple[SimilarCase, ...]
    shown: int | None
    heat: NDArray[np.float32] | None
    grey: NDArray[np.float32]
    slices: tuple[SliceAnswer, ...]
    warnings: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def label(self) -> str:
        """The class with the greatest probability."""
        return self.classes[int(np.argmax(self.probabilities))]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without pictures."""
        return {
            "label": self.label,
            "probabilities": dict(zip(self.classes, self.probabilities, strict=True)),
            "spread": dict(zip(self.classes, self.spread, strict=True)),
            "entropy": self.entropy,
            "unsure_above": self.threshold if np.isfinite(self.threshold) else None,
            "unsure": self.unsure,
            "advice": UNSURE if self.unsure else "",
            "similar": [asdict(one) for one in self.similar],
            "slice_shown": self.shown,
            "slices": [asdict(one) for one in self.slices],
            "warnings": list(self.warnings),
            "notice": NOT_A_DIAGNOSIS,
            "provenance": self.provenance,
        }


def load_classifier(settings: ClassifySettings) -> ImageClassifier:
    """The classifier that the settings name.

    Raises
    ------
    ModelError
        If there is none or it cannot be used.
    """
    from napari_covseg.models.image_classifier import read_classifier

    return read_classifier(settings.model, Path(settings.weights) if settings.weights else None)


def read_source(path: Path) -> Picture | CTVolume:
    """A picture, or else a CT.

    Raises
    ------
    InputError
        If it is neither.
    """
    from napari_covseg.io import read_volume
    from napari_covseg.io.images import PICTURE_SUFFIXES, is_picture, read_picture

    if path.is_file() and (path.suffix.lower() in PICTURE_SUFFIXES or is_picture(path)):
        return read_picture(path)
    return read_volume(path)


def classify(
    source: Picture | CTVolume,
    settings: ClassifySettings | None = None,
    classifier: ImageClassifier | None = None,
) -> Steps[Classification]:
    """Classify a picture, or a CT by its axial slices with lung.

    ``classifier`` saves reading it again for every picture.

    Raises
    ------
    InputError
        If a CT shows no lung.
    ModelError
        If the classifier cannot be used.
    UsageError
        If the device asked for is not there.
    """
    settings = settings or ClassifySettings()
    yield Progress(0, 1, "loading the classifier")
    from napari_covseg.models.device import choose_device

    classifier = classifier or load_classifier(settings)
    device = choose_device(settings.device)
    if isinstance(source, CTVolume):
        return (yield from _classify_ct(source, settings, classifier, device))
    yield Progress(0, 1, "classifying")
    features = _features([source.grey], classifier, device)
    said = classifier.head.probabilities(features)[:, 0]
    heat = _heat(source.grey, said, classifier) if _explains(settings, classifier) else None
    warnings = (*source.warnings, *_lacks(settings, classifier))
    return _answer(said, features[0], classifier, device, source.grey, heat, warnings)


def _classify_ct(
    volume: CTVolume, settings: ClassifySettings, classifier: ImageClassifier, device: Device
) -> Steps[Classification]:
    from napari_covseg.workflows.classify_slices import lung_slices, slice_picture

    places = lung_slices(volume)
    rows, answers = [], []
    for done, index in enumerate(places):
        yield Progress(done, len(places), f"classifying slice {index + 1}")
        rows.append(_features([slice_picture(volume, index)[0]], classifier, device)[0])
        answers.append(classifier.head.probabilities(rows[-1][None])[:, 0])
    said = np.mean(answers, axis=0)
    code = int(said.mean(axis=0).argmax())
    best = int(np.argmax([answer.mean(axis=0)[code] for answer in answers]))
    grey, where = slice_picture(volume, places[best])
    heat = None
    if _explains(settings, classifier):
        yield Progress(len(places), len(places), "making the heat map")
        heat = np.zeros(volume.hu.shape[1:], np.float32)
        heat[where] = _heat(grey, said, classifier)
    whole = np.zeros(volume.hu.shape[1:], np.float32)
    whole[where] = grey
    slices = tuple(_slice(i, answer) for i, answer in zip(places, answers, strict=True))
    warnings = (*volume.warnings, *_lacks(settings, classifier))
    result = _answer(said, rows[best], classifier, device, whole, heat, warnings)
    return replace(result, shown=places[best], slices=slices)


def _explains(settings: ClassifySettings, classifier: ImageClassifier) -> bool:
    return settings.explain and classifier.extractor.has_map


def _lacks(settings: ClassifySettings, classifier: ImageClassifier) -> list[str]:
    """What this kind of classifier cannot say."""
    said = []
    if settings.explain and not classifier.extractor.has_map:
        said.append("This kind of classifier has no heat map.")
    if not np.isfinite(classifier.threshold):
        said.append("No level was set above which an answer of this classifier is unsure.")
    return said


def _slice(index: int, answer: NDArray[np.float64]) -> SliceAnswer:
    from napari_covseg.metrics.classification import entropy

    mean = answer.mean(axis=0)
    return SliceAnswer(index, tuple(map(float, mean)), float(entropy(mean[None])[0]))


def _features(
    planes: Sequence[NDArray[np.float32]], classifier: ImageClassifier, device: Device
) -> NDArray[np.float32]:
    from napari_covseg.training.image_features import FeatureSource, compute

    source = FeatureSource(classifier.extractor, classifier.recipe, device, classifier.pooled)
    return compute([classifier.recipe.apply(plane) for plane in planes], source)


def _heat(
    grey: NDArray[np.float32], said: NDArray[np.float64], classifier: ImageClassifier
) -> NDArray[np.float32]:
    from napari_covseg.inference.grad_cam import grad_cam, on_picture

    code = int(said.mean(axis=0).argmax())
    heat = grad_cam(classifier, classifier.recipe.apply(grey), code)
    return on_picture(heat, classifier, (grey.shape[0], grey.shape[1]))


def _answer(
    said: NDArray[np.float64],
    features: NDArray[np.float32],
    classifier: ImageClassifier,
    device: Device,
    grey: NDArray[np.float32],
    heat: NDArray[np.float32] | None,
    warnings: tuple[str, ...],
) -> Classification:
    """``said`` is ``(members, classes)``, ``features`` ``(d,)``."""
    from napari_covseg.metrics.classification import entropy

    mean = said.mean(axis=0)
    unsure = float(entropy(mean[None])[0])
    similar = _similar(features, classifier)
    far = bool(similar) and similar[0].distance > classifier.card.get("far_above", np.inf)
    if far:
        warnings = (*warnings, "Unlike every picture the classifier was trained on.")
    return Classification(
        classes=classifier.classes,
        probabilities=tuple(map(float, mean)),
        spread=tuple(map(float, said.std(axis=0))),
        entropy=unsure,
        threshold=classifier.threshold,
        unsure=far or unsure > classifier.threshold,
        similar=similar,
        shown=None,
        heat=heat,
        grey=grey,
        slices=(),
        warnings=warnings,
        provenance=_provenance(classifier, device),
    )


def _similar(features: NDArray[np.float32], classifier: ImageClassifier) -> tuple[SimilarCase, ...]:
    references = classifier.references
    if not len(references.names):
        return ()
    mine = references.standardised(features[None])
    distances = np.sqrt(((references.features - mine) ** 2).mean(axis=1) / 2)
    nearest = np.argsort(distances, kind="stable")[:SIMILAR]
    return tuple(
        SimilarCase(references.names[i], references.labels[i], float(distances[i])) for i in nearest
    )


def _provenance(classifier: ImageClassifier, device: Device) -> dict[str, Any]:
    return {
        "software": "napari-covseg",
        "software_version": __version__,
        "model": {
            "name": classifier.name,
            "version": classifier.version,
            "sha256": classifier.sha256,
            "licence": classifier.card.get("licence", ""),
        },
        "device": {"name": device.name, "title": device.title, "precision": device.precision},
    }


def find_sources(paths: Sequence[str | Path]) -> list[Path]:
    """The pictures and CTs of files and folders.

    A folder with PNG or JPEG files gives these; one without gives its X-rays, and its CTs as
    `find_inputs` finds them.

    Raises
    ------
    InputError
        If a path does not exist or a folder holds neither.
    """
    from napari_covseg.io.images import PICTURE_SUFFIXES, find_pictures, is_picture

    found: list[Path] = []
    for path in map(Path, paths):
        pictures = list(find_pictures([path]))
        coded = [one for one in pictures if one.suffix.lower() in PICTURE_SUFFIXES]
        if not path.is_dir() or coded:
            found += coded or pictures
        else:
            xrays = [one for one in pictures if is_picture(one)]
            found += xrays
            if not xrays or len(xrays) < len(pictures):
                found += _cts(path, needed=not xrays)
    return list(dict.fromkeys(found))


def _cts(folder: Path, needed: bool) -> list[Path]:
    from napari_covseg.io import find_inputs

    try:
        return find_inputs([folder])
    except InputError:
        if not needed:
            return []
        raise InputError(
            f"{folder.name}: no picture and no CT in this folder; expected PNG, JPEG or DICOM "
            "pictures, or a CT"
        ) from None
