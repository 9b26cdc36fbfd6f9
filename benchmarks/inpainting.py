"""What does pretraining bring when few slices are labelled, and what cutout? Inf-Net on ``sirm``.

    python -m benchmarks.inpainting DATA/covid_ct --output DIR [--seeds 0 1 2] [--report]

A quarter of ``sirm``'s patients is set aside and measures. Of the other patients' slices 5, 10, 25
or all have labels; which, is drawn from the seed. Networks begin at random, or are pretrained on
every image but those of the patients set aside (``sirm``, ``medseg``, ``ma``, no label read): by
inpainting what a coach hides, or by telling how an image was turned. Then cutout, all slices
labelled, without pretraining. There is one pretraining of each kind, so the spread over seeds is
that of the drawn slices and of the training alone. Finished runs are not run again.

The network has half of the feature maps in its encoder, and steps are few, for two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_covseg.domain.progress import run_to_end
from napari_covseg.io.nnunet import read_datasets
from napari_covseg.metrics.overlap import Counts
from napari_covseg.metrics.summary import mean_over_patients
from napari_covseg.training.pretrain_settings import Pretext
from napari_covseg.training.schedules import PRESETS, Preset
from napari_covseg.workflows.crossval_fold import SCORES, FoldScores, run_fold
from napari_covseg.workflows.crossval_request import FoldRequest
from napari_covseg.workflows.pretrain import pretrain
from napari_covseg.workflows.pretrain_request import PretrainRequest
from napari_covseg.workflows.train import train
from napari_covseg.workflows.train_request import TrainRequest

SIZES = (5, 10, 25, 0)
"""Labelled slices; 0 is all."""
CUTOUTS = (0.2, 0.4, 0.5)
TASKS = ("inpainting", "rotation")
CLASSES = ("infection", "ggo", "consolidation")
ASIDE = 0.25
SETTINGS = (
    *("pretrained=false", "loss=iou_bce", 'network_arguments={"encoder_width":32}'),
    *("patch=160,160", "batch=6", "batches=50", "epochs=3", "warm_up=30", "cutout=0"),
)
PRETRAINING = ("batch=8", "batches=100", "epochs=4")


def preset(*settings: str) -> Preset:
    """Inf-Net by the default schedule, cut."""
    return replace(PRESETS["fast"], network="infnet2d").with_settings((*SETTINGS, *settings))


@dataclass(frozen=True)
class Run:
    """A training: labelled slices (0: all), what it begins with, share cut out, seed."""

    size: int
    start: str
    cutout: float
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.size or 'all'}_{self.start or 'random'}_cutout{self.cutout:g}_{self.seed}"


def runs(seeds: Sequence[int]) -> Iterator[Run]:
    """Every training, what teaches most first."""
    for seed in seeds:
        for size in SIZES:
            for start in ("", *TASKS):
                yield Run(size, start, 0.0, seed)
        for cutout in CUTOUTS:
            yield Run(0, "", cutout, seed)


@dataclass(frozen=True)
class Slices:
    """Cases of ``sirm``: those that may be labelled, those that measure, and their patients."""

    pool: tuple[str, ...]
    aside: tuple[str, ...]
    patients: Mapping[str, str]


def slices(data: Path) -> Slices:
    """The patients set aside are always the same."""
    (sirm,) = (one for one in read_datasets(data) if one.name == "sirm")
    patients = {case.name: case.patient for case in sirm.cases}
    order = np.random.default_rng(0).permutation(sorted(set(patients.values())))
    aside = set(order[: round(ASIDE * len(order))])
    return Slices(
        tuple(case for case, patient in patients.items() if patient not in aside),
        tuple(case for case, patient in patients.items() if patient in aside),
        patients,
    )


def prepare(data: Path, folder: Path, task: str, held_out: tuple[str, ...], cache: Path) -> None:
    """Pretrain by ``task``, unless that is done."""
    if (folder / "done").is_file():
        return
    run_to_end(
        pretrain(
            PretrainRequest(
                data=(data,),
                output=folder,
                preset=preset(*PRETRAINING),
                pretext=Pretext(task=task),
                validation=held_out,
                device="cpu",
                cache=cache,
                resume=True,
                tensorboard=False,
            )
        )
    )
    (folder / "done").touch()


def train_and_measure(data: Path, output: Path, run: Run, found: Slices) -> None:
    """One training and its figures, unless they are there."""
    folder = output / run.name
    if (folder / SCORES).is_file():
        return
    drawn = np.random.default_rng(run.seed).permutation(found.pool)
    labelled = tuple(sorted(str(name) for name in drawn[: run.size or None]))
    request = TrainRequest(
        data=data,
        output=folder,
        preset=preset(f"seed={run.seed}", f"cutout={run.cutout}"),
        train=labelled,
        name="model",
        device="cpu",
        cache=output / "cache",
        resume=True,
        tensorboard=False,
        start=str(output / run.start) if run.start else None,
    )
    if not (folder / "logs" / "result.json").is_file():
        run_to_end(train(request))
    run_to_end(run_fold(FoldRequest(1, replace(request, validation=found.aside), False)))


# What is there, as a table


def table(output: Path, found: Slices, seeds: Sequence[int]) -> str:
    """Markdown: Dice by class, mean and range over the seeds."""
    lines = [
        f"| labelled slices | begins | cutout | seeds | infection: Dice over {_people(found)} "
        "patients | infection: pooled | GGO: pooled | consolidation: pooled |",
        "|" + "---|" * 8,
    ]
    for size, start, cutout in dict.fromkeys((r.size, r.start, r.cutout) for r in runs(seeds)):
        done = [
            FoldScores.from_dict(json.loads(path.read_text()))
            for seed in seeds
            if (path := output / Run(size, start, cutout, seed).name / SCORES).is_file()
        ]
        if done:
            begins = f"{size or f'all {len(found.pool)}'} | {start or 'random'} | {cutout:g}"
            figures = [_spread([_mean(one, found) for one in done])]
            figures += [_spread([_pooled(one, name) for one in done]) for name in CLASSES]
            lines.append(f"| {begins} | {len(done)} | {' | '.join(figures)} |")
    return "\n".join(lines)


def _people(found: Slices) -> int:
    return len({found.patients[case] for case in found.aside})


def _mean(scores: FoldScores, found: Slices) -> float:
    dice = {one.case: count.dice for one in scores.cases if (count := one.counts["infection"])}
    return mean_over_patients(dice, found.patients).mean


def _pooled(scores: FoldScores, name: str) -> float:
    counts = (one.counts[name] for one in scores.cases)
    return sum((one for one in counts if one is not None), Counts(0, 0, 0)).dice


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> int:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--report", action="store_true", help="print what is there, run nothing")
    asked = parser.parse_args()
    found = slices(asked.data)
    if not asked.report:
        for task in TASKS:
            prepare(asked.data, asked.output / task, task, found.aside, asked.output / "cache")
        for run in runs(asked.seeds):
            train_and_measure(asked.data, asked.output, run, found)
            print(run.name, flush=True)
    print(table(asked.output, found, asked.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
