"""Shortcuts that a classifier of pictures may take: figures of docs/results.md.

    python -m benchmarks.shortcuts ../shared/data SETS [--cache DIR] [--only NAME,...]

SETS is ``OUTPUT/sets`` of `benchmarks.classification`, CACHE its features.

- ``border``: what can be told from a picture's size and its border alone, without its middle 80 %?
- ``lungs``: what is told of COVID-CT's validation part when only the lungs are shown, and when only
  they are hidden? Lungs are those that the shipped network finds.
- ``source``: can the set that a slice of CT is from be told from the features it is judged by?
- ``heat``: how much of the shipped classifier's heat maps lies inside of the annotated lungs?
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from napari_covseg.domain.progress import run_to_end
from napari_covseg.inference.grad_cam import grad_cam
from napari_covseg.io.image_sets import ImageSet, read_image_set
from napari_covseg.io.images import read_picture
from napari_covseg.metrics.classification import auc
from napari_covseg.models.device import choose_device
from napari_covseg.models.feature_extractors import covseg_extractor, encoded
from napari_covseg.models.image_classifier import ImageClassifier, read_classifier
from napari_covseg.preprocess.pictures import PictureRecipe
from napari_covseg.training.classifiers import train_ensemble
from napari_covseg.training.image_evaluation import Part, evaluate, fold_parts
from napari_covseg.training.image_features import FeatureSource, compute, features_of

SIDE, BORDER, EVERY = 20, 2, 24


def main() -> None:
    """Print a line of JSON for each question."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--only", default="border,lungs,source,heat")
    args = parser.parse_args()
    asked: dict[str, Callable[[], Any]] = {
        "border": lambda: from_borders(args.sets),
        "lungs": lambda: by_parts(read_classifier(), args.sets / "ct"),
        "source": lambda: source_told(args.sets, args.cache),
        "heat": lambda: heat_in_lung(read_classifier(), args.data, args.sets / "slices"),
    }
    for name in args.only.split(","):
        print(json.dumps({name: asked[name]()}), flush=True)


def from_borders(sets: Path) -> dict[str, Any]:
    """Figures of an RBF SVM on size and border, for COVID-CT and for the X-rays."""
    said = {}
    for task in ("ct", "xray"):
        images = read_image_set(sets / task)
        if task == "ct":
            held_out = np.array([split == "val" for split in images.splits])
            groups = np.array(images.groups)
            train = np.flatnonzero(~held_out & ~np.isin(groups, groups[held_out]))
            parts = [Part(train, np.flatnonzero(held_out))]
        else:
            parts = fold_parts(images.codes, images.groups, 5, 0)
        said[task] = run_to_end(
            evaluate("svm_rbf", borders(images), images.codes, images.groups, parts, None, 5)
        ).to_dict()
    return said


def borders(images: ImageSet) -> NDArray[np.float32]:
    """Size, aspect ratio and a frame of a tenth of each side, nothing from the middle."""
    recipe, rows = PictureRecipe(SIDE), []
    frame = np.ones((SIDE, SIDE), bool)
    frame[BORDER:-BORDER, BORDER:-BORDER] = False
    for picture in images:
        grey = read_picture(picture.path).grey
        shape = [grey.shape[0], grey.shape[1], grey.shape[1] / grey.shape[0]]
        rows.append(np.concatenate([shape, recipe.apply(grey)[frame]]))
    return np.array(rows, np.float32)


def by_parts(classifier: ImageClassifier, folder: Path) -> dict[str, Any]:
    """AUC on COVID-CT's validation part of what is told from whole pictures and parts of them.

    ``shipped`` is what the shipped classifier says, which never saw parts; ``trained`` polynomial
    SVMs (20 runs) on features of the same parts of the training pictures.
    """
    images = read_image_set(folder)
    is_val = np.array([split == "val" for split in images.splits])
    groups = np.array(images.groups)
    train = np.flatnonzero(~is_val & ~np.isin(groups, groups[is_val]))
    planes = [classifier.recipe.apply(read_picture(picture.path).grey) for picture in images]
    lungs = [lung_of(plane) for plane in planes]
    positive = images.classes.index(str(classifier.positive))
    truth = images.codes[is_val] == positive
    said: dict[str, Any] = {"pictures": int(is_val.sum())}
    for name, shown in (("whole", None), ("lungs", True), ("all but lungs", False)):
        rows = _features(
            [_shown(*pair, shown) for pair in zip(planes, lungs, strict=True)], classifier
        )
        steps = train_ensemble(
            "svm_poly", rows[train], images.codes[train], list(groups[train]), 20
        )
        heads = {"shipped": classifier.head, "trained": run_to_end(steps).head}
        for kind, head in heads.items():
            chance = head.probabilities(rows[is_val]).mean(axis=0)[:, positive]
            said[f"{name}, {kind}"] = auc(chance, truth)
    return said


def _shown(
    plane: NDArray[np.float32], lung: NDArray[np.bool_], shown: bool | None
) -> NDArray[np.float32]:
    """A picture, or one with the mean grey in place of what is not shown."""
    return plane if shown is None else np.where(lung == shown, plane, np.float32(plane.mean()))


def _features(
    planes: list[NDArray[np.float32]], classifier: ImageClassifier
) -> NDArray[np.float32]:
    source = FeatureSource(
        classifier.extractor, classifier.recipe, choose_device("cpu"), classifier.pooled
    )
    rows = [compute(planes[i : i + 16], source) for i in range(0, len(planes), 16)]
    return np.concatenate(rows)


def lung_of(plane: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Lung and lesions that the shipped network finds, and 4 pixels around them."""
    network = covseg_extractor().network.eval()
    with torch.inference_mode():
        classes = encoded(network, torch.from_numpy(plane)[None, None])[1]
    near = torch.nn.functional.max_pool2d(1 - classes[:, :1], 9, 1, 4)
    return np.asarray((near[0, 0] > 0.5).numpy())


def source_told(sets: Path, cache: Path | None) -> dict[str, Any]:
    """Figures of an RBF SVM that names the set: COVID-CT or slices of medseg, five folds."""
    classifier = read_classifier()
    source = FeatureSource(
        classifier.extractor, classifier.recipe, choose_device("cpu"), classifier.pooled, cache
    )
    rows, codes, groups = [], [], []
    for code, task in enumerate(("ct", "slices")):
        images = read_image_set(sets / task)
        rows.append(run_to_end(features_of([one.path for one in images], source)))
        codes += [code] * len(images)
        groups += [f"{task} {group}" for group in images.groups]
    truth = np.array(codes, np.int32)
    parts = fold_parts(truth, groups, 5, 0)
    steps = evaluate("svm_rbf", np.concatenate(rows), truth, groups, parts, None, 5)
    return run_to_end(steps).to_dict()


def heat_in_lung(
    classifier: ImageClassifier, data: Path, slices: Path, every: int = EVERY
) -> dict[str, float]:
    """The share of the heat that lies in the lungs, beside the share of the picture they are."""
    inside, area = [], []
    for path in sorted(slices.glob("*.png"))[::every]:
        case, z = path.stem.rsplit("_", 1)
        file = data / "covid_ct" / "medseg" / "labelsTr" / f"{case}.nii.gz"
        labels = np.asarray(nib.load(file).dataobj)[..., int(z)].T
        lung = ((labels >= 1) & (labels <= 4)).astype(np.float32)
        plane = classifier.recipe.apply(read_picture(path).grey)
        mask = classifier.recipe.apply(lung) > 0.5
        for code in range(len(classifier.classes)):
            heat = grad_cam(classifier, plane, code)
            if heat.any():
                inside.append(float(heat[mask].sum() / heat.sum()))
                area.append(float(mask.mean()))
    return {
        "heat_in_lung": float(np.mean(inside)),
        "heat_in_lung_std": float(np.std(inside, ddof=1)),
        "lung_of_picture": float(np.mean(area)),
        "maps": len(inside),
    }


if __name__ == "__main__":
    main()
