"""Shortcuts that a classifier of pictures may take: figures of docs/results.md.

    python -m benchmarks.shortcuts ../shared/data SETS

SETS is ``OUTPUT/sets`` of `benchmarks.classification`.

- What can be told from a picture's size and its border alone, without its middle 80 %?
- How much of the shipped classifier's heat maps lies inside of the lungs of CT slices?
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.progress import run_to_end
from napari_covseg.inference.grad_cam import grad_cam
from napari_covseg.io.image_sets import ImageSet, read_image_set
from napari_covseg.io.images import read_picture
from napari_covseg.models.image_classifier import read_classifier
from napari_covseg.preprocess.pictures import PictureRecipe
from napari_covseg.training.image_evaluation import Part, evaluate, fold_parts

SIDE, BORDER, EVERY = 20, 2, 24


def main() -> None:
    """Print a line of JSON for each question."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", type=Path)
    args = parser.parse_args()
    for task in ("ct", "xray"):
        images = read_image_set(args.sets / task)
        if task == "ct":
            held_out = np.array([split == "val" for split in images.splits])
            parts = [Part(np.flatnonzero(~held_out), np.flatnonzero(held_out))]
        else:
            parts = fold_parts(images.codes, images.groups, 5, 0)
        found = run_to_end(
            evaluate("svm_rbf", borders(images), images.codes, images.groups, parts, None, 5)
        )
        print(json.dumps({"task": f"{task} from size and border", **found.to_dict()}), flush=True)
    print(json.dumps({"task": "heat maps", **heat_in_lung(args.data, args.sets / "slices")}))


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


def heat_in_lung(data: Path, slices: Path) -> dict[str, float]:
    """The share of the heat that lies in the lungs, beside the share of the picture they are."""
    classifier = read_classifier()
    inside, area = [], []
    for path in sorted(slices.glob("*.png"))[::EVERY]:
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
