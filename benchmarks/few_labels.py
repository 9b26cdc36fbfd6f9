"""What helps when few slices are labelled? Inf-Net, measured on slices of ``sirm``.

    python -m benchmarks.few_labels DATA/covid_ct --output DIR [--seeds 0 1 2] [--starts ...]
                                    [--report]

A quarter of ``sirm``'s patients is set aside and measures. Of the other patients' slices 5, 10, 25
or all have labels; which, is drawn from the seed. Or ``medseg`` is labelled and none of ``sirm``.
Networks begin at random; or pretrained on every image but those of patients set aside (``sirm``,
``medseg``, ``ma``, no label read), by inpainting what a coach hides or by telling how an image was
turned; or with the weights of a network that learned infection on ``ma``. Or a network labels the
slices of ``sirm`` that have no labels and trains on with them (``pseudo``; as many steps in all).
Then cutout, all slices labelled, from random weights. There is one training of each start, so the
spread over seeds is that of the drawn slices and of the training alone. Finished runs are not run
again.

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
from napari_covseg.metrics.paired import paired_difference
from napari_covseg.metrics.summary import mean_over_patients
from napari_covseg.training.pretrain_settings import Pretext
from napari_covseg.training.schedules import PRESETS, Preset
from napari_covseg.workflows.crossval_fold import SCORES, FoldScores, run_fold
from napari_covseg.workflows.crossval_request import FoldRequest
from napari_covseg.workflows.pretrain import pretrain
from napari_covseg.workflows.pretrain_request import PretrainRequest
from napari_covseg.workflows.pseudo_label import PseudoLabels, pseudo_label
from napari_covseg.workflows.train import train
from napari_covseg.workflows.train_request import TrainRequest

OTHER = "medseg"
LABELLED = ("5", "10", "25", "all", OTHER)
"""Slices of ``sirm``, or the dataset whose slices they are instead."""
CUTOUTS = (0.2, 0.4, 0.5)
TASKS, TRANSFER, PSEUDO = ("inpainting", "rotation"), "ma", "pseudo"
STARTS = ("", *TASKS, TRANSFER, PSEUDO)
CLASSES = ("infection", "ggo", "consolidation")
ASIDE = 0.25
SETTINGS = (
    *("pretrained=false", "loss=iou_bce", 'network_arguments={"encoder_width":32}'),
    *("patch=160,160", "batch=6", "batches=50", "epochs=3", "warm_up=30", "cutout=0"),
)
PRETRAINING = ("batch=8", "batches=100", "epochs=4")
ROUNDS = 2
"""Of pseudo-labels; each labels half of the slices that have none."""


def preset(*settings: str) -> Preset:
    """Inf-Net by the default schedule, cut."""
    return replace(PRESETS["fast"], network="infnet2d").with_settings((*SETTINGS, *settings))


@dataclass(frozen=True)
class Run:
    """A training: what is labelled, what it begins with (empty: random), share cut out, seed."""

    labelled: str
    start: str
    cutout: float
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.labelled}_{self.start or 'random'}_cutout{self.cutout:g}_{self.seed}"


def runs(seeds: Sequence[int], starts: Sequence[str] = STARTS) -> Iterator[Run]:
    """Every training, what teaches most first."""
    for seed in seeds:
        for labelled in LABELLED:
            for start in starts:
                if labelled == OTHER and start not in ("", TRANSFER):
                    continue
                if start == PSEUDO and labelled == "all":
                    continue
                yield Run(labelled, start, 0.0, seed)
        for cutout in CUTOUTS if "" in starts else ():
            yield Run("all", "", cutout, seed)


@dataclass(frozen=True)
class Slices:
    """Cases of ``sirm``: those that may be labelled, those that measure, and their patients.

    ``others`` are the names of the cases of the other datasets, ``files`` the image of each case.
    """

    pool: tuple[str, ...]
    aside: tuple[str, ...]
    patients: Mapping[str, str]
    others: Mapping[str, tuple[str, ...]]
    files: Mapping[str, Path]

    def labelled(self, run: Run) -> tuple[str, ...]:
        """The cases whose labels a run reads."""
        if run.labelled in self.others:
            return self.others[run.labelled]
        drawn = np.random.default_rng(run.seed).permutation(self.pool)
        size = None if run.labelled == "all" else int(run.labelled)
        return tuple(sorted(str(name) for name in drawn[:size]))


def slices(data: Path) -> Slices:
    """The patients set aside are always the same."""
    cases = {one.name: one.cases for one in read_datasets(data)}
    sirm = cases.pop("sirm")
    patients = {case.name: case.patient for case in sirm}
    order = np.random.default_rng(0).permutation(sorted(set(patients.values())))
    aside = set(order[: round(ASIDE * len(order))])
    return Slices(
        tuple(case for case, patient in patients.items() if patient not in aside),
        tuple(case for case, patient in patients.items() if patient in aside),
        patients,
        {name: tuple(case.name for case in some) for name, some in cases.items()},
        {case.name: case.image for case in sirm},
    )


def prepare(data: Path, output: Path, start: str, found: Slices) -> None:
    """Make what trainings begin with, unless that is done."""
    folder, cache = output / start, output / "cache"
    if (folder / "done").is_file():
        return
    first = preset(*PRETRAINING)
    if start == TRANSFER:
        request = TrainRequest(data, folder, first, found.others[TRANSFER], device="cpu")
        run_to_end(train(replace(request, cache=cache, resume=True, tensorboard=False)))
    else:
        pretext = Pretext(task=start)
        asked = PretrainRequest((data,), folder, first, pretext, found.aside, device="cpu")
        run_to_end(pretrain(replace(asked, cache=cache, resume=True, tensorboard=False)))
    (folder / "done").touch()


def train_and_measure(data: Path, output: Path, run: Run, found: Slices) -> None:
    """One training and its figures, unless they are there."""
    folder = output / run.name
    if (folder / SCORES).is_file():
        return
    labelled = found.labelled(run)
    first = preset(f"seed={run.seed}", f"cutout={run.cutout}")
    request = TrainRequest(data, folder, first, labelled, name="model", device="cpu")
    request = replace(request, cache=output / "cache", resume=True, tensorboard=False)
    if run.start not in ("", PSEUDO):
        request = replace(request, start=str(output / run.start))
    if not (folder / "logs" / "result.json").is_file():
        if run.start == PSEUDO:
            run_to_end(pseudo_label(_halved(request), _unlabelled(found, labelled)))
        else:
            run_to_end(train(request))
    run_to_end(run_fold(FoldRequest(1, replace(request, validation=found.aside), False)))


def _halved(request: TrainRequest) -> TrainRequest:
    """Half of each epoch's steps: pseudo-labels train as long again as the labels did."""
    steps = request.preset.batches // 2
    return replace(request, preset=request.preset.with_settings((f"batches={steps}",)))


def _unlabelled(found: Slices, labelled: Sequence[str]) -> PseudoLabels:
    scans = tuple(found.files[name] for name in found.pool if name not in labelled)
    return PseudoLabels(scans, ROUNDS, -(-len(scans) // ROUNDS))


# What is there, as a table


def table(output: Path, found: Slices, seeds: Sequence[int]) -> str:
    """Markdown: Dice by class, mean and range over the seeds, and the difference to random."""
    people = len({found.patients[case] for case in found.aside})
    lines = [
        f"| labelled slices | begins | cutout | seeds | infection: Dice over {people} patients | "
        "against random, no cutout | 95 % interval | infection: pooled | GGO: pooled | "
        "consolidation: pooled |",
        "|" + "---|" * 10,
    ]
    for one in runs([0]):
        done = _done(output, one, seeds)
        if done:
            plain = _done(output, replace(one, start="", cutout=0.0), seeds)
            both = sorted(done.keys() & plain.keys())
            figures = [_spread([_mean(scores, found) for scores in done.values()])]
            figures += _against({n: plain[n] for n in both}, {n: done[n] for n in both}, found)
            figures += [_spread([_pooled(s, name) for s in done.values()]) for name in CLASSES]
            begins = f"{one.labelled} | {one.start or 'random'} | {one.cutout:g} | {len(done)}"
            lines.append(f"| {begins} | {' | '.join(figures)} |")
    return "\n".join(lines)


def _done(output: Path, run: Run, seeds: Sequence[int]) -> dict[int, FoldScores]:
    files = {seed: output / replace(run, seed=seed).name / SCORES for seed in seeds}
    return {
        seed: FoldScores.from_dict(json.loads(path.read_text()))
        for seed, path in files.items()
        if path.is_file()
    }


def _against(
    plain: Mapping[int, FoldScores], other: Mapping[int, FoldScores], found: Slices
) -> list[str]:
    """The difference in Dice, seeds of a patient averaged, and its interval over the patients."""
    first, second = (
        {f"{n}/{case}": d for n, scores in one.items() for case, d in _dice(scores).items()}
        for one in (plain, other)
    )
    if first == second:
        return ["", ""]
    patients = {key: found.patients[key.partition("/")[2]] for key in first}
    paired = paired_difference(first, second, patients)
    low, high = paired.interval_95
    return [f"{paired.difference:+.3f}", f"{low:+.3f} to {high:+.3f}"]


def _dice(scores: FoldScores) -> dict[str, float]:
    return {one.case: count.dice for one in scores.cases if (count := one.counts["infection"])}


def _mean(scores: FoldScores, found: Slices) -> float:
    return mean_over_patients(_dice(scores), found.patients).mean


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
    parser.add_argument("--starts", nargs="+", choices=[*STARTS[1:], "random"], default=None)
    parser.add_argument("--report", action="store_true", help="print what is there, run nothing")
    asked = parser.parse_args()
    found = slices(asked.data)
    if not asked.report:
        chosen = [one for one in STARTS if not asked.starts or (one or "random") in asked.starts]
        for start in chosen:
            if start not in ("", PSEUDO):
                prepare(asked.data, asked.output, start, found)
        for run in runs(asked.seeds, chosen):
            train_and_measure(asked.data, asked.output, run, found)
            print(run.name, flush=True)
    print(table(asked.output, found, asked.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
