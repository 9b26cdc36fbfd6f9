"""Classifiers of pictures on the development data: figures of docs/results.md and the shipped one.

    python -m benchmarks.classification ../shared/data OUTPUT [--only ct|xray|slices]
        [--features NAME] [--classifiers NAME,...] [--runs N]

- ``ct``: COVID-CT's official split, trained on train, measured on val. A group is what the source
  of a COVID picture names before its page (a paper, or, where only the date of papers is known, all
  of a day), and of others the picture that it was cut from; one on both sides trains nothing.
- ``xray``: three classes, five folds by patient.
- ``slices``: axial slices of medseg with and without infection, folds by patient.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from napari_covseg.cli.classify_train import EIGHT
from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.io.images import CT_WINDOW_HU
from napari_covseg.workflows.classify_train import classify_train
from napari_covseg.workflows.classify_train_request import ClassifyTrainRequest

LEAST_LUNG, LEAST_INFECTION = 0.02, 20
"""Of a case's greatest lung area that a slice needs; pixels of infection that make it one with."""
LICENCE = "research only, non-commercial: see LICENSE beside the shipped weights"


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--only", choices=("ct", "xray", "slices"))
    parser.add_argument(
        "--runs", type=int, default=100, help="on the official split; in folds a twentieth of them"
    )
    parser.add_argument("--features", default="covseg")
    parser.add_argument("--classifiers", default=",".join(EIGHT))
    args = parser.parse_args()
    names = tuple(args.classifiers.split(","))
    for task in (args.only,) if args.only else ("ct", "xray", "slices"):
        images = args.output / "sets" / task
        images.mkdir(parents=True, exist_ok=True)
        {"ct": write_ct, "xray": write_xray, "slices": write_slices}[task](args.data, images)
        request = ClassifyTrainRequest(
            images=images,
            output=args.output / f"{task}-{args.features}",
            features=args.features,
            name="covseg-classify" if task == "ct" else f"covseg-{task}",
            classifiers=names,
            held_out="val" if task == "ct" else "",
            positive={"ct": "covid", "slices": "infection"}.get(task, ""),
            runs=args.runs if task == "ct" else max(1, args.runs // 20),
            cache=args.output / "cache",
            device="cpu",
            licence=LICENCE,
        )
        result = run_stoppable(classify_train(request), "cancelled")
        print(task, result.chosen)
        for one in result.evaluations:
            print(json.dumps(one.to_dict()))


def write_ct(data: Path, folder: Path) -> None:
    """COVID-CT with its groups."""
    rows = []
    for row in _listed(data, "covid_ct_images/"):
        source = row["source"]
        paper = source.split("-p")[0] if row["label"] == "covid" else source.split("%")[0]
        rows.append({**row, "group": f"{row['label']} {paper.rsplit('.', 1)[0]}"})
    _write(data, folder, rows)


def write_xray(data: Path, folder: Path) -> None:
    """The X-rays with their patients."""
    _write(data, folder, _listed(data, "xray_images/"))


def write_slices(data: Path, folder: Path) -> None:
    """Slices of medseg with lung as PNG, labelled by their lesion masks."""
    import nibabel as nib
    from PIL import Image

    root = data / "covid_ct" / "medseg"
    with (data / "covid_ct" / "cases.csv").open() as file:
        patients = {row["case"]: row["patient"] for row in csv.DictReader(file)}
    low, high = CT_WINDOW_HU
    rows = []
    for path in sorted((root / "imagesTr").glob("*.nii.gz")):
        case = path.name.removesuffix("_0000.nii.gz")
        hu = np.asarray(nib.load(path).dataobj, np.float32).transpose(2, 1, 0)
        labels = np.asarray(nib.load(root / "labelsTr" / f"{case}.nii.gz").dataobj).T
        lung = ((labels >= 1) & (labels <= 4)).sum(axis=(1, 2))
        lesion = ((labels >= 2) & (labels <= 4)).sum(axis=(1, 2))
        for z in np.flatnonzero(lung > LEAST_LUNG * lung.max()):
            # Few pixels are neither: edges of lesions, and slips of the brush.
            if 0 < lesion[z] < LEAST_INFECTION:
                continue
            grey = np.rint(np.clip((hu[z] - low) / (high - low), 0, 1) * 255).astype(np.uint8)
            name = f"{case}_{z:03d}.png"
            Image.fromarray(grey).save(folder / name)
            label = "infection" if lesion[z] else "none"
            rows.append({"file": name, "label": label, "split": "", "group": patients[case]})
    _labels(folder, rows)


def _listed(data: Path, start: str) -> list[dict[str, str]]:
    with (data / "images" / "classification.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["file"].startswith(start)]


def _write(data: Path, folder: Path, rows: list[dict[str, str]]) -> None:
    """Labels beside links to the pictures, so that names stay those of the set."""
    for name in {row["file"].split("/")[0] for row in rows}:
        link = folder / name
        if not link.exists():
            link.symlink_to((data / "images" / name).resolve(), target_is_directory=True)
    _labels(folder, rows)


def _labels(folder: Path, rows: Iterable[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        columns = ["file", "label", "split", "group"]
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
