"""The published networks and their baselines, trained alike and measured on the same patients.

    python -m benchmarks.published DATA/covid_ct --output DIR [--rows NAME ...] [--folds 1 ...]

Each row is a network with its settings (`ROWS`). It is trained on the patients of ``ma`` and
``medseg`` that a fold leaves it, and measured on the fold's other patients there, and on all of
``sirm``, which nothing is trained on (and whose patients are not in the other two).
Finished folds are not run again, an interrupted one goes on. ``--speed`` then times the networks
that are there, ``--report`` only prints what is there.

Rows differ in the network alone, but for what belongs to it (Inf-Net's loss, volumes in place of
slices). Steps are few, for two CPU cores: a budget for each row stands in `ROWS`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.io import make_phantom
from napari_covseg.io.nnunet import RawDataset, read_datasets
from napari_covseg.metrics.overlap import Counts
from napari_covseg.metrics.summary import mean_over_patients
from napari_covseg.models.networks import build
from napari_covseg.training.schedules import PRESETS, Preset
from napari_covseg.training.splits import draw_folds
from napari_covseg.workflows.crossval_fold import SCORES, FoldScores, run_fold
from napari_covseg.workflows.crossval_request import FoldRequest
from napari_covseg.workflows.segment import segment
from napari_covseg.workflows.segment_settings import SegmentSettings
from napari_covseg.workflows.train import train
from napari_covseg.workflows.train_request import TrainRequest

SPEED = "cpu_seconds_a_ct.txt"
FOLDS, SEED, CLASSES = 5, 0, ("lung", "infection", "ggo", "consolidation")
FIGURES = ("iou", "accuracy", "sensitivity", "specificity")
TRAINED_ON = ("ma", "medseg")
SLICES = ("patch=160,160", "batch=8", "batches=100", "epochs=3", "warm_up=60", "validate_every=3")
VOLUMES = (
    *("recipe=mueller2021", "patch=32,96,96", "batch=2", "batches=75", "epochs=2"),
    *("warm_up=30", "validate_every=2", "augmentation=0.15"),
)
TIMED, CT = 30, 300
"""Slices of a millimetre that are timed, and those of a CT."""
NARROW = '"channels":[8,16,32,64,128]'
FROM_SCRATCH = "pretrained=false"


@dataclass(frozen=True)
class Row:
    """A line of the table: the network, and settings on top of the preset ``fast``."""

    title: str
    network: str
    settings: tuple[str, ...]

    @property
    def preset(self) -> Preset:
        """Every setting of its trainings."""
        fast = replace(PRESETS["fast"], network=self.network)
        return fast.with_settings(self.settings)


def _arguments(json_object: str) -> str:
    return f"network_arguments={{{json_object}}}"


ROWS: Mapping[str, Row] = {
    "default": Row("default network, ImageNet's encoder", "unet_lite", SLICES),
    "default-scratch": Row("default network, random", "unet_lite", (FROM_SCRATCH, *SLICES)),
    "unet": Row("plain U-Net, 2D", "unet2d", (FROM_SCRATCH, *SLICES)),
    "efficientnet": Row("EfficientNet-B0 U-Net", "efficientnet_unet2d", (FROM_SCRATCH, *SLICES)),
    "unet++": Row("U-Net++, 2D", "unetplusplus2d", (FROM_SCRATCH, *SLICES)),
    "infnet": Row("Inf-Net", "infnet2d", (FROM_SCRATCH, "loss=iou_bce", *SLICES)),
    "attention": Row("attention U-Net, 4 blocks", "attention_unet2d", (FROM_SCRATCH, *SLICES)),
    "unet3d": Row(
        "3D U-Net, a quarter of the maps", "unet3d", (FROM_SCRATCH, _arguments(NARROW), *VOLUMES)
    ),
    "qchc": Row(
        "QC-HC U-Net, a quarter of the maps",
        "qchc_unet3d",
        (FROM_SCRATCH, _arguments(NARROW), *VOLUMES),
    ),
    "qchc-no-quick": Row(
        "... without quick connections",
        "qchc_unet3d",
        (FROM_SCRATCH, _arguments(NARROW + ',"quick":false'), *VOLUMES),
    ),
    "qchc-no-hyper": Row(
        "... without hypercolumns",
        "qchc_unet3d",
        (FROM_SCRATCH, _arguments(NARROW + ',"hypercolumns":false'), *VOLUMES),
    ),
    "qchc-neither": Row(
        "... without both",
        "qchc_unet3d",
        (FROM_SCRATCH, _arguments(NARROW + ',"quick":false,"hypercolumns":false'), *VOLUMES),
    ),
}


@dataclass(frozen=True)
class Split:
    """A fold: who trains, and who measures, by data set; patients of every case."""

    train: tuple[str, ...]
    measured: Mapping[str, tuple[str, ...]]
    patients: Mapping[str, str]


def split(datasets: Sequence[RawDataset], number: int) -> Split:
    """Fold ``number`` (from 1) of the patients of ``ma``, among whom are those of ``medseg``."""
    by_set = {one.name: {case.name: case.patient for case in one.cases} for one in datasets}
    patients = {case: patient for cases in by_set.values() for case, patient in cases.items()}
    fold = draw_folds(by_set["ma"], FOLDS, SEED)[number - 1]
    training = {patients[case] for case in fold.train}
    train = [case for one in TRAINED_ON for case in by_set[one] if patients[case] in training]
    measured = {
        name: tuple(case for case, patient in cases.items() if patient not in training)
        for name, cases in by_set.items()
    }
    return Split(tuple(sorted(train)), measured, patients)


def run(data: Path, folder: Path, row: Row, number: int, cache: Path) -> None:
    """Train and measure a row's fold, unless that is done."""
    if (folder / SCORES).is_file():
        return
    found = split(read_datasets(data), number)
    request = TrainRequest(
        data=data, output=folder, preset=row.preset, train=found.train, name="model", device="cpu"
    )
    request = replace(request, cache=cache, resume=True, tensorboard=False)
    if not (folder / "logs" / "result.json").is_file():
        began = time.process_time()
        run_to_end(train(request))
        (folder / "cpu_seconds.txt").write_text(f"{time.process_time() - began:.0f}\n")
    measuring = tuple(case for cases in found.measured.values() for case in cases)
    run_to_end(run_fold(FoldRequest(number, replace(request, validation=measuring), True)))


def time_ct(folder: Path, volume: CTVolume) -> None:
    """CPU seconds of a whole segmentation, from the model's file to label map, on one thread."""
    kept = folder / SPEED
    if kept.is_file() or not (folder / SCORES).is_file():
        return
    settings = SegmentSettings(str(folder), "cpu")
    torch.set_num_threads(1)
    seconds = []
    for _ in range(2):
        began = time.process_time()
        run_to_end(segment(volume, settings))
        seconds.append(time.process_time() - began)
    kept.write_text(f"{min(seconds) * CT / TIMED:.1f}\n")


# What is there, as a table


def table(data: Path, output: Path, folds: Sequence[int]) -> str:
    """Markdown: a line for each row and set, of those folds that are done."""
    datasets = read_datasets(data)
    lines = [
        "| network | parameters | folds | CPU minutes a fold | CPU seconds a CT | set | patients | "
        "lungs: Dice | infection: Dice | pooled | IoU | accuracy | sensitivity | specificity | "
        "GGO: Dice | pooled | consolidation: Dice | pooled |",
        "|" + "---|" * 18,
    ]
    for name, row in ROWS.items():
        done = {
            number: _scores(output / name / str(number))
            for number in folds
            if (output / name / str(number) / SCORES).is_file()
        }
        if done:
            lines += _lines(row, done, datasets, output / name)
    return "\n".join(lines)


def _lines(
    row: Row, done: Mapping[int, FoldScores], datasets: Sequence[RawDataset], folder: Path
) -> Iterable[str]:
    parameters = sum(
        p.numel() for p in build(row.network, **row.preset.network_arguments).parameters()
    )
    minutes = [float((folder / str(n) / "cpu_seconds.txt").read_text()) / 60 for n in done]
    begin = f"| {row.title} | {parameters / 1e6:.1f} M | {len(done)} of {FOLDS} | "
    begin += f"{sum(minutes) / len(minutes):.0f} | {_speed(folder, done)} |"
    for name in ("ma", "medseg", "sirm"):
        yield f"{begin} {name} | {_figures(name, done, datasets)} |"
        begin = "| | | | | |"


def _speed(folder: Path, done: Iterable[int]) -> str:
    files = (folder / str(number) / SPEED for number in done)
    return next((f"{float(path.read_text()):.0f}" for path in files if path.is_file()), "")


def _figures(name: str, done: Mapping[int, FoldScores], datasets: Sequence[RawDataset]) -> str:
    counts: dict[str, dict[str, Counts]] = {one: {} for one in CLASSES}
    patients: dict[str, str] = {}
    for number, scores in done.items():
        found = split(datasets, number)
        for case in scores.cases:
            if case.case in found.measured[name]:
                # ``sirm`` is measured by every fold: each counts, and a patient's are averaged.
                key = f"{number}/{case.case}"
                patients[key] = found.patients[case.case]
                for one in CLASSES:
                    if (count := case.counts[one]) is not None:
                        counts[one][key] = count
    shown = [str(len({patients[key] for key in counts["infection"]}))]
    for one, found_counts in counts.items():
        mean = mean_over_patients({k: c.dice for k, c in found_counts.items()}, patients)
        pooled = sum(found_counts.values(), Counts(0, 0, 0))
        known = not math.isnan(mean.mean)
        spread = "" if math.isnan(mean.std) else f" ± {mean.std:.3f}"
        shown.append(f"{mean.mean:.3f}{spread}" if known else "")
        if one != "lung":
            shown.append(f"{pooled.dice:.3f}" if known else "")
        if one == "infection":
            shown += [f"{getattr(pooled, figure):.3f}" for figure in FIGURES]
    return " | ".join(shown)


def _scores(folder: Path) -> FoldScores:
    content: dict[str, Any] = json.loads((folder / SCORES).read_text())
    return FoldScores.from_dict(content)


def main() -> int:
    """Run the rows asked for, fold by fold, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME")
    parser.add_argument("--folds", nargs="+", type=int, default=list(range(1, FOLDS + 1)))
    parser.add_argument("--speed", action="store_true", help="then time what fold 1 trained")
    parser.add_argument("--report", action="store_true", help="print what is there, run nothing")
    asked = parser.parse_args()
    for number in () if asked.report else asked.folds:
        for name in asked.rows:
            folder = asked.output / name / str(number)
            try:
                run(asked.data, folder, ROWS[name], number, asked.output / "cache")
            except CovsegError as error:
                print(f"{name}, fold {number}: {error}", file=sys.stderr)
            print(f"{name}, fold {number}: done", flush=True)
    if asked.speed:
        volume = make_phantom((TIMED, 512, 512), (1.0, 0.7, 0.7)).volume
        for name in asked.rows:
            time_ct(asked.output / name / "1", volume)
    print(table(asked.data, asked.output, asked.folds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
