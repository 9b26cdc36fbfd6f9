"""How good the default model is on patients that it never saw.

    python benchmarks/default_model.py DATA [--model NAME|DIR ...] [--output FILE.json]

The models: ``make train``, and for the other folds ``make train SPLIT="--fold 2/4 --splits ..."``.
DATA is the folder with ``covid_ct/`` and ``volumes/``. The patients are those that the model's
card says were left out of training. Several models (the folds of a cross-validation) each measure
the patients that they left out; the figures are over all of them, the healthy volumes the first's.
GGO and consolidation count only where the annotation is explicit (``slices.csv``); elsewhere their
lesions are infection of unknown class.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import read_labels, read_volume
from napari_covseg.metrics.overlap import Counts, count_classes, joint_histogram
from napari_covseg.metrics.summary import mean_over_patients
from napari_covseg.models.zoo import load
from napari_covseg.workflows.evaluate import read_patients
from napari_covseg.workflows.segment import segment
from napari_covseg.workflows.segment_settings import SegmentSettings

MEASURED = "build/model"
"""Where `make train` puts the development weights; the shipped ones saw every patient."""
SETS = ("medseg", "ma", "sirm")
SHOWN = ("lung", "infection", "ggo", "consolidation")
Found = dict[str, dict[str, dict[str, Counts]]]
"""Counts by set, class and case."""
HEALTHY = ("lidc0001_256.nii.gz", "lungdx_A0001_L_256.nii.gz", "dicom_LungDx-A0002_B40f")


def held_out(data: Path, patients: dict[str, str], left_out: set[str]) -> Iterator[tuple[str, str]]:
    """``(set, case)`` of every case whose patient was left out of training."""
    for name in SETS:
        for path in sorted((data / name / "labelsTr").glob("*.nii.gz")):
            case = path.name.removesuffix(".nii.gz")
            if patients[case] in left_out:
                yield name, case


def reference(data: Path, name: str, case: str, explicit: dict[str, set[int]]) -> LabelMap:
    """The annotation, with classes that were not given explicitly made unknown."""
    labels = read_labels(data / name / "labelsTr" / f"{case}.nii.gz")
    array = labels.labels.copy()
    for z, plane in enumerate(array):
        if name != "sirm" and z not in explicit[case]:
            plane[np.isin(plane, (Label.GGO, Label.CONSOLIDATION))] = Label.INFECTION
    return replace(labels, labels=array)


def explicit_slices(data: Path) -> dict[str, set[int]]:
    """Canonical slice numbers with explicit classes, by case."""
    found: dict[str, set[int]] = defaultdict(set)
    with (data / "slices.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["label_origin"] == "explicit":
                found[row["case"]].add(int(row["z"]))
    return found


def left_out_patients(models: list[str]) -> list[set[str]]:
    """Of each model; no patient may be measured twice."""
    left_out = [set(load(model).card["training"]["left_out_patients"]) for model in models]
    if not all(left_out):
        raise CovsegError("a model was trained on every patient: it cannot be measured here")
    if sum(map(len, left_out)) != len(set.union(*left_out)):
        raise CovsegError("several models left out the same patient: give each fold once")
    return left_out


def score(data: Path, settings: SegmentSettings, left_out: set[str], found: Found) -> None:
    """Add counts by set, class and case of the patients left out."""
    patients = read_patients(data / "cases.csv")
    explicit = explicit_slices(data)
    for name, case in held_out(data, patients, left_out):
        volume = read_volume(data / name / "imagesTr" / f"{case}_0000.nii.gz")
        result = run_to_end(segment(volume, settings))
        histogram = joint_histogram(
            result.labels.labels, reference(data, name, case, explicit).labels
        )
        for one, counts in count_classes(histogram).items():
            if counts is not None and one in SHOWN:
                found[name][one][case] = counts
        print(f"  {case}: " + _line(found[name], case), flush=True)


def _line(classes: dict[str, dict[str, Counts]], case: str) -> str:
    return ", ".join(f"{n} {c[case].dice:.3f}" for n, c in classes.items() if case in c)


def table(found: Found, patients: dict[str, str]) -> list[dict]:
    """Rows of figures: mean over patients, spread, interval, n, pooled; and over all sets."""
    rows = []
    everything: dict[str, dict[str, Counts]] = defaultdict(dict)
    for classes in found.values():
        for name, cases in classes.items():
            everything[name].update(cases)
    for title, classes in (*found.items(), ("all", everything)):
        for name in SHOWN:
            cases = classes.get(name, {})
            mean = mean_over_patients({c: n.dice for c, n in cases.items()}, patients)
            if mean.patients:
                pooled = sum(cases.values(), Counts(0, 0, 0)).dice
                row = {"set": title, "class": name, "dice": mean.mean, "sd": mean.std}
                row |= {"interval_95": mean.interval_95, "patients": mean.patients}
                rows.append(row | {"cases": mean.cases, "pooled": pooled})
    return rows


def healthy(volumes: Path, settings: SegmentSettings) -> dict[str, dict[str, float | None]]:
    """Lesion found in scans without COVID-19, in percent of the lung, and the lungs' sides."""
    found = {}
    for name in HEALTHY:
        result = run_to_end(segment(read_volume(volumes / name), settings))
        both, labels = result.measurements.both, result.labels.labels
        centres = [np.argwhere(labels == side)[:, 2].mean() for side in (1, 2)]
        found[name] = {
            "lung_ml": round(both.lung_ml),
            "lesion_percent": both.lesions_percent,
            "left_lies_left": bool(centres[0] > centres[1]),
        }
        print(f"  {name}: {found[name]}", flush=True)
    return found


def main() -> None:
    """Measure, print a Markdown table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", nargs="+", default=[MEASURED])
    parser.add_argument("--flips", default=SegmentSettings().flips)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    all_settings = [
        SegmentSettings(model=model, flips=arguments.flips) for model in arguments.model
    ]
    found: Found = defaultdict(lambda: defaultdict(dict))
    for settings, left_out in zip(all_settings, left_out_patients(arguments.model), strict=True):
        score(arguments.data / "covid_ct", settings, left_out, found)
    rows = table(found, read_patients(arguments.data / "covid_ct" / "cases.csv"))
    others = healthy(arguments.data / "volumes", all_settings[0])
    print("\n| set | class | Dice, mean ± SD | 95 % interval | patients (cases) | pooled |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["interval_95"]
        print(
            f"| {row['set']} | {row['class']} | {row['dice']:.3f} ± {row['sd']:.3f} | "
            f"{low:.3f} to {high:.3f} | {row['patients']} ({row['cases']}) | {row['pooled']:.3f} |"
        )
    if arguments.output:
        hashes = [load(model).sha256 for model in arguments.model]
        figures = {"models": hashes, "flips": arguments.flips}
        text = json.dumps(figures | {"dice": rows, "without_covid": others}, indent=2)
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
