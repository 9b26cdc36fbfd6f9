"""Whole CTs by the shipped classifier: figures of docs/results.md.

    python -m benchmarks.whole_ct ../shared/data

CTs with COVID-19 (medseg) against CTs without infection, of which one has a tumour: the mean over
up to 48 slices with lung, as ``covseg classify`` says it, and the greatest of single slices.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from napari_covseg.domain.progress import run_to_end
from napari_covseg.io import read_volume
from napari_covseg.metrics.classification import auc
from napari_covseg.models.image_classifier import read_classifier
from napari_covseg.workflows.classify import classify
from napari_covseg.workflows.classify_settings import ClassifySettings

WITHOUT = (
    *("volumes/cip_ct64/ct-64.nrrd", "volumes/dicom_LungDx-A0002_B40f"),
    *("volumes/lidc0001_256.nii.gz", "volumes/lungdx_A0001_L_256.nii.gz"),
)


def main() -> None:
    """Print a line of JSON for each CT, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    classifier = read_classifier()
    settings = ClassifySettings(device="cpu")
    positive = classifier.classes.index(str(classifier.positive))
    found = sorted((args.data / "covid_ct" / "medseg" / "imagesTr").glob("*.nii.gz"))
    truth, means, greatest, said = [], [], [], []
    for path in [*found, *(args.data / name for name in WITHOUT)]:
        result = run_to_end(classify(read_volume(path), settings, classifier))
        truth.append(path in found)
        means.append(result.probabilities[positive])
        greatest.append(max(one.probabilities[positive] for one in result.slices))
        said.append(result.label == classifier.positive)
        numbers = {"covid": truth[-1], "slices": len(result.slices), "unsure": result.unsure}
        print(json.dumps({**numbers, "mean": means[-1], "greatest": greatest[-1]}), flush=True)
    yes = np.array(truth)
    print(
        json.dumps(
            {
                "with": int(yes.sum()),
                "without": int((~yes).sum()),
                "auc_of_mean": auc(np.array(means), yes),
                "auc_of_greatest": auc(np.array(greatest), yes),
                "called_covid": [
                    int(np.sum(np.array(said)[yes])),
                    int(np.sum(np.array(said)[~yes])),
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
