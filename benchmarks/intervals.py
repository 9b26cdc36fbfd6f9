"""How often does the likely range hold what an annotator drew? On patients that no model saw.

    python -m benchmarks.intervals DATA --model NAME|DIR [...] [--flips none|left-right|all]
        [--keep FOLDER] [--output FILE.json]

DATA and the models are those of ``benchmarks/default_model.py``: the folds of a cross-validation,
each on the patients that it left out. For every scan with lungs and lesions drawn in every slice,
percentages of the lungs and their parts are measured of the annotation, and of the model's labels
with ranges at many shifts of its decision (`napari_covseg.quantify.doubt`).

The shift is chosen so that ranges hold the annotation 4 times in 5 on average over patients, by
conformal risk control; what it then holds is measured on each patient with the shift chosen on all
others. ``--keep`` keeps what was counted, to choose again without segmenting again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.default_model import (
    MEASURED,
    explicit_slices,
    held_out,
    left_out_patients,
    reference,
)
from benchmarks.uncertainty import SETS
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.io import read_volume
from napari_covseg.quantify import figures as figure_parts
from napari_covseg.quantify.case import Quantification, quantify
from napari_covseg.quantify.cells import CELL_AXES, CELLS
from napari_covseg.quantify.doubt import YES, Doubt, probability
from napari_covseg.quantify.figures import Amount
from napari_covseg.quantify.profile import LungProfile
from napari_covseg.quantify.regions import Regions
from napari_covseg.workflows.evaluate import read_patients
from napari_covseg.workflows.segment import segment
from napari_covseg.workflows.segment_settings import SegmentSettings

SHIFTS = [round(0.2 * n, 1) for n in range(28)]
"""In log-odds; a byte holds no more than 5.5."""
MISSED = 0.2
"""What may lie outside, on average over patients."""
PARTS = ("right", "left", "upper_third", "middle_third", "lower_third", "ventral", "dorsal")
CLASSES = ("ggo", "consolidation")


def percentages(result: Quantification) -> dict[str, Amount]:
    """Shares of lesion in the lungs, their parts, lobes and regions."""
    parts = result.parts
    found = {"lungs": parts["both"].lesions}
    found |= {f"part {name}": parts[name].lesions for name in PARTS if name in parts}
    found |= {f"lobe {name}": one.lesions for name, one in result.lobes.items()}
    found |= {f"region {name}": one.lesions for name, one in result.regions.items()}
    return found


def measure_case(
    volume: CTVolume,
    expected: LabelMap,
    labels: LabelMap,
    likely: NDArray[np.uint8],
    named: set[int],
) -> dict[str, Any]:
    """The annotation's figures, the model's, and their ranges at each shift.

    ``named`` are the slices whose annotation says which lesions are GGO and which consolidation:
    the share of these is that of the lungs in those slices.
    """
    told = run_to_end(quantify(expected, volume))
    doubt = Doubt(labels.geometry, likely)
    found = run_to_end(quantify(labels, volume, doubt=doubt))
    mine, theirs = percentages(found), percentages(told)
    counted = Counted.of(labels, likely)
    names = [name for name in mine if name in theirs]
    ranges = {name: [counted.range_at(name, shift) for shift in SHIFTS] for name in names}
    for name in names:
        # What is measured here is what users see.
        seen = mine[name].percent_range
        assert seen is not None
        np.testing.assert_allclose(counted.range_at(name, doubt.shift), seen, atol=1e-9)
    by_class = classes_of(expected, labels, likely, named)
    return {
        "told": {name: theirs[name].percent for name in names} | by_class["told"],
        "found": {name: mine[name].percent for name in names},
        "ranges": ranges | by_class["ranges"],
        "scores": {
            name: (told.scores[name].value, score.value, score.value_range)
            for name, score in found.scores.items()
            if score.value is not None and told.scores[name].value is not None
        },
    }


def classes_of(
    expected: LabelMap, labels: LabelMap, likely: NDArray[np.uint8], named: set[int]
) -> dict[str, dict[str, Any]]:
    """GGO and consolidation of the lungs in some slices, with ranges at each shift."""
    at = sorted(named)
    truth, own = expected.labels[at], labels.labels[at]
    lung, held = is_lung(own), int(is_lung(truth).sum())
    if not lung.any() or not held:
        return {"told": {}, "ranges": {}}
    sick, solid = (one[at][lung] for one in likely)
    ranges: dict[str, Any] = {}
    for name, share in (("ggo", 255 - solid), ("consolidation", solid)):
        counts = np.bincount(sick.astype(np.intp) * 256 + share, minlength=256 * 256)
        ranges[f"class {name}"] = [_ends(counts.reshape(256, 256), one) for one in SHIFTS]
    values = (Label.GGO, Label.CONSOLIDATION)
    told = {
        f"class {name}": 100.0 * int((truth == value).sum()) / held
        for name, value in zip(CLASSES, values, strict=True)
    }
    return {"told": told, "ranges": ranges}


def is_lung(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Lesions included."""
    return (labels > Label.BACKGROUND) & (labels < Label.IGNORE)


def _limits(shift: float) -> tuple[int, int]:
    strict, lax = (ceil(255 * probability(one)) for one in (shift, -shift))
    return max(strict, YES), max(1, min(lax, YES))


def _ends(both: NDArray[np.int64], shift: float) -> tuple[float, float]:
    """Percent of the voxels whose two bytes are both large enough."""
    low, high = (100.0 * int(both[one:, one:].sum()) / int(both.sum()) for one in _limits(shift))
    return low, high


@dataclass(frozen=True, eq=False)
class Counted:
    """Lung voxels of the model's own labels, by what decides at any shift.

    ``lesion`` is by cell (axes of `CELL_AXES`) and the byte of a lesion.
    """

    lesion: NDArray[np.int64]

    @classmethod
    def of(cls, labels: LabelMap, likely: NDArray[np.uint8]) -> Counted:
        """Count once."""
        regions = Regions.of(labels, None, LungProfile.of(labels.labels))
        lesion = np.zeros(CELLS * 256, np.int64)
        for z in range(len(labels.labels)):
            voxels = regions.voxels(z)
            if voxels is not None:
                sick = likely[0, z].ravel()[voxels.index].astype(np.intp)
                np.add.at(lesion, voxels.cell * 256 + sick, 1)
        return cls(lesion.reshape(*CELL_AXES.values(), 256))

    def range_at(self, name: str, shift: float) -> tuple[float, float]:
        """The range of a figure in percent of the lung it lies in."""
        kind, _, which = name.partition(" ")
        every = {"part": figure_parts.PARTS, "lobe": figure_parts.LOBES}
        digits = every.get(kind, figure_parts.TWENTY)[which] if which else {}
        chosen = self.lesion[tuple(digits.get(axis, slice(None)) for axis in CELL_AXES)]
        counts = chosen.sum(axis=tuple(range(chosen.ndim - 1)))
        low, high = (100.0 * int(counts[one:].sum()) / int(counts.sum()) for one in _limits(shift))
        return low, high


def outside(case: Mapping[str, Any], names: list[str]) -> NDArray[np.float64]:
    """The share of some of a case's figures that lies outside, at each shift; NaN without any."""
    given = [name for name in names if name in case["told"]]
    if not given:
        return np.full(len(SHIFTS), np.nan)
    low, high = np.moveaxis(np.array([case["ranges"][name] for name in given]), -1, 0)
    told = np.array([case["told"][name] for name in given])[:, None]
    missed: NDArray[np.float64]
    missed = ((told < low - 1e-9) | (told > high + 1e-9)).mean(axis=0)
    return missed


def by_patient(cases: list[dict[str, Any]], names: list[str]) -> dict[str, NDArray[np.float64]]:
    """The same, mean over the scans of each patient that have such figures."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for case in cases:
        one = outside(case, names)
        if not np.isnan(one).any():
            found.setdefault(case["patient"], []).append(one)
    return {patient: np.mean(ones, axis=0) for patient, ones in found.items()}


def chosen(missed: list[NDArray[np.float64]], least: float = MISSED) -> int | None:
    """Which of `SHIFTS` conformal risk control chooses; None if none is large enough."""
    many = len(missed)
    bound = (many * np.mean(missed, axis=0) + 1) / (many + 1)
    enough = np.flatnonzero(bound <= least)
    return int(enough[0]) if len(enough) else None


def left_one_out(missed: dict[str, NDArray[np.float64]]) -> dict[str, tuple[float, float]]:
    """Of each patient: the shift chosen on all others, and what of theirs lies outside with it."""
    held = {}
    for patient, own in missed.items():
        at = chosen([one for other, one in missed.items() if other != patient])
        if at is not None:
            held[patient] = (SHIFTS[at], float(own[at]))
    return held


def summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """What each kind of figure needs, and how often it is held at the shift in use."""
    in_use = min(range(len(SHIFTS)), key=lambda n: abs(SHIFTS[n] - Doubt.shift))
    every = sorted({name for case in cases for name in case["told"]})
    kinds = {
        "lungs": ["lungs"],
        "parts": [name for name in every if name.startswith("part")],
        "lobes": [name for name in every if name.startswith("lobe")],
        "regions": [name for name in every if name.startswith("region")],
        "lungs, parts, lobes": ["lungs", *(n for n in every if n.startswith(("part", "lobe")))],
        **{name: [f"class {name}"] for name in CLASSES},
    }
    found = {}
    for kind, names in kinds.items():
        missed = by_patient(cases, names)
        if not missed:
            continue
        at = chosen(list(missed.values()))
        apart = left_one_out(missed)
        here = [1 - float(one[in_use]) for one in missed.values()]
        found[kind] = {
            "patients": len(missed),
            "figures": sum(n in case["told"] for case in cases for n in names),
            "shift_chosen": None if at is None else SHIFTS[at],
            "held_left_one_out": 1 - float(np.mean([out for _, out in apart.values()]))
            if apart
            else None,
            "held_in_use": float(np.mean(here)),
            "spread_over_patients": float(np.std(here, ddof=1)) if len(here) > 1 else None,
            "held_by_shift": [1 - float(v) for v in np.mean(list(missed.values()), axis=0)],
            **_widths(cases, names, in_use),
        }
    scores = score_summary(cases)
    return {"shift_in_use": Doubt.shift, "shifts": SHIFTS, "kinds": found, "scores": scores}


def score_summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the annotation's score lies in the range of the model's, and equals it."""
    found = {}
    for name in sorted({name for case in cases for name in case["scores"]}):
        held: dict[str, list[tuple[bool, bool, int]]] = {}
        for case in cases:
            if name in case["scores"]:
                told, value, (low, high) = case["scores"][name]
                one = (low <= told <= high, told == value, high - low)
                held.setdefault(case["patient"], []).append(one)
        means = np.array([np.mean(ones, axis=0) for ones in held.values()])
        found[name] = {
            "patients": len(means),
            "scans": sum(map(len, held.values())),
            "held_in_use": float(means[:, 0].mean()),
            "equal": float(means[:, 1].mean()),
            "width_mean": float(means[:, 2].mean()),
        }
    return found


def _widths(cases: list[dict[str, Any]], names: list[str], at: int) -> dict[str, Any]:
    """How wide ranges are at a shift, in units of the figure, and which side fails."""
    low, high, told = [], [], []
    for case in cases:
        for name in names:
            if name in case["told"]:
                low.append(case["ranges"][name][at][0])
                high.append(case["ranges"][name][at][1])
                told.append(case["told"][name])
    wide = np.array(high) - np.array(low)
    return {
        "width_median": float(np.median(wide)),
        "width_quartiles": [float(v) for v in np.quantile(wide, (0.25, 0.75))],
        "above": float(np.mean(np.array(told) > np.array(high) + 1e-9)),
        "below": float(np.mean(np.array(told) < np.array(low) - 1e-9)),
    }


def collect(data: Path, models: list[str], flips: str, keep: Path | None) -> list[dict[str, Any]]:
    """Measure all cases, or read what was kept of them."""
    patients, explicit = read_patients(data / "cases.csv"), explicit_slices(data)
    found = []
    for model, left_out in zip(models, left_out_patients(models), strict=True):
        settings = SegmentSettings(model=model, flips=flips)
        for name, case in held_out(data, patients, left_out):
            if name not in SETS:
                continue
            kept = None if keep is None else keep / f"{case}_{flips}.json"
            if kept is not None and kept.is_file():
                found.append(json.loads(kept.read_text()))
                continue
            volume = read_volume(data / name / "imagesTr" / f"{case}_0000.nii.gz")
            expected = reference(data, name, case, explicit)
            result = run_to_end(segment(volume, settings, likelihood=True))
            assert result.likely is not None
            one: dict[str, Any] = {"case": case, "set": name, "patient": patients[case]}
            one |= measure_case(volume, expected, result.labels, result.likely, explicit[case])
            found.append(one)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(one) + "\n")
            told, model_says = one["told"]["lungs"], one["found"]["lungs"]
            print(f"{case}: annotated {told:.2f} %, model {model_says:.2f} %", flush=True)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", nargs="+", default=[MEASURED])
    parser.add_argument("--flips", default=SegmentSettings().flips)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    cases = collect(arguments.data / "covid_ct", arguments.model, arguments.flips, arguments.keep)
    found = {"flips": arguments.flips, "cases": len(cases), **summary(cases)}
    print(f"{'figure':26s} patients  chosen  held(others' shift)  held(in use)  median width")
    for kind, one in found["kinds"].items():
        apart = one["held_left_one_out"]
        print(
            f"{kind:26s} {one['patients']:8d}  {one['shift_chosen'] or float('nan'):6.1f}  "
            f"{float('nan') if apart is None else apart:19.2f}  {one['held_in_use']:12.2f}  "
            f"{one['width_median']:12.2f}"
        )
    for name, one in found["scores"].items():
        print(f"{name}: held {one['held_in_use']:.2f}, equal {one['equal']:.2f}")
    if arguments.output:
        arguments.output.write_text(json.dumps({**found, "found": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
