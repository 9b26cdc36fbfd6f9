"""Train the default model: ``python -m napari_covseg.training DATA OUTPUT``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.training.config import FOLDS, TrainConfig, development_fold
from napari_covseg.training.dataset import read_patients
from napari_covseg.training.trainer import train


def main() -> None:
    """Read the arguments, train, say where the model is."""
    parser = argparse.ArgumentParser(prog="python -m napari_covseg.training", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with cases.csv, medseg/, ma/ and sirm/")
    parser.add_argument("output", type=Path, help="folder for the weights and their card")
    parser.add_argument("--name", default="covseg-default", help="the model's name")
    parser.add_argument("--steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--seed", type=int, default=TrainConfig.seed)
    left_out = parser.add_mutually_exclusive_group()
    left_out.add_argument(
        "--fold",
        type=int,
        choices=range(FOLDS),
        default=0,
        help="which patients are kept from training; 0 is the development split",
    )
    left_out.add_argument(
        "--all-patients", action="store_true", help="leave nobody out (no figures can be given)"
    )
    arguments = parser.parse_args()
    config = replace(TrainConfig(), steps=arguments.steps, seed=arguments.seed)
    leave_out: tuple[str, ...] = ()
    if not arguments.all_patients:
        leave_out = development_fold(read_patients(arguments.data).values(), arguments.fold)
    console = Console(stderr=True)

    def report(progress: Progress) -> None:
        if progress.done % 50 == 0 or progress.done == progress.total:
            console.print(f"{progress.done}/{progress.total} {progress.message}", highlight=False)

    card = run_to_end(
        train(arguments.data, arguments.output, arguments.name, config, leave_out), report
    )
    console.print(f"Written: {card}")


if __name__ == "__main__":
    main()
