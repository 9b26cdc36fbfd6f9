"""Does a model's uncertainty tell where it is wrong? On patients that it never saw.

    python -m benchmarks.uncertainty DATA --model NAME|DIR [...] [--flips none|left-right|all]
        [--most-slices N] [--output FILE.json] [--plot FILE.png]

DATA and the models are those of ``benchmarks/default_model.py``. Wrong is a voxel whose class among
background, lung and lesion is not the reference's: what an annotator would have to change. Rank
correlations (Spearman) are over cases, and within each volume over its slices.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.default_model import MEASURED, held_out, left_out_patients
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import read_labels, read_volume
from napari_covseg.workflows.evaluate import read_patients
from napari_covseg.workflows.segment import segment
from napari_covseg.workflows.segment_settings import SegmentSettings
from napari_covseg.workflows.uncertainty import case_uncertainty

LEAST_SLICES = 5
"""Fewer say nothing about an order of slices."""
SETS = ("medseg", "ma")
"""Volumes with lungs and lesions drawn in every slice; the pictures have no lungs drawn."""


def three_classes(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Background, lung, lesion as 0, 1, 2."""
    lesion = np.isin(labels, LESION_LABELS)
    return ((labels > Label.BACKGROUND) & (labels < Label.IGNORE)).astype(np.uint8) + lesion


def measure_case(data: Path, name: str, case: str, settings: SegmentSettings) -> dict[str, Any]:
    """Uncertainty and errors of a case, added up and by slice."""
    volume = read_volume(data / name / "imagesTr" / f"{case}_0000.nii.gz")
    result = run_to_end(segment(volume, settings, uncertainty=True))
    assert result.unsure is not None
    expected = three_classes(read_labels(data / name / "labelsTr" / f"{case}.nii.gz").labels)
    found = three_classes(result.labels.labels)
    wrong = (found != expected).sum(axis=(1, 2)) * volume.geometry.voxel_ml
    told = case_uncertainty(result.unsure, result.labels)
    both = ((found == 2) & (expected == 2)).sum()
    sizes = (found == 2).sum() + (expected == 2).sum()
    return {
        "case": case,
        "set": name,
        "slices": len(found),
        "lung_ml": float((found > 0).sum() * volume.geometry.voxel_ml),
        "dice": float(2 * both / sizes) if (expected == 2).any() else None,
        "wrong_ml": float(wrong.sum()),
        "uncertain_ml": told.total_ml,
        "most": told.most,
        "by_slice": {"wrong_ml": wrong.tolist(), "uncertain_ml": told.by_slice_ml.tolist()},
        "bins": calibration(result.unsure, found != expected, result.labels),
    }


def calibration(
    unsure: NDArray[np.uint8], wrong: NDArray[np.bool_], labels: LabelMap
) -> list[list[int]]:
    """Voxels in the lungs or unsure, and wrong ones among them, by tenths of uncertainty."""
    counts = np.zeros((2, 256), np.int64)
    for doubt, error, plane in zip(unsure, wrong, labels.labels, strict=True):
        asked = (plane > 0) | (doubt > 0)
        counts[0] += np.bincount(doubt[asked], minlength=256)
        counts[1] += np.bincount(doubt[asked & error], minlength=256)
    tenth = np.minimum(np.arange(256) * 10 // 255, 9)
    return [[int(row[tenth == n].sum()) for n in range(10)] for row in counts]


def rank(a: list[float], b: list[float]) -> float | None:
    """Spearman's rank correlation; None where one of them is constant."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)


def summary(cases: list[dict[str, Any]], patients: dict[str, str]) -> dict[str, Any]:
    """Rank correlations over cases and slices, and how often voxels are wrong."""
    slices = {
        one["case"]: rank(one["by_slice"]["uncertain_ml"], one["by_slice"]["wrong_ml"])
        for one in cases
    }
    told = [value for value in slices.values() if value is not None]
    bins = np.sum([one["bins"] for one in cases], axis=0)
    totals = [one["uncertain_ml"] for one in cases]
    means = [one["uncertain_ml"] / one["lung_ml"] for one in cases]
    wrong = [one["wrong_ml"] for one in cases]
    sick = [one for one in cases if one["dice"] is not None]
    errors = [1 - one["dice"] for one in sick]
    return {
        "cases": len(cases),
        "patients": len({patients[one["case"]] for one in cases}),
        "spearman": {
            "total and wrong ml": rank(totals, wrong),
            "total and lung ml": rank(totals, [one["lung_ml"] for one in cases]),
            "mean and wrong share": rank(
                means, [one["wrong_ml"] / one["lung_ml"] for one in cases]
            ),
            "mean and 1 - Dice": rank(
                [one["uncertain_ml"] / one["lung_ml"] for one in sick], errors
            ),
            "total and 1 - Dice": rank([one["uncertain_ml"] for one in sick], errors),
        },
        "slices": {
            "by_volume": slices,
            "median": float(np.median(told)),
            "least": min(told),
            "found_in_first_quarter": _found_in_first_quarter(cases),
        },
        "wrong_by_tenth": [
            None if n == 0 else float(w / n) for n, w in zip(*bins.tolist(), strict=True)
        ],
        "voxels_by_tenth": bins[0].tolist(),
    }


def _found_in_first_quarter(cases: list[dict[str, Any]]) -> float | None:
    """The share of what is wrong in the most uncertain quarter of each volume's slices, a mean."""
    shares = []
    for one in cases:
        wrong = np.array(one["by_slice"]["wrong_ml"])
        order = np.argsort(one["by_slice"]["uncertain_ml"])[::-1]
        if wrong.sum() > 0:
            shares.append(float(wrong[order[: len(wrong) // 4]].sum() / wrong.sum()))
    return float(np.mean(shares)) if shares else None


def plot(cases: list[dict[str, Any]], figures: dict[str, Any], path: Path) -> None:
    """Cases, slices, and how often voxels are wrong."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    left.loglog([one["uncertain_ml"] for one in cases], [one["wrong_ml"] for one in cases], "o")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    left.set(xlabel="uncertain ml", ylabel="wrong ml", title="Volumes")
    for one in cases:
        by_slice = one["by_slice"]
        wrong = np.cumsum(
            np.array(by_slice["wrong_ml"])[np.argsort(by_slice["uncertain_ml"])[::-1]]
        )
        if wrong[-1] > 0:
            share = np.arange(1, len(wrong) + 1) / len(wrong)
            middle.plot(100 * share, 100 * wrong / wrong[-1], color="C0", alpha=0.6)
    middle.plot([0, 100], [0, 100], ":", color="0.5")
    middle.set(
        xlabel="slices seen, most uncertain first (%)",
        ylabel="of what is wrong (%)",
        title="Slices of each volume",
    )
    tenths = enumerate(figures["wrong_by_tenth"])
    shown = [(n / 10 + 0.05, 100 * one) for n, one in tenths if one is not None]
    right.bar(*zip(*shown, strict=True), width=0.08)
    right.set(xlabel="uncertainty", ylabel="wrong (%)", title="Voxels")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", nargs="+", default=[MEASURED])
    parser.add_argument("--flips", default="left-right")
    parser.add_argument("--most-slices", type=int, default=10_000)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    data = arguments.data / "covid_ct"
    patients = read_patients(data / "cases.csv")
    found: list[dict[str, Any]] = []
    for model, left_out in zip(arguments.model, left_out_patients(arguments.model), strict=True):
        settings = SegmentSettings(model=model, flips=arguments.flips)
        for name, case in held_out(data, patients, left_out):
            slices = depth(data / name / "labelsTr" / f"{case}.nii.gz")
            if name not in SETS or not LEAST_SLICES <= slices <= arguments.most_slices:
                continue
            found.append(measure_case(data, name, case, settings))
            print({k: v for k, v in found[-1].items() if k not in ("by_slice", "bins")}, flush=True)
    figures = summary(found, patients)
    print(json.dumps(figures, indent=2))
    if arguments.output:
        content = {"models": arguments.model, "flips": arguments.flips, **figures, "found": found}
        arguments.output.write_text(json.dumps(content) + "\n")
    if arguments.plot:
        plot(found, figures, arguments.plot)


def depth(path: Path) -> int:
    """Slices of a NIfTI file along its thickest axis, as its header says."""
    import nibabel as nib

    return int(min(nib.load(path).shape))  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
